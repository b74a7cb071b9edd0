"""Meet the ports with real programs and libraries; one package for each foreign world."""

__all__: list[str] = []
