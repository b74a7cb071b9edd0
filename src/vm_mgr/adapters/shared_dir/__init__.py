"""Meet the storage, snapshots and ledger ports with a directory that all nodes mount."""

__all__: list[str] = []
