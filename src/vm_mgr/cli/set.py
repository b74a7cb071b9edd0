"""The command set."""

from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import name_argument, perform
from vm_mgr.cli.settings import UNSETTABLE, SettingsCommand, settings_changes
from vm_mgr.model.devices import changes_of
from vm_mgr.model.on_move import OnMove
from vm_mgr.model.vm import VmName

__all__ = ["set_command"]


@click.command("set", cls=SettingsCommand)
@name_argument
@options_of("set")
def set_command(name: VmName, unset: tuple[str, ...], **options: Any) -> None:
    """Change a VM's settings, memory, vCPUs, description, network cards or medium. It runs on undisturbed.

    What the cluster has to know takes effect at once. Memory and vCPUs change at the VM's next start: a
    running guest keeps what it has. Parameters of the resource agent (the --migration-* settings and
    --pacemaker-params) take effect once the VM has been disabled and enabled. KEY= without a value removes a
    note or a pacemaker key.

    Network cards come and go at once, and so does a medium. What the running guest can't take changes at its
    next start, and is named. A card's new model or address always waits for the next start. `vm-mgr show` has
    the addresses of the cards. An ISO image has to be on the node where the guest runs. Of several optical
    drives, --drive names one.

    \b
    Example:
      vm-mgr set web1 --memory 4G --vcpus 2
      vm-mgr set web1 --priority 10 --unset pinned-host
      vm-mgr set web1 --add-network br1 --eject
      vm-mgr set web1 --check qmp=60s --check guest-agent=2m
    """
    from vm_mgr.operations.set_vm import Changes  # noqa: PLC0415

    own = {key: options.pop(key) for key in ("memory_bytes", "vcpus", "description", "allow")}
    restart_others = options.pop("restart_others")
    off, on = options.pop("disable_live_migration"), options["live_migration"]
    if off and (on or options["on_move"] == OnMove.MIGRATE.value):
        raise click.UsageError("live migration can't be both enabled and disabled")
    if off and options["on_move"] is None:
        options["on_move"] = OnMove.RESTART.value
    add, change, remove = (options.pop(f"{verb}_network") for verb in ("add", "change", "remove"))
    insert, eject, drive = (options.pop(word) for word in ("insert", "eject", "drive"))
    devices = changes_of(add, change, remove, insert, eject=eject, drive=drive or "")
    settings = settings_changes(options)
    settings |= dict.fromkeys(UNSETTABLE[key] for key in unset)
    changes = Changes(settings, **own, devices=devices)
    if changes._replace(allow=()) == Changes():
        raise click.UsageError("say what to change")
    given = {"name": name, "changes": changes, "restart_others": restart_others}
    changed = perform("set", given)
    answer("set", given, changed, f"{name} is changed" if changed else "")
