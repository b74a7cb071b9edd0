"""What each operation may be given, as fields: command line, API and reference take them from here.

Those of most verbs are in vms.py. Those with settings, or the terms of a move, are apart: they import more.
"""

__all__: list[str] = []
