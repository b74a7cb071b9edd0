"""The command create."""

from pathlib import Path
from typing import Any

import click

from vm_mgr.cli.answer import answer
from vm_mgr.cli.dry_run import confirm_replacement, yes_option
from vm_mgr.cli.options import options_of
from vm_mgr.cli.render import done_words
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import SettingsCommand, progress_option, settings_from
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.operations.create import CreateRequest
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.ports.env import Env

__all__ = ["create_command", "read_definition"]


@click.command("create", cls=SettingsCommand)
@name_argument
@options_of("create")
@yes_option
@progress_option
def create_command(name: VmName, xml: str, image: str, **options: Any) -> None:
    """Create a VM from a disk image and a domain definition, and start it.

    vm-mgr copies the image into the cluster's storage, where it becomes the VM's system disk.

    \b
    Example:
      vm-mgr create --name web1 --xml web1.xml --image web1.qcow2 --enable-live-migration
    """
    confirm_replacement(name, force=options["force"], yes=options.pop("yes"))
    images, image_format = (image, *options.pop("more")), options.pop("image_format")
    settings, storage = settings_from(options), options.pop("storage") or ""

    def operation(env: Env) -> VmStatus:
        formats = (image_format,) * len(images)
        request = CreateRequest(
            name, read_definition(xml), images, settings, formats=formats, storage=storage, **options
        )
        made: VmStatus = OPERATIONS["create"].load()(env, request)
        return made

    vm = run(operation)
    answer("create", {"name": name}, vm, done_words(vm))


def read_definition(path: str) -> str:
    """Read a domain definition; raises NOT_FOUND or INVALID."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        hint = "give the path of a libvirt domain definition"
        raise VmMgrError(Kind.NOT_FOUND, f"can't read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise VmMgrError(
            Kind.INVALID, f"{path} is not a text file", hint="give the XML of a libvirt domain, in UTF-8"
        ) from error
