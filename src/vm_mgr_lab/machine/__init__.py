"""What a node of the lab is: a port that says what any kind of machine can do, and the kinds there are."""

from vm_mgr_lab.machine.kernel import own_kernel
from vm_mgr_lab.machine.nspawn import NspawnMachine
from vm_mgr_lab.machine.port import SHARE, Machine
from vm_mgr_lab.machine.uml import RUNNING, UmlMachine, personalise

__all__ = ["RUNNING", "SHARE", "Machine", "NspawnMachine", "UmlMachine", "own_kernel", "personalise"]
