"""Play a scenario on a lab that is up, and audit the cluster afterwards."""

import contextlib
import time
from collections.abc import Callable

from vm_mgr_lab import demo
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.history import History
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.scenario.audits import audit
from vm_mgr_lab.scenario.load import Scenario
from vm_mgr_lab.scenario.steps import VERBS, Run, heal
from vm_mgr_lab.up import wait_ready

__all__ = ["play"]

Say = Callable[[str], None]

WRITES_S = 120


def play(lab: Lab, scenario: Scenario, say: Say, *, mac_byte: int, storage: str = "ceph") -> list[str]:
    """Create a VM, do the steps, heal everything, wait for health; return what the audits found.

    The VM is removed at the end, also after a failure. LabError says which step could not be done.
    """
    vm = "".join(part.capitalize() for part in scenario.name.split("-"))
    began_s = time.time()
    demo.create_guest(lab, vm, say, mac_byte=mac_byte, options=("--storage", storage, *scenario.vm_options))
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(_clean_up, lab, vm, say)
        history = cleanup.enter_context(History(lab, vm, mac_byte))
        _, node = demo.where_is(lab, vm, ask=lab.nodes[0].name)
        if node is None:
            raise LabError(f"{vm} was created but runs nowhere")
        run = Run(
            lab=lab,
            vm=vm,
            mac_byte=mac_byte,
            history=history,
            first_node=node,
            fault_s=time.time(),
            cleanup=cleanup,
        )
        wait_until(
            lambda: history.first("record", after_s=0) is not None, what="a first write", timeout_s=WRITES_S
        )
        for step in scenario.steps:
            say(f"{step.verb} {step.arguments or ''}")
            if step.verb not in VERBS:
                raise LabError(f"scenario {scenario.name}: no step {step.verb!r}", hint=", ".join(VERBS))
            VERBS[step.verb](run, **step.arguments)
        heal(run)
        wait_ready(lab, say)
        healed_s = time.time()
        wait_until(
            lambda: history.first("record", after_s=healed_s) is not None,
            what=f"{vm} to write after all was healed",
            timeout_s=WRITES_S,
        )
        return audit(run, scenario, began_s=began_s)


def _clean_up(lab: Lab, vm: str, say: Say) -> None:
    """Heal what a failed step left, so that the next scenario finds a healthy cluster, and remove the VM."""
    lab.heal()
    for node in lab.nodes:
        lab.power_on(node.name)
    try:
        wait_ready(lab, say)
    finally:
        demo.remove_guest(lab, vm, node=lab.nodes[0].name)
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-c", "rm -f /root/guest-*"])
