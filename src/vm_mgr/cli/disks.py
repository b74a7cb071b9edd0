"""Commands about disks."""

import re

import click

from vm_mgr.cli.run import run
from vm_mgr.model.vm import VmName

__all__ = ["resize_disk_command"]

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@click.command("resize-disk")
@click.option("-n", "--name", "named", metavar="NAME", help="The VM's name; also a plain argument.")
@click.option("--disk", "number", default=0, show_default=True, metavar="N", help="0 is the system disk.")
@click.argument("words", nargs=-1, metavar="[NAME] SIZE")
def resize_disk_command(named: str | None, number: int, words: tuple[str, ...]) -> None:
    """Make a VM's disk larger; a running guest sees it at once, and grows its file systems itself.

    SIZE is in bytes, or with K, M, G, T for KiB, MiB, GiB, TiB.

    \b
    Example:
      vm-mgr resize-disk web1 20G
    """
    from vm_mgr.operations.resize_disk import resize_disk  # noqa: PLC0415

    given = ((named,) if named is not None else ()) + words
    if len(given) != 2:
        raise click.UsageError("give the name of the VM and the new size")
    name, size_bytes = VmName(given[0]), _bytes(given[1])
    disk = run(lambda env: resize_disk(env, name, size_bytes, number))
    print(f"{disk.image} has {disk.size_bytes} bytes")


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,18})([KMGT]?)(?:i?B)?", text)
    if found is None:
        raise click.UsageError(f"{text!r} is not a size; write for example 20G")
    return int(found[1]) << UNITS[found[2]]
