"""Meet the images port with qemu-img."""

import json
from pathlib import Path
from typing import Any

from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.model.storage import ImageFile
from vm_mgr.ports.runner import Runner

__all__ = ["FORMATS", "HostImages"]

FORMATS = ("qcow2", "vmdk", "vdi", "vhdx", "vpc")
TIMEOUT_S = 30


class HostImages:
    """Image files as qemu-img sees them."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def inspect(self, path: str, image_format: str | None = None) -> ImageFile:
        """Ask qemu-img; -U, because somebody may have the image open."""
        given = Path(path).absolute()
        if not given.is_file():
            raise VmMgrError(Kind.NOT_FOUND, f"there is no file {path}", hint="give the path of a disk image")
        if given.stat().st_size == 0:
            raise VmMgrError(Kind.INVALID, f"{path} is empty", hint="give the path of a disk image")
        forced = ("-f", image_format) if image_format else ()
        argv = ("qemu-img", "info", "-U", "--output=json", *forced, str(given))
        completed = self.runner.run(argv, timeout_s=TIMEOUT_S)
        if completed.exit_code != 0:
            failure = ProgramError(completed.argv, completed.exit_code, completed.stderr)
            raise VmMgrError(Kind.INVALID, f"{path} can't be read: {failure.message}") from failure
        return _image(path, str(given), completed.stdout, raw_allowed=image_format == "raw")


def _image(path: str, absolute: str, raw: str, *, raw_allowed: bool) -> ImageFile:
    try:
        answer = json.loads(raw)
        image = ImageFile(absolute, str(answer["format"]), int(answer["virtual-size"]))
        others = _others(answer)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        message = f"can't read what qemu-img says of {path}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"try: qemu-img info {path}") from error
    if image.format not in FORMATS and not raw_allowed:
        message = f"{path} is not a disk image of a known format ({', '.join(FORMATS)})"
        raise VmMgrError(Kind.INVALID, message, hint="if it is a raw one, say so: --image-format raw")
    if image.size_bytes == 0:
        raise VmMgrError(Kind.INVALID, f"{path} is a disk of 0 bytes", hint="give the path of a disk image")
    if others:
        message = f"{path} takes its content from another file: {others[0]}"
        hint = f"make it whole: qemu-img convert -O qcow2 {path} {path}.whole"
        raise VmMgrError(Kind.INVALID, message, hint=hint)
    return image


def _others(answer: dict[str, Any]) -> list[str]:
    specific = dict(answer.get("format-specific") or {}).get("data") or {}
    extents = [str(extent.get("filename", "")) for extent in specific.get("extents") or ()]
    named = [answer.get("full-backing-filename"), answer.get("backing-filename"), specific.get("data-file")]
    own = str(answer.get("filename", ""))
    return [str(name) for name in [*named, *extents] if name and name != own]
