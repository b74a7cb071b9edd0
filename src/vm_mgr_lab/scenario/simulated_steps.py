"""The verbs of the engines `model` and `policy`; both play on the world of world.py.

`model` has no verbs for what only Pacemaker's scheduler can answer: the loss of nodes, of quorum, of uplinks.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from lxml import etree

from vm_mgr.agent.libvirt_hook import check_start
from vm_mgr.agent.parameters import Parameters
from vm_mgr.errors import VmMgrError
from vm_mgr.model.capacity import Room
from vm_mgr.model.migration import AbortReason
from vm_mgr.model.pause import PauseReason
from vm_mgr.model.storage import DiskClient
from vm_mgr.model.vm import VmName
from vm_mgr_lab.errors import LabError
from vm_mgr_lab.scenario import cib as edit
from vm_mgr_lab.scenario.simulated import VM, SimulatedRun
from vm_mgr_lab.scenario.world import NODES

if TYPE_CHECKING:
    from vm_mgr_lab.scenario.policy import CibCluster

__all__ = ["MODEL_VERBS", "POLICY_VERBS"]

WITHIN_S = 240.0


def vm_mgr(
    run: SimulatedRun,
    *,
    command: str,
    fails: bool = False,
    once: bool = False,  # noqa: ARG001 - there is one VM
) -> None:
    """Run vm-mgr on a node that is up; {vm}, {first}, {other}, {image} and {xml} stand for what they say."""
    code, said = run.command(command)
    if (code != 0) != fails:
        raise LabError(f"vm-mgr {command} exited with {code}: {said.strip()[-500:]}")


def kill_command(run: SimulatedRun, *, command: str, at: str) -> None:
    """Run vm-mgr and let its process die before a call of a port, as "storage.rename"."""
    run.command(command, kill_at=at)


def kill_qemu(run: SimulatedRun, *, vm: str = VM) -> None:
    """Kill the VM's QEMU, as the kernel's OOM killer does."""
    run.world.end(run.running_node(vm), VmName(vm))


def wait_for_write(run: SimulatedRun, *, node: str = "any", within_s: float = WITHIN_S) -> None:  # noqa: ARG001
    """Let the cluster do what there is to do, and find the VM writing on "any" node, "@first" or "other"."""
    run.cluster.settle()
    here = run.running_node(VM)
    halted = run.world.nodes[here].hypervisor.halted.get(VmName(VM))
    fits = node == "any" or (here == run.first_node) == (node == "@first")
    if halted or not fits:
        raise LabError(f"{VM} is on {here} ({halted or 'running'}), expected to write on {node} node")


def stays_down(run: SimulatedRun, *, seconds: float) -> None:
    """Check for some time that no living node runs the VM."""
    until = run.world.clock.now + seconds
    while run.world.clock.now < until:
        run.world.clock.sleep(min(seconds, 20.0))
        run.cluster.settle()
        if alive := [node for node in run.world.places(VM) if run.world.is_up(node)]:
            raise LabError(f"{VM} came to life on {alive}")


def stays_up(run: SimulatedRun, *, seconds: float, node: str) -> None:
    """Check for some time that the VM runs on a node and never boots."""
    where, boots = run.node(node), run.world.boots(VM)
    until = run.world.clock.now + seconds
    while run.world.clock.now < until:
        run.world.clock.sleep(min(seconds, 20.0))
        run.cluster.settle()
        if run.world.places(VM) != [where] or run.world.boots(VM) != boots:
            raise LabError(f"{VM} runs on {run.world.places(VM)}, expected undisturbed on {where}")


def status(
    run: SimulatedRun,
    *,
    state: str,
    node: str = "any",
    vm: str = VM,
    within_s: float = WITHIN_S,  # noqa: ARG001 - all is done at once
) -> None:
    """Compare what `vm-mgr status` says of a VM: its state, and node as in wait-for-write."""
    run.cluster.settle()
    told, here = run.status(vm)
    fits = node == "any" or (here != run.first_node if node == "other" else here == run.node(node))
    if told != state or not fits:
        raise LabError(f"{vm} is {told} on {here}, expected {state} on {node} node")


def together(run: SimulatedRun, *, vm: str) -> None:
    """Find the VM on the node of another one."""
    run.cluster.settle()
    if run.running_node(VM) != run.running_node(vm):
        raise LabError(f"{VM} runs on {run.running_node(VM)}, and {vm} on {run.running_node(vm)}")


def apart(run: SimulatedRun, *, vm: str) -> None:
    """Find the VM on another node than another one."""
    run.cluster.settle()
    if run.running_node(VM) == run.running_node(vm):
        raise LabError(f"{VM} and {vm} both run on {run.running_node(vm)}")


def wait_for_nodes(run: SimulatedRun) -> None:
    """Find all nodes to be members."""
    lost = [one.name for one in run.cluster.state().nodes if not one.online]
    if lost:
        raise LabError(f"not online: {', '.join(lost)}")


def wait(run: SimulatedRun, *, seconds: float) -> None:
    """Let time pass."""
    run.world.clock.sleep(seconds)
    run.cluster.settle()


def standby(run: SimulatedRun, *, node: str) -> None:
    """Put a node in standby until it boots."""
    run.world.told[run.node(node)]["standby"] = "on"
    run.cluster.settle()


def unstandby(run: SimulatedRun, *, node: str) -> None:
    """Let a node take VMs again."""
    run.world.told[run.node(node)].pop("standby", None)
    run.cluster.settle()


def fail_start(run: SimulatedRun, *, node: str, why: str) -> None:
    """Have libvirt of a node, or of "all", refuse starts."""
    for name in NODES if node == "all" else (run.node(node),):
        run.world.nodes[name].hypervisor.failing_start = why


def fail_migration(run: SimulatedRun, *, why: str) -> None:
    """Have live migrations of the VM fail in libvirt."""
    for env in run.world.nodes.values():
        env.hypervisor.failing_moves[VmName(VM)] = why


def abort_migration(run: SimulatedRun, *, why: str) -> None:
    """Have the agent abort live migrations, since they are "late" or would pause the guest too long."""
    for env in run.world.nodes.values():
        env.hypervisor.aborting = AbortReason(why)


def lose_during_migration(run: SimulatedRun, *, node: str) -> None:
    """Cut a node's power in the middle of the next live migration."""
    name = run.node(node)
    run.world.during_migration = lambda: run.world.power_off(name)


