"""Meet the cluster port with Pacemaker's own tools: crm_mon, cibadmin, crm_diff, crm_resource."""

__all__: list[str] = []
