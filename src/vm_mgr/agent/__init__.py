"""What the resource agent does with a VM on its own node: start, stop, monitor, move, hibernate."""

__all__: list[str] = []