def start_by_hand(run: SimulatedRun, *, node: str) -> None:
    """Start the VM's own definition with virsh on another node; libvirt's hook must refuse it."""
    here, there = run.running_node(VM), run.world.nodes[run.node(node)]
    xml = run.world.nodes[here].hypervisor.xmls[VmName(VM)]
    try:
        check_start(there, [VM, "prepare", "begin"], xml)
    except VmMgrError:
        return
    raise LabError(f"virsh could start a second {VM} on {node}")


def hold_lock(run: SimulatedRun) -> None:
    """Let another command be at the VM."""
    run.world.healthy().intent_log.locked.add(VmName(VM))


def release_lock(run: SimulatedRun) -> None:
    """End that command."""
    run.world.healthy().intent_log.locked.discard(VmName(VM))


def storage_full(run: SimulatedRun, *, full: bool) -> None:
    """Have the VM's storage full, which pauses the guest, or have room in it again, with which it goes on."""
    node = run.running_node(VM)
    env, told = run.world.nodes[node], run.world.told[node]
    told.pop(f"vm-mgr-full-{VM}", None)
    env.hypervisor.halted.pop(VmName(VM), None)
    if full:
        told[f"vm-mgr-full-{VM}"] = f"{run.world.clock.now:.0f}"
        env.hypervisor.halted[VmName(VM)] = PauseReason.IO_ERROR
    run.cluster.settle()


