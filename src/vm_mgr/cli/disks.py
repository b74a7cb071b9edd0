"""Commands about disks: resize-disk, add-disk, remove-disk, flatten."""

import re
from typing import TYPE_CHECKING, Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.complete import files
from vm_mgr.cli.dry_run import confirm
from vm_mgr.cli.run import allow_option, name_and_words, name_argument, run
from vm_mgr.model.vm import VmName

if TYPE_CHECKING:
    from vm_mgr.model.storage import DiskInfo

__all__ = [
    "add_disk_command",
    "bytes_of",
    "flatten_command",
    "remove_disk_command",
    "resize_disk_command",
]

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@click.command("resize-disk")
@name_and_words("SIZE")
@click.option(
    "--disk",
    "number",
    default=0,
    show_default=True,
    metavar="N",
    help="The number of the disk; 0 is the system disk.",
)
@allow_option
def resize_disk_command(name: VmName, words: tuple[str, ...], number: int, allow: tuple[str, ...]) -> None:
    """Make a VM's disk larger.

    A running guest sees the new size at once, and has to grow its file systems itself. SIZE is in bytes,
    or with K, M, G, T for KiB, MiB, GiB, TiB.

    \b
    Example:
      vm-mgr resize-disk web1 20G
    """
    from vm_mgr.operations.resize_disk import resize_disk  # noqa: PLC0415

    if len(words) != 1:
        raise click.UsageError("give the name of the VM and the new size")
    size_bytes = bytes_of(words[0])
    disk = run(lambda env: resize_disk(env, name, size_bytes, number, allow=allow))
    answer(f"{disk.image} has {disk.size_bytes} bytes", name=name, **_row(disk))


@click.command("add-disk")
@name_and_words("[SIZE]")
@click.option(
    "-i",
    "--image",
    metavar="FILE",
    shell_complete=files,
    help="Copy this image instead of making an empty disk.",
)
@click.option("--image-format", metavar="FORMAT", help="The format of the image; needed for a raw one only.")
@click.option(
    "--disk-bus", "bus", metavar="BUS", help="The bus of the disk; by default the VM's setting, else virtio."
)
@allow_option
def add_disk_command(
    name: VmName,
    words: tuple[str, ...],
    image: str | None,
    image_format: str | None,
    bus: str | None,
    allow: tuple[str, ...],
) -> None:
    """Add a disk to a VM. A running guest has it at once.

    SIZE is in bytes, or with K, M, G, T for KiB, MiB, GiB, TiB. Earlier snapshots lack the disk: a rollback
    to one of them leaves it as it is.

    \b
    Example:
      vm-mgr add-disk web1 20G
      vm-mgr add-disk web1 --image data.qcow2
    """
    from vm_mgr.operations.add_disk import NewDisk, add_disk  # noqa: PLC0415

    if len(words) != (0 if image else 1):
        raise click.UsageError("give the name of the VM and either the disk's size or --image")
    size_bytes = 0 if image else bytes_of(words[0])
    new = NewDisk(size_bytes, image or "", image_format, bus, allow)
    disk = run(lambda env: add_disk(env, name, new))
    answer(f"{disk.image} has {disk.size_bytes} bytes", name=name, **_row(disk))


@click.command("remove-disk")
@name_and_words("N")
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
def remove_disk_command(name: VmName, words: tuple[str, ...], yes: bool) -> None:  # noqa: FBT001
    """Detach disk N of a VM and delete it. N must be the number of the last disk.

    A running guest is asked to release the disk. If it does not, it keeps the disk as it was.

    \b
    Example:
      vm-mgr remove-disk web1 1
    """
    from vm_mgr.operations.remove_disk import remove_disk  # noqa: PLC0415

    if len(words) != 1 or not (words[0].isascii() and words[0].isdecimal()):
        raise click.UsageError("give the name of the VM and the number of the disk")
    number = int(words[0][:9])
    if not yes:
        confirm(f"What is on disk {number} of {name} will be lost. Go on?")
    image = run(lambda env: remove_disk(env, name, number))
    answer(f"{image} is removed", name=name, removed=image)


@click.command("flatten")
@name_argument
@click.option("--disk", "number", type=click.IntRange(min=0), metavar="N", help="Flatten only this disk.")
def flatten_command(name: VmName, number: int | None) -> None:
    """Make a clone independent: copy all blocks that it shares with its source.

    The VM may run. You can interrupt the command, and run it again to go on.

    \b
    Example:
      vm-mgr flatten web2
    """
    from vm_mgr.operations.flatten import flatten  # noqa: PLC0415

    done = run(lambda env: flatten(env, name, number))
    words = f"{', '.join(done)} shares no blocks any more" if done else f"{name} shares no blocks"
    answer(words, name=name, flattened=list(done))


def _row(disk: "DiskInfo") -> dict[str, Any]:
    return {"image": disk.image, "size_bytes": disk.size_bytes}


def bytes_of(text: str) -> int:
    """Read a size as people write it."""
    found = re.fullmatch(r"([0-9]{1,18})([KMGT]?)(?:i?B)?", text)
    if found is None:
        raise click.UsageError(f"{text!r} is not a size; write for example 20G")
    return int(found[1]) << UNITS[found[2]]
