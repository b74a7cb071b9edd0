"""Meet the storage, snapshots and intent log ports with a directory that all nodes mount."""

__all__: list[str] = []
