"""What operations answer to programs: shapes of the data, how results become data, their JSON Schema."""

__all__: list[str] = []
