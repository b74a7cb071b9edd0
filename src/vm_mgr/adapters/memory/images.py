"""Image files, judged by their first bytes."""

from pathlib import Path

from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import ImageFile

__all__ = ["MemoryImages"]


class MemoryImages:
    """What a unit test needs without qemu-img: real files, qcow2 or raw."""

    def inspect(self, path: str, image_format: str | None = None) -> ImageFile:
        """Recognise qcow2."""
        if not Path(path).is_file():
            raise VmMgrError(Kind.NOT_FOUND, f"there is no file {path}")
        content = Path(path).read_bytes()
        if image_format == "raw" and content:
            if len(content) % 512:
                raise VmMgrError(Kind.INVALID, f"a part of {path} is missing")
            return ImageFile(path, "raw", len(content))
        if not content.startswith(b"QFI\xfb") or image_format not in (None, "qcow2"):
            raise VmMgrError(Kind.INVALID, f"{path} is not a disk image of a known format")
        if int.from_bytes(content[8:16], "big"):
            raise VmMgrError(Kind.INVALID, f"{path} takes its content from another file")
        return ImageFile(path, "qcow2", int.from_bytes(content[24:32], "big"))
