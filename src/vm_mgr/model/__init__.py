"""Name the nouns: VMs, the cluster, storage. Frozen data, no I/O.

Import the modules themselves: gathering them here would load them all for every `vm-mgr status`.
"""

__all__: list[str] = []
