"""Meet every port in memory, for tests and rehearsals; the contract tests keep it honest."""

__all__: list[str] = []
