"""The command clone."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.create import read_definition
from vm_mgr.cli.dry_run import confirm_replacement, yes_option
from vm_mgr.cli.options import options_of
from vm_mgr.cli.render import done_words
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import SettingsCommand, settings_from
from vm_mgr.model.vm import VmName, VmSettings, VmStatus
from vm_mgr.operations.clone import CloneRequest
from vm_mgr.operations.pacemaker_remote import without_remote
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.ports.env import Env

__all__ = ["clone_command"]


@click.command("clone", cls=SettingsCommand)
@name_argument
@options_of("clone")
@yes_option
def clone_command(name: VmName, new: str, xml: str | None, **options: Any) -> None:
    """Clone a VM at once. Both VMs share the blocks that neither has changed.

    The new VM has its own name, UUID and network addresses. A running source is quiesced for a moment.

    \b
    Example:
      vm-mgr clone web1 --dst-name web2
    """
    confirm_replacement(new, force=options["force"], yes=options.pop("yes"))
    cleared = [word for word in ("meta", "params", "utilization") if options.pop(f"clear_pacemaker_{word}")]
    unplaced = options.pop("clear_constraint")
    given = {key: options.pop(key) for key in ("full", "enable", "start", "force", "allow")}

    def settings(source: VmSettings) -> VmSettings:
        made = settings_from(options, _cleared(source, cleared, unplaced=unplaced))
        return made._replace(checks={check: text for check, text in made.checks.items() if text})

    def operation(env: Env) -> VmStatus:
        text = read_definition(xml, env.say) if xml else ""
        made: VmStatus = OPERATIONS["clone"].load()(
            env, CloneRequest(name, VmName(new), settings, text, **given)
        )
        return made

    vm = run(operation)
    answer("clone", {"name": new}, vm, done_words(vm))


def _cleared(base: VmSettings, words: list[str], *, unplaced: bool) -> VmSettings:
    if unplaced:
        base = base._replace(pinned_host=None, preferred_host=None, failback=None, colocations={})
    nothing: dict[str, Any] = {f"pacemaker_{word}": {} for word in words}
    return without_remote(base._replace(**nothing))
