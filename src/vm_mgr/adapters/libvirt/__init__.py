"""Meet the hypervisor and definition ports with virsh and lxml."""

__all__: list[str] = []
