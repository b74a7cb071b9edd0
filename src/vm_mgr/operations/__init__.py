"""Do what users ask for: one module per verb, each a function of an Env. registry.py lists them."""

__all__: list[str] = []
