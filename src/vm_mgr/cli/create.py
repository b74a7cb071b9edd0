"""The command create."""

from pathlib import Path
from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.dry_run import confirm_replacement, yes_option
from vm_mgr.cli.options import formats_of, options_of
from vm_mgr.cli.render import done_words
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import SettingsCommand, progress_option, settings_from
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.devices import NewMachine, new_card
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.model.xml_encoding import decoded, misdeclared
from vm_mgr.operations.create import CreateRequest
from vm_mgr.operations.new_definition import new_definition
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Say, silent

__all__ = ["create_command", "read_definition"]


@click.command("create", cls=SettingsCommand)
@name_argument
@options_of("create")
@yes_option
@progress_option
def create_command(name: VmName, xml: str | None, image: str | None, **options: Any) -> None:
    """Create a VM from a disk image, or with an empty disk, and start it.

    vm-mgr copies the image into the cluster's storage, where it becomes the VM's system disk. --disk makes
    that larger. Without --xml the VM gets a definition that starts on every node: virtio disks and cards, a
    serial console, a channel for the guest's agent, VNC on its node alone, BIOS, and room for later devices.
    It uses KVM if all nodes have it. An ISO image must be on all nodes, at the same path.

    \b
    Example:
      vm-mgr create web1 --image debian.qcow2 --memory 4G --vcpus 2 --network br0
      vm-mgr create web2 --disk 20G --iso /srv/vms/debian.iso --network br0
      vm-mgr create --name web1 --xml web1.xml --image web1.qcow2 --enable-live-migration
    """
    confirm_replacement(name, force=options["force"], yes=options.pop("yes"))
    images = (*((image,) if image else ()), *options.pop("more"))
    if not image and (images or not options["disk_bytes"]):
        raise click.UsageError("give the system disk: --image FILE, or --disk SIZE for an empty one")
    formats = formats_of(images, options.pop("image_format"))
    disk_bytes = options.pop("disk_bytes") or 0
    machine = _machine(options)
    if xml and machine != NewMachine():
        raise click.UsageError("--memory, --vcpus, --network and --iso are for a VM without --xml")
    settings, storage = settings_from(options), options.pop("storage") or ""

    def operation(env: Env) -> VmStatus:
        text = (
            read_definition(xml, env.say) if xml else new_definition(env, machine, host=settings.pinned_host)
        )
        request = CreateRequest(
            name, text, images, settings, formats=formats, storage=storage, disk_bytes=disk_bytes, **options
        )
        made: VmStatus = OPERATIONS["create"].load()(env, request)
        return made

    vm = run(operation)
    answer("create", {"name": name}, vm, done_words(vm))


def _machine(options: dict[str, Any]) -> NewMachine:
    """Take what a new definition has out of a command's options."""
    found = {key: options.pop(key) for key in ("memory_bytes", "vcpus", "iso")}
    given = {key: value for key, value in found.items() if value is not None}
    return NewMachine(**given, cards=tuple(map(new_card, options.pop("cards"))))


def read_definition(path: str, say: Say = silent) -> str:
    """Read a domain definition in the encoding that it declares; raises NOT_FOUND or INVALID."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        hint = "give the path of a libvirt domain definition"
        raise VmMgrError(Kind.NOT_FOUND, f"can't read {path}: {error.strerror}", hint=hint) from error
    try:
        text = decoded(raw)
    except VmMgrError as error:
        raise VmMgrError(error.kind, f"{path}: {error.message}", hint=error.hint) from error
    if encoding := misdeclared(raw):
        message = f"{path} is read as {encoding}, as its first line says; its bytes look like UTF-8"
        hint = "where letters are wrong, have it say encoding='UTF-8'"
        say(Note(Level.WARNING, "encoding", message, hint))
    return text
