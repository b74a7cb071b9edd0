"""Meet the storage port with DRBD: each VM's disks on thin logical volumes of two nodes."""

__all__: list[str] = []
