"""Meet the cluster port with Pacemaker's own tools: crm_mon, cibadmin, crm_diff, crm_resource."""

from vm_mgr.adapters.pacemaker.port import Pacemaker

__all__ = ["Pacemaker"]
