"""Stand in for SEAPATH's helpers, as far as programs use them beside the functions."""

__all__: list[str] = []
