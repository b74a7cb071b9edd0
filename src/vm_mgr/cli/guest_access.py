"""Commands that reach into a guest: exec, address, screenshot."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from vm_mgr.cli.answer import answer, output_format
from vm_mgr.cli.options import options_of
from vm_mgr.cli.pictures import as_png
from vm_mgr.cli.render import print_answer, print_table
from vm_mgr.cli.run import fail, name_and_words, name_argument, output_option, perform
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName
from vm_mgr.room import is_full, no_room

__all__ = ["address_command", "exec_command", "screenshot_command"]


@click.command("exec", context_settings={"allow_interspersed_args": False})
@name_and_words("PROGRAM [ARGUMENT]...")
@options_of("exec")
def exec_command(words: tuple[str, ...], **given: Any) -> None:
    """Run a program in a guest, and show what it prints. The exit status is the program's, as with ssh.

    The guest's agent runs it, mostly as root, without a shell and without input. Options of vm-mgr come
    before NAME. After --timeout vm-mgr no longer waits, and the program goes on.

    \b
    Example:
      vm-mgr exec web1 uptime
      vm-mgr exec --timeout 10m web1 sh -c 'apt-get update && apt-get --yes upgrade'
    """
    if not words:
        raise click.UsageError("give the name of the VM and the program to run")
    given["argv"] = words
    done = perform("exec", given)
    if output_format() == "table":
        sys.stdout.flush()
        sys.stdout.buffer.write(done.stdout)
        sys.stderr.buffer.write(done.stderr)
    answer("exec", given, done)
    if done.exit_code:
        sys.exit(done.exit_code)


@click.command("address")
@name_argument
@output_option
def address_command(name: VmName, output: str) -> None:
    """Show the addresses of a running guest.

    Its agent knows them all (`agent`). Without one, vm-mgr asks libvirt's own DHCP (`lease`), and then the
    node's table of neighbours (`arp`), which has those that the node has talked to.

    \b
    Example:
      vm-mgr address web1
      ssh root@$(vm-mgr address web1 --output json | jq -r .[0].address)
    """
    found = perform("address", {"name": name})
    if output == "table":
        print_table(
            [("address", "mac", "source"), *((one.address, one.mac, one.source.value) for one in found)]
        )
    else:
        print_answer("address", found, output)


@click.command("screenshot")
@name_and_words("[FILE]", "file")
def screenshot_command(name: VmName, words: tuple[str, ...]) -> None:
    """Write what a guest's screen shows to FILE, by default to NAME.png. For .ppm it is not made a PNG.

    \b
    Example:
      vm-mgr screenshot web1
      vm-mgr screenshot web1 /tmp/web1.png
    """
    if len(words) > 1:
        raise click.UsageError("give the name of the VM and at most one file")
    path = Path(next(iter(words), f"{name}.png"))
    try:
        made = not path.exists()
        path.open("ab").close()
        given = {"name": name, "path": str(path)}
        try:
            done = perform("screenshot", given)
        except BaseException:
            if made:
                with suppress(OSError):
                    path.unlink()
            raise
        if path.suffix != ".ppm":
            path.write_bytes(as_png(path.read_bytes()))
    except OSError as error:
        told = f"can't write {path}"
        other = VmMgrError(
            Kind.NOT_FOUND, f"{told}: {error.strerror}", hint="name a file that can be written"
        )
        fail(no_room(told, error) if is_full(error) else other)
    answer("screenshot", given, done, f"the screen of {name} is in {path}")
