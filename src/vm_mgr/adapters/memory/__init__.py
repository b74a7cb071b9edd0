"""Meet every port in memory, for tests; the contract tests keep it honest."""

__all__: list[str] = []