def hang_libvirt(run: SimulatedRun, *, node: str) -> None:
    """Have libvirt of a node answer no more."""
    run.world.nodes[run.node(node)].hypervisor.hanging = True


def fail_save(run: SimulatedRun, *, why: str) -> None:
    """Have the guest's memory not be saved."""
    for env in run.world.nodes.values():
        env.hypervisor.failing_save = why


def fail_storage(run: SimulatedRun, *, step: str) -> None:
    """Have a verb of the storage fail."""
    run.world.healthy().storage.failing = step


def shrink_storage(run: SimulatedRun, *, gib: int) -> None:
    """Have so little room in the storage, all in all."""
    run.world.healthy().storage.has_room = Room(total_bytes=gib << 30, free_bytes=gib << 30)


def pause_for_io_error(run: SimulatedRun) -> None:
    """Have QEMU pause the guest, since its disk answers with an error."""
    env = run.world.nodes[run.running_node(VM)]
    env.hypervisor.halted[VmName(VM)] = PauseReason.IO_ERROR


def hold_disk(run: SimulatedRun, *, node: str) -> None:
    """Let a program on a node have the VM's disk open."""
    number = NODES.index(run.node(node)) + 1
    client = DiskClient(f"system_{VM}", f"198.51.100.1{number}:0/4711")
    run.world.healthy().storage.held.append(client)


def release_disk(run: SimulatedRun) -> None:
    """End that program."""
    run.world.healthy().storage.held.clear()


def write_disk(run: SimulatedRun, *, text: str) -> None:
    """Let the guest write to its first disk."""
    run.running_node(VM)
    run.world.healthy().storage.vms[VmName(VM)].disks[0] = text


def disk_has(run: SimulatedRun, *, text: str, disks: int = 1, vm: str = VM) -> None:
    """Compare the content of the first disk, and the number of disks."""
    found = run.world.healthy().storage.vms[VmName(vm)].disks
    if found[0] != text or len(found) != disks:
        raise LabError(f"the disks of {vm} have {found}, expected {disks}, the first with {text!r}")


def run_agent(run: SimulatedRun, *, action: str, node: str, fails: bool = False) -> None:
    """Run the resource agent by hand on a node, as a person, or a cluster that is wrong, could."""
    error = run.world.act(run.node(node), action, Parameters(name=VmName(VM), timeout_s=120))
    if (error is not None) != fails:
        raise LabError(f"{action} on {node}: {error or 'it succeeded'}")


def heal(run: SimulatedRun) -> None:
    """Undo every fault and restore power."""
    world = run.world
    for env in world.nodes.values():
        env.hypervisor.failing_start = env.hypervisor.failing_save = ""
        env.hypervisor.failing_moves.clear()
        env.hypervisor.aborting = AbortReason.NONE
        env.hypervisor.hanging = False
        env.storage.failing = ""
    world.dark.clear()
    world.cut.clear()
    world.silent_bmcs.clear()
    for told in world.told.values():
        for name in [name for name in told if name.startswith("vm-mgr-bridge-")]:
            del told[name]
    run.cluster.settle()


def cut_power(run: SimulatedRun, *, node: str) -> None:
    """Cut a node's power, or that of "all" at once."""
    for name in NODES if node == "all" else (run.node(node),):
        run.world.power_off(name)


def power_on(run: SimulatedRun, *, node: str) -> None:
    """Restore a node's power, or that of "all"."""
    for name in NODES if node == "all" else (run.node(node),):
        run.world.dark.discard(name)
    run.cluster.settle()


def reboot(run: SimulatedRun, *, node: str) -> None:
    """Shut a node down in good order; it is back when all is healed."""
    run.world.told[run.node(node)]["shutdown"] = str(int(run.world.clock.now))
    run.cluster.settle()


def cut_network(run: SimulatedRun, *, node: str) -> None:
    """Unplug a node from both networks."""
    run.world.cut[run.node(node)] = run.world.clock.now


