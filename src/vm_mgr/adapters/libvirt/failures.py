"""Say what a failure of libvirt's API means, by the number that libvirt gives it (virterror.h)."""

from __future__ import annotations

import re

from vm_mgr.adapters.libvirt.connection import binding
from vm_mgr.adapters.libvirt.virsh import failed
from vm_mgr.errors import Kind, VmMgrError

__all__ = ["started_badly"]

# How our own hook's refusal begins (vm_mgr.ocf.guard), behind words of libvirt's own.
OUR_HOOK = re.compile(r".*vm-mgr: refusing ", re.DOTALL)


def started_badly(error: VmMgrError, name: str) -> VmMgrError:
    """Give what a failed start of a domain means to whoever asked for it; see Domains.create.

    libvirt says OPERATION_INVALID where it has this very domain (virDomainObjListAdd), and HOOK_SCRIPT_FAILED
    for a hook that refuses: mostly ours, whose words stand behind libvirt's own.
    """
    libvirt, cause = binding(), error.__cause__
    if not isinstance(cause, libvirt.libvirtError):
        return error  # it has not answered in time
    said, code = str(cause), cause.get_error_code()
    if code == libvirt.VIR_ERR_OPERATION_INVALID:
        return VmMgrError(Kind.TRY_LATER, f"libvirt: {said}", hint=f"virsh dominfo {name}")
    if code == libvirt.VIR_ERR_HOOK_SCRIPT_FAILED:
        why = OUR_HOOK.sub("refusing ", said).strip()
        return VmMgrError(
            Kind.WRONG_STATE, why, hint="see who has its disks: rbd status, or virsh list on each node"
        )
    return failed(said.splitlines())
