"""Commands about disks: resize-disk, add-disk, remove-disk, flatten."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.dry_run import confirm, yes_option
from vm_mgr.cli.options import bytes_of, formats_of, options_of
from vm_mgr.cli.run import name_and_words, name_argument, perform
from vm_mgr.model.capacity import size_words
from vm_mgr.model.vm import VmName

__all__ = [
    "add_disk_command",
    "flatten_command",
    "remove_disk_command",
    "resize_disk_command",
]


@click.command("resize-disk")
@name_and_words("SIZE")
@options_of("resize-disk")
def resize_disk_command(words: tuple[str, ...], **given: Any) -> None:
    """Make a VM's disk larger.

    A running guest sees the new size at once, and has to grow its file systems itself. SIZE is in bytes,
    or with K, M, G, T for KiB, MiB, GiB, TiB.

    \b
    Example:
      vm-mgr resize-disk web1 20G
    """
    if len(words) != 1:
        raise click.UsageError("give the name of the VM and the new size")
    given["size_bytes"] = bytes_of(words[0])
    disk = perform("resize-disk", given)
    answer("resize-disk", given, disk, f"{disk.image} has {size_words(disk.size_bytes)}")


@click.command("add-disk")
@name_and_words("[SIZE]")
@options_of("add-disk")
def add_disk_command(name: VmName, words: tuple[str, ...], image: str | None, **options: Any) -> None:
    """Add a disk to a VM. A running guest has it at once.

    SIZE is in bytes, or with K, M, G, T for KiB, MiB, GiB, TiB. Earlier snapshots lack the disk: a rollback
    to one of them leaves it as it is.

    \b
    Example:
      vm-mgr add-disk web1 20G
      vm-mgr add-disk web1 --image data.qcow2
    """
    from vm_mgr.operations.add_disk import NewDisk  # noqa: PLC0415

    if len(words) != (0 if image else 1):
        raise click.UsageError("give the name of the VM and either the disk's size or --image")
    size_bytes = 0 if image else bytes_of(words[0])
    said = options.pop("image_format")
    options["image_format"] = formats_of([image or ""], [said] if said else [])[0]
    given = {"name": name, "new": NewDisk(size_bytes, image or "", **options)}
    disk = perform("add-disk", given)
    answer("add-disk", given, disk, f"{disk.image} has {size_words(disk.size_bytes)}")


@click.command("remove-disk")
@name_and_words("N")
@yes_option
def remove_disk_command(name: VmName, words: tuple[str, ...], yes: bool) -> None:  # noqa: FBT001
    """Detach disk N of a VM and delete it. N must be the number of the last disk.

    A running guest is asked to release the disk. If it does not, it keeps the disk as it was.

    \b
    Example:
      vm-mgr remove-disk web1 1
    """
    if len(words) != 1 or not (words[0].isascii() and words[0].isdecimal()):
        raise click.UsageError("give the name of the VM and the number of the disk")
    number = int(words[0][:9])
    confirm(f"Disk {number} of {name} and what is on it will be deleted.", yes=yes)
    given = {"name": name, "number": number}
    image = perform("remove-disk", given)
    answer("remove-disk", given, image, f"{image} is removed")


@click.command("flatten")
@name_argument
@options_of("flatten")
def flatten_command(**given: Any) -> None:
    """Make a clone independent: copy all blocks that it shares with its source.

    The VM may run. You can interrupt the command, and run it again to go on.

    \b
    Example:
      vm-mgr flatten web2
    """
    done = perform("flatten", given)
    words = f"{', '.join(done)} shares no blocks any more" if done else f"{given['name']} shares no blocks"
    answer("flatten", given, done, words)
