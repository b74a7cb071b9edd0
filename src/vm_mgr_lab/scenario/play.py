"""Play a scenario on a lab that is up, and audit the cluster afterwards."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from vm_mgr_lab import demo
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.history import History
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until
from vm_mgr_lab.scenario.audits import audit
from vm_mgr_lab.scenario.load import Scenario
from vm_mgr_lab.scenario.steps import VERBS, Run, Subject, heal
from vm_mgr_lab.up import wait_ready

__all__ = ["play"]

Say = Callable[[str], None]

WRITES_S = 120


def play(lab: Lab, scenario: Scenario, say: Say, *, storages: Mapping[str, int]) -> list[str]:
    """Create a VM in each storage, do the steps, heal everything, wait; return what the audits found.

    storages: by label, the last byte of the MAC and IP addresses of the guest there. All VMs run on the same
    node when the steps begin, and are removed at the end, also after a failure. LabError says which step
    could not be done.
    """
    name = "".join(part.capitalize() for part in scenario.name.split("-"))
    vms = {f"{name}-{storage}": storage for storage in storages}
    began_s = time.time()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(_clean_up, lab, list(vms), say)
        with ThreadPoolExecutor() as pool:
            made = [
                pool.submit(
                    demo.create_guest,
                    lab,
                    vm,
                    say,
                    mac_byte=storages[storage],
                    options=("--storage", storage, *scenario.vm_options),
                )
                for vm, storage in vms.items()
            ]
        for one in made:
            one.result()
        node = _gather(lab, list(vms))
        run = Run(lab=lab, first_node=node, fault_s=time.time(), cleanup=cleanup)
        for vm, storage in vms.items():
            beside = run.subjects[0].history if run.subjects else None
            history = cleanup.enter_context(History(lab, vm, storages[storage], beside=beside))
            run.subjects.append(Subject(vm=vm, mac_byte=storages[storage], history=history))
        _wait_for_writes(run, 0, "a first write")
        for step in scenario.steps:
            say(f"{step.verb} {step.arguments or ''}")
            VERBS[step.verb](run, **step.arguments)
        heal(run)
        wait_ready(lab, say)
        _wait_for_writes(run, time.time(), "a write after all was healed")
        return audit(run, scenario, began_s=began_s)


def _gather(lab: Lab, vms: Sequence[str]) -> str:
    """Bring all VMs to the node of the first one."""
    ask = lab.nodes[0].name
    nodes = {vm: demo.where_is(lab, vm, ask=ask)[1] for vm in vms}
    for vm, node in nodes.items():
        if node is None:
            raise LabError(f"{vm} was created but runs nowhere")
    first = str(nodes[vms[0]])
    for vm, node in nodes.items():
        if node != first:
            lab.execute(ask, ["vm-mgr", "migrate", vm, first], timeout_s=WRITES_S)
    return first


def _wait_for_writes(run: Run, after_s: float, what: str) -> None:
    def written(one: Subject) -> bool:
        return one.history.first("record", after_s=after_s) is not None

    for one in run.subjects:
        wait_until(partial(written, one), what=f"{what} of {one.vm}", timeout_s=WRITES_S)


def _clean_up(lab: Lab, vms: Sequence[str], say: Say) -> None:
    """Heal what a failed step left, so that the next scenario finds a healthy cluster, and remove the VMs."""
    lab.heal()
    for node in lab.nodes:
        lab.power_on(node.name)
    try:
        wait_ready(lab, say)
    finally:
        with ThreadPoolExecutor() as pool:
            removed = [pool.submit(demo.remove_guest, lab, vm, node=lab.nodes[0].name) for vm in vms]
        for one in removed:
            one.result()
    for node in lab.nodes:
        lab.execute(node.name, ["sh", "-c", "rm -f /root/guest-*"])
