"""VMs that others have made become ours, as docs/howto/adopt.md says."""

from collections.abc import Iterator

import pytest

from vm_mgr_lab.history import qemu_nodes
from vm_mgr_lab.lab import Lab
from vm_mgr_lab.process import wait_until

from .test_life import DEFINITION, QUICK, shell, vm_mgr
from .test_seapath import configuration, state

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

DISK = (
    '<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="/root/app1.qcow2"/>'
    '<target dev="vda" bus="virtio"/></disk>'
)
PRIMITIVES = (
    """<primitive id="app1" class="ocf" provider="heartbeat" type="VirtualDomain">
<instance_attributes id="app1-p"><nvpair id="app1-c" name="config" value="/root/app1.xml"/>
<nvpair id="app1-h" name="hypervisor" value="qemu:///system"/></instance_attributes>
<meta_attributes id="app1-m"><nvpair id="app1-pr" name="priority" value="4"/>
<nvpair id="app1-r" name="target-role" value="Started"/></meta_attributes>
<operations><op id="app1-start" name="start" interval="0" timeout="90"/>
<op id="app1-stop" name="stop" interval="0" timeout="20"/></operations></primitive>""",
    '<primitive id="app1-net" class="ocf" provider="pacemaker" type="Dummy"/>',
)
CONSTRAINTS = (
    '<rsc_location id="app1-home" rsc="app1" node="n1" score="INFINITY" resource-discovery="exclusive"/>',
    '<rsc_order id="app1-after-net" first="app1-net" then="app1"/>',
)


@pytest.fixture
def app1(lab: Lab) -> Iterator[str]:
    """Have the distribution's agent run a VM on n1, which is ordered after another resource."""
    xml = DEFINITION.replace(">any<", ">app1<").replace("<devices>", f"<devices>{DISK}")
    xml = xml.replace("<name>", "\n<name>").replace("</name>", "</name>\n")  # their agent reads whole lines
    lab.execute("n1", ["sh", "-c", "cat > /root/app1.xml"], stdin=xml)
    shell(
        lab, "qemu-img create -q -f qcow2 /root/app1.qcow2 8M; qemu-io -c 'write -P 7 0 64k' /root/app1.qcow2"
    )
    for text in PRIMITIVES:
        lab.execute("n1", ["cibadmin", "--create", "--scope", "resources", "--xml-text", text])
    for text in CONSTRAINTS:
        lab.execute("n1", ["cibadmin", "--create", "--scope", "constraints", "--xml-text", text])
    try:
        wait_until(lambda: state(lab, "app1") == ("Started", "n1"), what="app1 to start", timeout_s=180)
        yield "app1"
    finally:
        lab.execute("n1", ["vm-mgr", "stop", "app1", "--force"], check=False, timeout_s=120)
        lab.execute("n1", ["vm-mgr", "remove", "app1"], check=False, timeout_s=120)
        for path in (
            "//*[@rsc='app1' or @then='app1']",
            "//primitive[@id='app1']",
            "//primitive[@id='app1-net']",
        ):
            delete = ["cibadmin", "--delete-all", "--force", "--xpath", path]
            lab.execute("n1", delete, check=False)
        shell(lab, "rm -f /root/app1.xml /root/app1.qcow2; crm_resource --cleanup >/dev/null 2>&1")


def test_vm_of_the_distributions_agent_becomes_ours(lab: Lab, app1: str) -> None:
    told = vm_mgr(lab, "add-to-cluster", app1, code=5)
    assert f"vm-mgr stop {app1}; vm-mgr add-to-cluster {app1} --xml /root/app1.xml" in told
    assert "runs" in vm_mgr(lab, "add-to-cluster", app1, "--xml", "/root/app1.xml", code=5)
    vm_mgr(lab, "stop", app1)
    vm_mgr(lab, "add-to-cluster", app1, "--xml", "/root/app1.xml", *QUICK[1:])
    assert state(lab, app1)[0] == "Started"
    assert len(qemu_nodes(lab, app1)) == 1
    (ours,) = configuration(lab).iterfind(f"resources//primitive[@id='{app1}']")
    assert ours.get("provider") == "vm-mgr"
    assert ours.find("meta_attributes/nvpair[@name='priority']").get("value") == "4"
    assert configuration(lab).find("constraints/rsc_order[@id='app1-after-net']").get("then") == app1
    assert configuration(lab).find("constraints/rsc_location[@id='app1-home']") is None
    read = f"qemu-io -r -f raw -c 'read -P 7 0 64k' rbd:rbd/system_{app1}:id=vm-mgr"
    assert "verification failed" not in shell(lab, read)
    verified = lab.execute("n1", ["crm_verify", "--live-check", "--verbose"])
    assert verified.stdout + verified.stderr == ""
