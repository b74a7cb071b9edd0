"""The command import."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.dry_run import confirm_replacement, yes_option
from vm_mgr.cli.options import completer, options_of
from vm_mgr.cli.render import done_words
from vm_mgr.cli.run import perform
from vm_mgr.cli.settings import SettingsCommand, progress_option, settings_from
from vm_mgr.operations.import_appliance import ImportRequest

__all__ = ["import_command"]


@click.command("import", cls=SettingsCommand)
@click.argument("file", shell_complete=completer("file"))
@options_of("import")
@yes_option
@progress_option
def import_command(file: str, named: str | None, network: tuple[str, ...], **options: Any) -> None:
    """Create a VM from an OVA, or an OVF with its files beside it, and start it.

    vm-mgr takes over disks, memory, CPUs, network cards and firmware, and names the rest.

    \b
    Example:
      vm-mgr import appliance.ova --name web1 --network br0
      vm-mgr import appliance.ovf --network 'VM Network=br0' --network 'Storage=none'
    """
    confirm_replacement(named or "of the name in the OVF", force=options["force"], yes=options.pop("yes"))
    settings = settings_from(options)
    given = {key: value for key, value in options.items() if value is not None}
    request = ImportRequest(file, named or "", network, settings=settings, **given)
    made = perform("import", {"request": request})
    left = f"\nnot taken over: {', '.join(made.left)}" if made.left else ""
    answer("import", {"name": made.vm.name}, made, f"{done_words(made.vm)}{left}")
