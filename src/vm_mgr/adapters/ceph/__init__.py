"""Meet the storage port with Ceph RBD, in the layout that SEAPATH clusters have."""

__all__: list[str] = []
