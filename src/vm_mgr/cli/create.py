"""The command create."""

from pathlib import Path
from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.options import formats_of, options_of
from vm_mgr.cli.render import done_words
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import SettingsCommand, progress_option, settings_from
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.model.xml_encoding import decoded, misdeclared
from vm_mgr.operations.create import CreateRequest
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.ports.env import Env
from vm_mgr.reports import Level, Note, Say, silent

__all__ = ["create_command", "read_definition"]


@click.command("create", cls=SettingsCommand)
@name_argument
@options_of("create")
@progress_option
def create_command(name: VmName, xml: str, image: str, **options: Any) -> None:
    """Create a VM from a disk image and a domain definition, and start it.

    vm-mgr copies the image into the cluster's storage, where it becomes the VM's system disk.

    \b
    Example:
      vm-mgr create --name web1 --xml web1.xml --image web1.qcow2 --enable-live-migration
    """
    images = (image, *options.pop("more"))
    formats = formats_of(images, options.pop("image_format"))
    settings, storage = settings_from(options), options.pop("storage") or ""

    def operation(env: Env) -> VmStatus:
        request = CreateRequest(
            name, read_definition(xml, env.say), images, settings, formats=formats, storage=storage, **options
        )
        made: VmStatus = OPERATIONS["create"].load()(env, request)
        return made

    vm = run(operation)
    answer("create", {"name": name}, vm, done_words(vm))


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
