"""Let `python3 -m vm_mgr.cli` be the command line."""

from vm_mgr.cli import main

main()
