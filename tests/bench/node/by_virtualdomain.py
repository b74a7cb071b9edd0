"""Make, or remove, VMs as ocf:heartbeat:VirtualDomain has them, on one node: make|remove COUNT NODE."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

verb, count, node = sys.argv[1], int(sys.argv[2]), sys.argv[3]
names = [f"by-hand{number}" for number in range(count)]
# VirtualDomain finds the name in a line of its own only.
DEFINITION = """<domain type="qemu">
<name>{name}</name>
<memory unit="MiB">16</memory>
<os><type arch="x86_64">hvm</type></os><devices/></domain>"""
PRIMITIVE = """<primitive id="{name}" class="ocf" provider="heartbeat" type="VirtualDomain">
<instance_attributes id="{name}-i"><nvpair id="{name}-c" name="config" value="/root/{name}.xml"/>
<nvpair id="{name}-h" name="hypervisor" value="qemu:///system"/>
<nvpair id="{name}-f" name="force_stop" value="1"/></instance_attributes>
<operations><op id="{name}-s" name="start" interval="0" timeout="120s"/>
<op id="{name}-m" name="monitor" interval="10s" timeout="60s"/></operations></primitive>"""
PLACE = (
    '<rsc_location id="{name}-l" rsc="{name}" node="{node}" score="INFINITY" resource-discovery="exclusive"/>'
)


def change(*, present):
    """Have them all in the CIB, or none; in one change, so that none is ever without its place."""
    asked = ["cibadmin", "--query", "--scope", "configuration"]
    configuration = ET.fromstring(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S314
    for tag, ending, template in (("resources", "", PRIMITIVE), ("constraints", "-l", PLACE)):
        section = configuration.find(tag)
        for element in [one for one in section if one.get("id") in {name + ending for name in names}]:
            section.remove(element)
        for name in names if present else []:
            section.append(ET.fromstring(template.format(name=name, node=node)))  # noqa: S314 - our own
    replace = ["cibadmin", "--replace", "--scope", "configuration", "--xml-pipe"]
    subprocess.run(replace, input=ET.tostring(configuration), check=True)
    # Pacemaker stops what is no longer there.
    subprocess.run(["crm_resource", "--wait", "--timeout", "900s"], check=True)


for name in names if verb == "make" else []:
    Path(f"/root/{name}.xml").write_text(DEFINITION.format(name=name))
change(present=verb == "make")
for name in names if verb == "remove" else []:
    Path(f"/root/{name}.xml").unlink(missing_ok=True)
