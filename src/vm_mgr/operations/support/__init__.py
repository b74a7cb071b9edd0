"""What all operations have in common: a VM's lock and intent, preconditions, derived states."""

__all__: list[str] = []
