"""The command create."""

from pathlib import Path
from typing import Any

import click

from vm_mgr.cli.answer import show_done
from vm_mgr.cli.complete import files
from vm_mgr.cli.run import name_argument, run
from vm_mgr.cli.settings import (
    SettingsCommand,
    allow_any_option,
    settings_from,
    settings_options,
    storage_option,
)
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.ports.env import Env

__all__ = ["create_command", "read_definition"]


@click.command("create", cls=SettingsCommand)
@name_argument
@click.option(
    "--xml",
    "xml_path",
    metavar="FILE",
    shell_complete=files,
    required=True,
    help="The libvirt domain definition.",
)
@click.option(
    "-i",
    "--image",
    metavar="FILE",
    shell_complete=files,
    required=True,
    help="The image of the system disk: qcow2, vmdk, vdi or vhdx.",
)
@click.option(
    "--additional-disk",
    "more",
    multiple=True,
    metavar="FILE",
    shell_complete=files,
    help="The image of a further disk; can be repeated.",
)
@click.option("--image-format", metavar="FORMAT", help="The format of the images; needed for raw ones only.")
@click.option("--disable", is_flag=True, help="Keep the VM out of the cluster's control for now.")
@click.option("--nostart", is_flag=True, help="Leave the VM stopped.")
@click.option("--force", is_flag=True, help="Replace an existing VM of this name, with its disks.")
@click.option("-p", "--progress", is_flag=True, help="Accepted for older scripts; progress is always shown.")
@click.option("--verify", is_flag=True, help="Read the copied disks again and compare them.")
@storage_option
@allow_any_option
@settings_options
def create_command(name: VmName, xml_path: str, image: str, **options: Any) -> None:
    """Create a VM from a disk image and a domain definition, and start it.

    vm-mgr copies the image into the cluster's storage, where it becomes the VM's system disk.

    \b
    Example:
      vm-mgr create --name web1 --xml web1.xml --image web1.qcow2 --enable-live-migration
    """
    enable, start, force = not options.pop("disable"), not options.pop("nostart"), options.pop("force")
    images, image_format = (image, *options.pop("more")), options.pop("image_format")
    verify, storage = options.pop("verify"), options.pop("storage") or ""
    allow = options.pop("allow")
    settings = settings_from(options)

    def operation(env: Env) -> VmStatus:
        request = CreateRequest(
            name,
            read_definition(xml_path),
            images,
            settings,
            enable,
            start,
            force,
            (image_format,) * len(images),
            verify,
            storage=storage,
            allow=allow,
        )
        return create(env, request)

    show_done(run(operation))


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
