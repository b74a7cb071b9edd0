"""VMs for the tests of commands: a guest of 42 bytes, made in either storage, and what is left of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from vm_mgr_lab.lab import Lab

from .test_life import shell, vm_mgr

__all__ = ["NAMES", "QUICK", "at", "clean", "create", "domain_of", "node_of", "shown"]

# A guest that changes the case of what it reads on its serial port, lets go of each disk when it is asked
# to, and ignores the power button.
BOOT_SECTOR = bytes.fromhex(
    "fb 6631c0 ba10ae 66ef"  # sti; select bus 0 in the register 0xae10 of QEMU's ACPI PCI hot plug
    "f4"  # 9: hlt, until the timer's next interrupt
    "ba04ae 66ed 6685c0 7405"  # read the slots whose devices are to go; none: to 25
    "ba08ae 66ef"  # let go of them
    "bafd03 ec a801 74e8"  # 25: nothing received: to 9
    "baf803 ec 3420 ee ebdf"  # read a character, change its case, write it; to 9
)
DEFINITION = """<domain type="qemu"><name>any</name><memory unit="MiB">32</memory>
<os><type arch="x86_64" machine="pc">hvm</type></os><features><acpi/></features>
<devices><memballoon model="none"/><interface type="bridge"><source bridge="br0"/></interface>
<serial type="pty"/><console type="pty"><target type="serial"/></console></devices>
</domain>"""
NAMES = ("cmd2", "cmd1")
# Nothing is waited for where the cluster stops this guest.
QUICK = ("--pacemaker-params", "force_stop=1")


def create(lab: Lab, name: str, storage: str, *options: str) -> str:
    """Make a VM of the small guest, of 8 MiB."""
    files = ("--xml", "/root/cmd.xml", "--image", "/root/cmd.qcow2")
    vm_mgr(lab, "create", name, *files, "--storage", storage, *options)
    return name


@contextmanager
def clean(lab: Lab, names: tuple[str, ...] = NAMES) -> Iterator[None]:
    """Lay out the files to create VMs from; afterwards nothing of these names may be left anywhere."""
    sector = BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa"
    lab.execute("n1", ["sh", "-c", "cat > /root/cmd.xml"], stdin=DEFINITION)
    make = f"open('/root/cmd.raw', 'wb').write(bytes.fromhex('{sector.hex()}'))"
    lab.execute("n1", ["python3", "-c", make])
    shell(
        lab,
        "cd /root; truncate -s 8M cmd.raw; qemu-img convert -f raw -O qcow2 cmd.raw cmd.qcow2; rm cmd.raw",
    )
    try:
        yield
    finally:
        for name in names:
            lab.execute("n1", ["vm-mgr", "stop", "--force", name], check=False, timeout_s=120)
            lab.execute("n1", ["vm-mgr", "remove", name], check=False, timeout_s=120)
        shell(lab, "rm -f /root/cmd.xml /root/cmd.qcow2")
    assert _left(lab) == ""


def _left(lab: Lab) -> str:
    look = "rbd ls rbd; rbd group ls rbd; rbd trash ls rbd; find /srv/vms; cibadmin -Q --scope configuration"
    found = shell(lab, f"{{ {look}; vm-mgr list; }} | grep -w 'cmd[^ ]*' || true")
    domains = [lab.execute(node.name, ["virsh", "list", "--all", "--name"]).stdout for node in lab.nodes]
    return found + "\n".join(name for text in domains for name in text.split() if name.startswith("cmd"))


def shown(lab: Lab, name: str) -> dict:
    return json.loads(vm_mgr(lab, "show", name, "--output", "json"))


def node_of(lab: Lab, name: str) -> str:
    return json.loads(vm_mgr(lab, "status", name, "--output", "json"))["node"]


def at(lab: Lab, node: str, line: str) -> str:
    return lab.execute(node, ["sh", "-ec", line], timeout_s=120).stdout


def domain_of(lab: Lab, name: str, line: str) -> str:
    """Run virsh for a VM at the node where it runs: `domstate NAME`."""
    return at(lab, node_of(lab, name), f"virsh --quiet {line.replace('NAME', name)}").strip()