def break_bmc(run: SimulatedRun, *, node: str) -> None:
    """Let a node's BMC fall silent."""
    run.world.silent_bmcs.add(run.node(node))


def heal_bmc(run: SimulatedRun, *, node: str) -> None:
    """Bring a node's BMC back."""
    run.world.silent_bmcs.discard(run.node(node))
    run.cluster.settle()


def wait_offline(run: SimulatedRun, *, node: str, within_s: float = WITHIN_S) -> None:  # noqa: ARG001
    """Find that the cluster no longer counts a node as a member."""
    seen = run.cluster.state().node(run.node(node))
    if seen is None or seen.online:
        raise LabError(f"{node} is still a member of the cluster")


def bridge(run: SimulatedRun, *, node: str, answer: str) -> None:
    """Have a node tell of its bridge br0 that it is "missing", "cut" from its network, or "connected"."""
    told = run.world.told[run.node(node)]
    told["vm-mgr-bridge-br0"] = {"missing": "0", "cut": "1", "connected": "2"}[answer]
    run.cluster.settle()


def fail_monitor(run: SimulatedRun) -> None:
    """Let the agent's monitor find the running VM failed."""
    cluster, here = cast("CibCluster", run.cluster), run.running_node(VM)
    cluster.inject(VM, here, status=1)
    cluster.settle()


def maintenance(run: SimulatedRun, *, on: bool) -> None:
    """Begin or end the cluster's maintenance mode."""
    change = "true" if on else "false"
    cast("CibCluster", run.cluster).change(lambda cib: edit.set_option(cib, "maintenance-mode", change))
    run.cluster.settle()


def constrain(run: SimulatedRun, *, node: str, score: str) -> None:
    """Add a location constraint that another tool has made."""

    def change(cib: etree._Element) -> None:
        constraints = cib.find("configuration/constraints")
        assert constraints is not None  # noqa: S101 - every CIB has them
        given = {"id": f"by-hand-{run.node(node)}", "rsc": VM, "node": run.node(node), "score": score}
        etree.SubElement(constraints, "rsc_location", given)

    cast("CibCluster", run.cluster).change(change)
    run.cluster.settle()


MODEL_VERBS: dict[str, Callable[..., None]] = {
    "abort-migration": abort_migration,
    "apart": apart,
    "disk-has": disk_has,
    "fail-migration": fail_migration,
    "fail-save": fail_save,
    "fail-start": fail_start,
    "fail-storage": fail_storage,
    "hang-libvirt": hang_libvirt,
    "heal": heal,
    "hold-disk": hold_disk,
    "hold-lock": hold_lock,
    "kill-command": kill_command,
    "kill-qemu": kill_qemu,
    "pause-for-io-error": pause_for_io_error,
    "release-disk": release_disk,
    "release-lock": release_lock,
    "run-agent": run_agent,
    "shrink-storage": shrink_storage,
    "standby": standby,
    "start-by-hand": start_by_hand,
    "status": status,
    "stays-down": stays_down,
    "stays-up": stays_up,
    "together": together,
    "unstandby": unstandby,
    "vm-mgr": vm_mgr,
    "wait": wait,
    "wait-for-nodes": wait_for_nodes,
    "wait-for-write": wait_for_write,
    "write-disk": write_disk,
}
POLICY_VERBS: dict[str, Callable[..., None]] = {
    **MODEL_VERBS,
    "break-bmc": break_bmc,
    "bridge": bridge,
    "constrain": constrain,
    "cut-network": cut_network,
    "cut-power": cut_power,
    "fail-monitor": fail_monitor,
    "heal-bmc": heal_bmc,
    "lose-during-migration": lose_during_migration,
    "maintenance": maintenance,
    "power-on": power_on,
    "reboot": reboot,
    "storage-full": storage_full,
    "wait-offline": wait_offline,
}
