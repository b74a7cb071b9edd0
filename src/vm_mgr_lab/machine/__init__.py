"""What a node of the lab is: a port that says what any kind of machine can do, and the kinds there are."""

from vm_mgr_lab.machine.nspawn import SHARE, NspawnMachine
from vm_mgr_lab.machine.port import Machine

__all__ = ["SHARE", "Machine", "NspawnMachine"]
