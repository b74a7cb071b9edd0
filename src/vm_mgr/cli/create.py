"""The command create."""

from pathlib import Path
from typing import Any

import click

from vm_mgr.cli.run import chosen_name, name_argument, run
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.vm import VmName, VmSettings
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.wiring import RealEnv

__all__ = ["create_command"]


@click.command("create")
@name_argument
@click.option("--xml", "xml_path", metavar="FILE", required=True, help="The libvirt domain definition.")
@click.option("-i", "--image", metavar="FILE", required=True, help="The system disk, a qcow2 image.")
@click.option("--disable", is_flag=True, help="Keep the VM out of the cluster's control for now.")
@click.option("--nostart", is_flag=True, help="Leave the VM stopped.")
@click.option("--force", is_flag=True, help="Replace an existing VM of this name, with its disks.")
@click.option("-p", "--progress", is_flag=True, help="Accepted for older scripts; progress is always shown.")
@click.option(
    "--enable-live-migration", "live_migration", is_flag=True, help="Move without stopping the guest."
)
@click.option("--migration-user", metavar="USER", help="The user of ssh between nodes.")
@click.option(
    "--migrate-to-timeout", "--migration-to-timeout", "migrate_to_timeout_s",
    type=click.IntRange(min=10), metavar="S", help="Seconds that a live migration may take.",
)  # fmt: skip
@click.option("--stop-timeout", "stop_timeout_s", type=click.IntRange(min=5), metavar="S",
              help="Seconds that a stop may take before the VM is unplugged.")  # fmt: skip
@click.option("--migration-downtime", "migration_downtime_ms", type=click.IntRange(min=1), metavar="MS",
              help="Milliseconds that the guest may pause at the end of a live migration.")  # fmt: skip
@click.option("--pinned-host", metavar="NODE", help="Run on this node only.")
@click.option("--preferred-host", metavar="NODE", help="Run on this node when possible.")
@click.option("--priority", type=int, metavar="N", help="Recover VMs of higher priority first.")
@click.option("--disk-bus", metavar="BUS", help="How the guest sees the disk; virtio by default.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Your own notes; can be repeated.")
def create_command(
    named: str | None, plain: str | None, xml_path: str, image: str, metadata: tuple[str, ...], **options: Any
) -> None:  # fmt: skip
    """Create a VM from a disk image and a domain definition, and start it.

    The image is copied into the cluster's storage, where it becomes the VM's system disk.

    \b
    Example:
      vm-mgr create --name web1 --xml web1.xml --image web1.qcow2 --enable-live-migration
    """
    enable, start, force = not options.pop("disable"), not options.pop("nostart"), options.pop("force")
    options.pop("progress")
    settings = VmSettings(user_metadata=_pairs(metadata), **options)
    name = VmName(chosen_name(named, plain))

    def operation(env: RealEnv) -> object:
        request = CreateRequest(name, _read(xml_path), image, settings, enable, start, force)
        return create(env, request)

    vm: Any = run(operation)
    print(f"{vm.name} is {vm.state.value}" + (f" on {vm.node}" if vm.node else ""))


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.UsageError(f"--metadata {pair}: write KEY=VALUE")
    return {key: value for key, _, value in (pair.partition("=") for pair in given)}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        hint = "give the path of a libvirt domain definition"
        raise VmMgrError(Kind.NOT_FOUND, f"can't read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise VmMgrError(Kind.INVALID, f"{path} is not a text file", hint="write it in UTF-8") from error
