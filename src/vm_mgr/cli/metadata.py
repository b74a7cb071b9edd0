"""Commands about the notes that are kept with a VM."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.options import options_of
from vm_mgr.cli.render import print_keys
from vm_mgr.cli.run import name_argument, output_option, perform
from vm_mgr.model.vm import VmName

__all__ = ["get_metadata_command", "list_metadata_command", "remove_metadata_command", "set_metadata_command"]


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
    print_keys(perform("list-metadata", {"name": name}), output)


@click.command("get-metadata")
@name_argument
@options_of("get-metadata")
def get_metadata_command(**given: Any) -> None:
    """Print one metadata value of a VM.

    \b
    Example:
      vm-mgr get-metadata web1 --metadata-name owner
    """
    value = perform("get-metadata", given)
    answer("get-metadata", given, value, value)


@click.command("set-metadata")
@name_argument
@options_of("set-metadata")
def set_metadata_command(**given: Any) -> None:
    """Store a note with a VM. An empty value removes the note, as remove-metadata does.

    \b
    Example:
      vm-mgr set-metadata web1 --metadata-name owner --metadata-value "team grid"
    """
    done = perform("set-metadata", given)
    what = "set" if given["value"] else "removed"
    answer("set-metadata", given, done, f"note {given['key']} of {given['name']} is {what}")


@click.command("remove-metadata")
@name_argument
@options_of("remove-metadata")
def remove_metadata_command(**given: Any) -> None:
    """Remove one of your notes from a VM, whatever tool has written it.

    \b
    Example:
      vm-mgr remove-metadata web1 --metadata-name owner
    """
    done = perform("remove-metadata", given)
    answer("remove-metadata", given, done, f"note {given['key']} of {given['name']} is removed")
