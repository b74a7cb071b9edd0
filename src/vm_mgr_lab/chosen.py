"""Which lab a command of vm-mgr-lab means, and the argument that names a node of it."""

import os

import click

from vm_mgr_lab.lab import Lab
from vm_mgr_lab.paths import Paths
from vm_mgr_lab.process import require_programs, require_root

__all__ = ["NODE", "lab_paths", "the_lab"]

NODE = click.argument("node")


def lab_paths(kernel: str | None = None) -> Paths:
    """Return the folders of the lab that is meant, also for the processes that this one starts."""
    wanted = kernel or click.get_current_context().find_root().obj
    found = Paths.of_lab(wanted)
    os.environ["VM_MGR_LAB_STATE"] = str(found.state)
    return found


def the_lab() -> Lab:
    """Return the lab that is meant; LabError when it is not up."""
    require_root()
    require_programs()
    return Lab.load(lab_paths())
