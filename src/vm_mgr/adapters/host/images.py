"""Meet the images port with qemu-img."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING, Any

from vm_mgr.adapters.host.compressed import compressed_damage
from vm_mgr.adapters.host.image_bytes import open_image
from vm_mgr.adapters.host.image_headers import read_header
from vm_mgr.adapters.host.packages import check_package, is_appliance, read_package
from vm_mgr.adapters.host.raw_disks import raw_damage, raw_losses
from vm_mgr.errors import Kind, ProgramError, VmMgrError
from vm_mgr.model.image_content import FORMATS, format_word, recognise, unpacking
from vm_mgr.model.storage import ImageFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from vm_mgr.adapters.host.image_bytes import ImageBytes
    from vm_mgr.adapters.host.image_headers import Header
    from vm_mgr.model.image_content import Content
    from vm_mgr.model.package import Package
    from vm_mgr.model.storage import ImagePart
    from vm_mgr.ports.runner import Completed, Runner

__all__ = ["HostImages"]

TIMEOUT_S = 30
# It reads the tables of an image: a second for some TiB on a fast disk.
CHECK_S = 600
LEAKS, NOT_SUPPORTED = 3, 63
SECTOR = 512
REPAIRABLE = ("qcow2", "qed", "vhdx", "vdi")


class HostImages:
    """Image files as their bytes and qemu-img say."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def inspect(self, image: str | ImagePart, image_format: str | None = None) -> ImageFile:
        """Decide by the content, read the header, and only then have qemu-img look at it."""
        if not isinstance(image, str) and not image.package:
            return ImageFile(image.name, "", image.size_bytes)
        if not isinstance(image, str) and not image.offset:
            image = image.package  # a file of its own
        with open_image(image) as data:
            chosen = _chosen(data, recognise(data.head, data.tail), image_format)
            header = read_header(data, chosen)
            _refuse(data, chosen, header)
            found = self._described(data, chosen)
            damage = self._damage(data, found)
            if damage:
                raise _damaged(data, chosen, damage)
            _refuse_shortened(data, found)
            losses = raw_losses(data) if chosen == "raw" else ()
            return found._replace(losses=(*found.losses, *losses))

    def package(self, path: str) -> Package:
        """Read an OVA, or an OVF and what is beside it."""
        return read_package(path)

    def check_package(self, package: Package, on_progress: Callable[[float], None]) -> None:
        """Compare with the manifest."""
        check_package(package, on_progress)

    def _described(self, data: ImageBytes, image_format: str) -> ImageFile:
        """Ask qemu-img, first as the import will do: who has the image open for writing keeps us out."""
        image = ImageFile(data.path if data.part is None else data.name, image_format, 0, part=data.part)
        done = self._look("info", image, shared=False)
        if done.exit_code != 0:
            shared = self._look("info", image)
            if shared.exit_code == 0:
                hint = "shut down who writes to it, or copy a snapshot of it"
                raise VmMgrError(
                    Kind.WRONG_STATE, f"{data.name} is in use: a program has it open for writing", hint=hint
                )
            failure = ProgramError(shared.argv, shared.exit_code, shared.stderr)
            hint = f"copy it here again, from where it is whole; look: qemu-img info {quote(data.path)}"
            raise VmMgrError(
                Kind.INVALID, f"{data.name} can't be read: {failure.message}", hint=hint
            ) from failure
        answer = _json(image, done.stdout)
        try:
            size_bytes, losses = int(answer["virtual-size"]), _losses(answer)
            others = _others(answer, image)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise _unreadable(image) from error
        if size_bytes == 0:
            raise VmMgrError(
                Kind.INVALID, f"{data.name} is a disk of 0 bytes", hint="give the path of a disk image"
            )
        if others:
            raise _of_others(data, image_format, others)
        return image._replace(size_bytes=size_bytes, losses=losses)

    def _damage(self, data: ImageBytes, image: ImageFile) -> str:
        """Say what is wrong with a file of this format; nothing where it is whole as far as can be seen.

        Its tables are read, and the last of its compressed pieces; its other data are met by the import.
        """
        if data.size_bytes % SECTOR and image.format not in ("qcow2", "qcow"):
            return f"it has {data.size_bytes % SECTOR} bytes beyond its last whole sector of {SECTOR}"
        if image.format == "raw":
            return raw_damage(data)
        found, end_bytes = self._check(image)
        if not found and not (image.format == "qcow2" and end_bytes <= data.size_bytes):
            end_bytes = self._data_end(image)
            if end_bytes > data.size_bytes:
                return f"its data go on to byte {end_bytes}, it ends at {data.size_bytes}"
        return found or compressed_damage(data, image.format)

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
        pieces, start = _json(image, done.stdout), image.part.offset if image.part else 0
        ends = (int(one["offset"]) + int(one["length"]) - start for one in pieces if "offset" in one)
        return max(ends, default=0)

    def _look(self, verb: str, image: ImageFile, *, shared: bool = True) -> Completed:
        sharing = ("-U",) if shared else ()
        argv = ("qemu-img", verb, *sharing, "--output=json", "-f", image.format, image.source)
        return self.runner.run(argv, timeout_s=CHECK_S if verb != "info" else TIMEOUT_S)


