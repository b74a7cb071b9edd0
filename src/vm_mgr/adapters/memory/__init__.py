"""Meet every port in memory, for tests and dry runs; the contract tests keep it honest."""

__all__: list[str] = []
