"""Meet the storages port, and let several storages look like one to whoever only knows a VM's name."""

__all__: list[str] = []
