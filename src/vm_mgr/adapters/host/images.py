"""Meet the images port with qemu-img."""

import json
from pathlib import Path
from typing import Any

from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.model.storage import ImageFile
from vm_mgr.ports.runner import Completed, Runner

__all__ = ["FORMATS", "HostImages"]

FORMATS = ("qcow2", "vmdk", "vdi", "vhdx", "vpc")
TIMEOUT_S = 30
# It reads the tables of an image: a second for some TiB on a fast disk.
CHECK_S = 600
LEAKS, NOT_SUPPORTED = 3, 63
SECTOR = 512


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
            hint = f"copy it here again, from where it is whole; look: qemu-img info {path}"
            raise VmMgrError(Kind.INVALID, f"{path} can't be read: {failure.message}", hint=hint) from failure
        image = _image(path, str(given), completed.stdout, raw_allowed=image_format == "raw")
        damage = self._damage(image)
        if damage:
            hint = (
                f"copy it here again, from where it is whole; look: qemu-img check -f {image.format} {path}"
            )
            raise VmMgrError(
                Kind.INVALID, f"{path} is damaged, or a part of it is missing: {damage}", hint=hint
            )
        return image

    def _damage(self, image: ImageFile) -> str:
        """Say what is wrong with a file of this format; nothing where it is whole as far as can be seen.

        Its tables are read, not its data: of a compressed image the last pieces are met by the import.
        """
        size_bytes = Path(image.path).stat().st_size
        if size_bytes % SECTOR and image.format != "qcow2":
            return f"it has {size_bytes % SECTOR} bytes beyond its last whole sector of {SECTOR}"
        if image.format == "raw":
            return _partition_damage(image.path, size_bytes)
        found, end_bytes = self._check(image)
        if found or (image.format == "qcow2" and end_bytes <= size_bytes):
            return found
        end_bytes = self._data_end(image)
        return (
            f"its data go on to byte {end_bytes}, it ends at {size_bytes}" if end_bytes > size_bytes else ""
        )

    def _check(self, image: ImageFile) -> tuple[str, int]:
        """Give what qemu-img finds, and where it says that the image ends (qemu-img(1): exit statuses)."""
        done = self._look("check", image)
        if done.exit_code == NOT_SUPPORTED:
            return "", 0
        if done.exit_code not in (0, LEAKS):
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            return lines[0] if lines else f"qemu-img check ended with {done.exit_code}", 0
        return "", int(_json(image, done.stdout).get("image-end-offset", 0))

    def _data_end(self, image: ImageFile) -> int:
        """Give the end of the guest's data in the file; where compressed ones are is not told."""
        done = self._look("map", image)
        if done.exit_code != 0:
            return 0
        pieces = _json(image, done.stdout)
        return max((int(one["offset"]) + int(one["length"]) for one in pieces if "offset" in one), default=0)

    def _look(self, verb: str, image: ImageFile) -> Completed:
        argv = ("qemu-img", verb, "-U", "--output=json", "-f", image.format, image.path)
        return self.runner.run(argv, timeout_s=CHECK_S)


def _json(image: ImageFile, raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        message = f"can't read what qemu-img says of {image.path}"
        raise VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"try: qemu-img check {image.path}") from error


def _partition_damage(path: str, size_bytes: int) -> str:
    """Compare with a partition table of the kind that has a copy in the last sector (UEFI, 5.3.2)."""
    with Path(path).open("rb") as file:
        head = file.read(2 * SECTOR)[SECTOR:]
    if not head.startswith(b"EFI PART"):
        return ""
    end_bytes = (int.from_bytes(head[32:40], "little") + 1) * SECTOR
    if end_bytes <= size_bytes:
        return ""
    return f"its partition table is for {end_bytes} bytes, it has {size_bytes}"


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
