"""What operations on disks have in common: who has them open, and how they change under a guest."""

__all__: list[str] = []
