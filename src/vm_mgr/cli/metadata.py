"""Commands about the notes that are kept with a VM."""

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.render import print_pairs
from vm_mgr.cli.run import name_argument, output_option, run
from vm_mgr.model.vm import VmName

__all__ = ["get_metadata_command", "list_metadata_command", "remove_metadata_command", "set_metadata_command"]

_key = click.option("--metadata-name", "key", metavar="KEY", required=True, help="The note's name.")


@click.command("list-metadata")
@name_argument
@output_option
def list_metadata_command(name: VmName, output: str) -> None:
    """List the metadata that is stored with a VM's system disk.

    The table has the names only. JSON and YAML also have the values.

    \b
    Example:
      vm-mgr list-metadata web1
    """
    from vm_mgr.operations.metadata import list_metadata  # noqa: PLC0415

    print_pairs(run(lambda env: list_metadata(env, name)), output)


@click.command("get-metadata")
@name_argument
@_key
def get_metadata_command(name: VmName, key: str) -> None:
    """Print one metadata value of a VM.

    \b
    Example:
      vm-mgr get-metadata web1 --metadata-name owner
    """
    from vm_mgr.operations.metadata import get_metadata  # noqa: PLC0415

    value = run(lambda env: get_metadata(env, name, key))
    answer(value, name=name, key=key, value=value)


@click.command("set-metadata")
@name_argument
@_key
@click.option(
    "--metadata-value",
    "value",
    metavar="VALUE",
    required=True,
    help="The text of the note; an empty one removes the note.",
)
def set_metadata_command(name: VmName, key: str, value: str) -> None:
    """Store a note with a VM. An empty value removes the note, as remove-metadata does.

    \b
    Example:
      vm-mgr set-metadata web1 --metadata-name owner --metadata-value "team grid"
    """
    from vm_mgr.operations.metadata import set_metadata  # noqa: PLC0415

    run(lambda env: set_metadata(env, name, key, value))
    answer(f"note {key} of {name} is {'set' if value else 'removed'}", name=name, key=key, value=value)


@click.command("remove-metadata")
@name_argument
@_key
def remove_metadata_command(name: VmName, key: str) -> None:
    """Remove one of your notes from a VM, whatever tool has written it.

    \b
    Example:
      vm-mgr remove-metadata web1 --metadata-name owner
    """
    from vm_mgr.operations.metadata import remove_metadata  # noqa: PLC0415

    run(lambda env: remove_metadata(env, name, key))
    answer(f"note {key} of {name} is removed", name=name, key=key, value="")