def _chosen(data: ImageBytes, found: Content, said: str | None) -> str:
    """Choose the format: the content's, if it has one; what people say must not contradict it."""
    if found.packing or found.foreign:
        raise _not_an_image(data, found)
    if said == "luks":
        raise _encrypted(data, "luks", "LUKS")
    word = format_word(said) if said else None
    if said and word is None:
        hint = f"use one of {', '.join(FORMATS)}"
        raise VmMgrError(Kind.INVALID, f"{said!r} is no format of an image", hint=hint)
    if found.format and word not in (None, found.format):
        raise _contradiction(data, found, str(said), str(word))
    if not found.format and word not in (None, "raw"):
        message = f"{data.name} is called {said}, and has no signature of that format"
        raise VmMgrError(Kind.INVALID, message, hint="leave the format out, or copy the image here again")
    if found.format or word:
        return found.format or str(word)
    if found.text:
        hint = f"download it again; if it is an OVF: vm-mgr import {quote(data.path)}"
        raise VmMgrError(Kind.INVALID, f"{data.name} is {found.what}", hint=hint)
    as_raw = f"--image-format {quote(f'{data.name}:raw')}"
    if found.what:
        message, hint = f"{data.name} is {found.what}", f"if the guest itself opens it: {as_raw}"
    else:
        message = f"{data.name} is not a disk image of a known format ({', '.join(FORMATS)})"
        hint = f"if it is a raw one, say so: {as_raw}"
    raise VmMgrError(Kind.INVALID, message, hint=hint)


def _contradiction(data: ImageBytes, found: Content, said: str, word: str) -> VmMgrError:
    message = f"{data.name} is called {said}, and is {found.what} ({found.format})"
    where = "(--image-format, or <driver type=…> in a definition)"
    hint = f"call it {found.format}, or leave the format out {where}"
    if word == "raw":
        path = quote(data.path)
        hint += f"; a guest that is to see these bytes: qemu-img convert -f raw -O qcow2 {path} {path}.qcow2"
    return VmMgrError(Kind.INVALID, message, hint=hint)


def _not_an_image(data: ImageBytes, found: Content) -> VmMgrError:
    """Refuse what has to be unpacked or converted first, with the command: how large it gets is not known."""
    if found.packing is None:
        hint = f"convert it: {_convert(data, found.foreign)}"
    elif data.part:
        hint = f"unpack the package, then {data.part.name}, and give the disks to vm-mgr create"
    elif found.packing.word == "tar" and is_appliance(data.path):
        hint = f"import it: vm-mgr import {quote(data.path)}"
    else:
        hint = f"unpack it first: {unpacking(found.packing, data.path)}"
    what = found.what if found.foreign else f"{found.what}, no disk image"
    return VmMgrError(Kind.INVALID, f"{data.name} is {what}", hint=hint)


def _refuse(data: ImageBytes, image_format: str, header: Header) -> None:
    """Refuse what the header says, before qemu-img opens what it names."""
    if header.damage:
        raise _damaged(data, image_format, header.damage)
    if header.piece:
        hint = "give the small .vmdk file that names all pieces, as qemu-img convert -O qcow2 takes it"
        raise VmMgrError(Kind.INVALID, f"{data.name} is one piece of a split vmdk image", hint=hint)
    if header.encrypted:
        raise _encrypted(data, image_format, header.encrypted)
    if header.others:
        raise _of_others(data, image_format, header.others)
    if header.unclean:
        hint = f"shut down who writes to it, or repair a copy: {_repair(data, image_format)}"
        raise VmMgrError(Kind.INVALID, f"{data.name}: {header.unclean}", hint=hint)


