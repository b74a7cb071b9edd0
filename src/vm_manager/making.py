"""Make VMs: create, clone, add_to_cluster."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from vm_manager import options as read
from vm_manager.environment import log_report, print_progress, working
from vm_manager.exceptions import VmManagerException
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations import add_to_cluster as operations_add_to_cluster
from vm_mgr.operations import clone as operations_clone
from vm_mgr.operations import create as operations_create
from vm_mgr.operations.support.ties import (
    ALLOWABLE,  # programs for SEAPATH have no word for it: they are warned
)
from vm_mgr.reports import Say

__all__ = ["add_to_cluster", "clone", "create"]


def create(vm_options: Mapping[str, Any]) -> None:
    """Import an image and make a VM of it, put it into the cluster and start it.

    Options: name, base_xml (the text of the definition), image, additional_disks; enable, nostart, force and
    progress; and how it is to be run (see vm_manager.options).
    """
    request = read.create_request(vm_options)
    with working(_say(vm_options)) as env:
        operations_create.create(env, request._replace(allow=ALLOWABLE))


def clone(vm_options: Mapping[str, Any]) -> None:
    """Make the VM dst_name from the VM name; base_xml replaces its definition, other options its settings."""
    asked = read.clone_request(vm_options, VmSettings())  # refuses wrong options before anything is looked at
    with working(_say(vm_options)) as env:
        settings = partial(read.clone_settings, vm_options)
        request = asked._replace(settings=settings, allow=ALLOWABLE)
        operations_clone.clone(env, request)


def add_to_cluster(vm_options: Mapping[str, Any]) -> None:
    """Take over the stopped VM name that this node's libvirt keeps, as new_name where that is given."""
    request = read.takeover(vm_options)
    with working(_say(vm_options)) as env:
        disks = env.definitions.hard_disks(env.hypervisor.definition(request.domain)) if request.image else []
        if len(disks) > 1:
            message = f"{request.domain} has more than one disk, and image names one"
            raise VmManagerException(message, hint="leave image out: all of its disks are taken over")
        operations_add_to_cluster.add_to_cluster(env, request._replace(allow=ALLOWABLE))


def _say(vm_options: Mapping[str, Any]) -> Say:
    return print_progress if read.wants_progress(vm_options) else log_report