def _encrypted(data: ImageBytes, image_format: str, how: str) -> VmMgrError:
    """Refuse: no node has its key."""
    key = "key-secret" if image_format == "luks" else "encrypt.key-secret"
    options = f"driver={image_format},file.filename={data.path},{key}=key"
    command = f"qemu-img convert --object secret,id=key,file=KEYFILE --image-opts {quote(options)}"
    hint = f"decrypt it: {command} -O qcow2 {quote(data.path + '.qcow2')}"
    hint = "decrypt it with the program that has made it" if how == "VMware" else hint
    return VmMgrError(Kind.INVALID, f"{data.name} is encrypted ({how})", hint=hint)


def _of_others(data: ImageBytes, image_format: str, others: tuple[str, ...]) -> VmMgrError:
    """Refuse to follow names: a guest would get the content of any file of this machine."""
    named = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    hint = f"if these are the right files, make it whole: {_convert(data, image_format)}"
    return VmMgrError(Kind.INVALID, f"{data.name} takes its content from another file: {named}", hint=hint)


def _damaged(data: ImageBytes, image_format: str, damage: str) -> VmMgrError:
    look = f"; look: qemu-img check -f {image_format} {quote(data.path)}" if image_format != "raw" else ""
    hint = f"copy it here again, from where it is whole{look}"
    return VmMgrError(
        Kind.INVALID, f"{data.name} is damaged, or a part of it is missing: {damage}", hint=hint
    )


def _refuse_shortened(data: ImageBytes, image: ImageFile) -> None:
    """Compare a VHD with its footer: of some makers' QEMU goes by the geometry, which can be less."""
    said = int.from_bytes(data.tail[48:56], "big") if image.format == "vpc" else 0
    if said > image.size_bytes:
        options = f"driver=vpc,force_size_calc=current_size,file.filename={data.path}"
        hint = f"convert it: qemu-img convert --image-opts {quote(options)} -O qcow2 {quote(data.path)}.qcow2"
        message = f"of the {said} bytes of {data.name} QEMU would see {image.size_bytes} only"
        raise VmMgrError(Kind.INVALID, message, hint=hint)


def _convert(data: ImageBytes, image_format: str) -> str:
    return f"qemu-img convert -f {image_format} -O qcow2 {quote(data.path)} {quote(data.path + '.qcow2')}"


def _repair(data: ImageBytes, image_format: str) -> str:
    repair = "-r all " if image_format in REPAIRABLE else ""
    return f"qemu-img check {repair}-f {image_format} {quote(data.path)}"


def _json(image: ImageFile, raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise _unreadable(image) from error


def _unreadable(image: ImageFile) -> VmMgrError:
    message = f"can't read what qemu-img says of {image.path}"
    return VmMgrError(Kind.EXTERNAL_FAILURE, message, hint=f"try: qemu-img info {quote(image.path)}")


def _losses(answer: dict[str, Any]) -> tuple[str, ...]:
    """Name what an import leaves behind: it copies what a guest would see now."""
    specific = dict(answer.get("format-specific") or {}).get("data") or {}
    found = {
        "internal snapshots": [str(one["name"]) for one in answer.get("snapshots") or ()],
        "dirty bitmaps": [str(one["name"]) for one in specific.get("bitmaps") or ()],
    }
    return tuple(f"its {what} are left behind: {', '.join(names)}" for what, names in found.items() if names)


def _others(answer: dict[str, Any], image: ImageFile) -> tuple[str, ...]:
    specific = dict(answer.get("format-specific") or {}).get("data") or {}
    extents = [str(extent.get("filename", "")) for extent in specific.get("extents") or ()]
    named = [answer.get("full-backing-filename"), answer.get("backing-filename"), specific.get("data-file")]
    own = str(answer.get("filename", ""))
    others = [str(name) for name in [*named, *extents] if name and name != own]
    return tuple(name for name in others if not (image.part and _is_part(name, image.part)))


def _is_part(name: str, part: ImagePart) -> bool:
    """Tell whether QEMU means the part itself."""
    return name.startswith("json:{") and json.loads(name.removeprefix("json:")) == part.options
