"""Define VMs with librbd alone and enable some, stopped, in one change; or remove them."""

import subprocess
import sys
import uuid
import xml.etree.ElementTree as ET
from contextlib import suppress

import rados
import rbd

verb, count, enabled = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
names = [f"many{number}" for number in range(count)]


def cibadmin(*arguments, text=None):
    argv = ["cibadmin", *arguments, "--scope", "resources"]
    return subprocess.run(argv, input=text, text=True, stdout=subprocess.PIPE, check=True).stdout


def change_resources():
    resources = ET.fromstring(cibadmin("--query"))  # noqa: S314 - the cluster's own
    for primitive in [one for one in resources if one.get("id") in set(names)]:
        resources.remove(primitive)
    for name in names[:enabled] if verb == "make" else []:
        agent = {"class": "ocf", "provider": "vm-mgr", "type": "VirtualDomain"}
        primitive = ET.SubElement(resources, "primitive", {"id": name, **agent})
        meta = ET.SubElement(primitive, "meta_attributes", id=f"vm-mgr-{name}-meta")
        role = {"id": f"vm-mgr-{name}-meta-target-role", "name": "target-role", "value": "Stopped"}
        ET.SubElement(meta, "nvpair", role)
    cibadmin("--replace", "--xml-pipe", text=ET.tostring(resources, encoding="unicode"))
    subprocess.run(["crm_resource", "--wait", "--timeout", "600s"], check=True)


def make(ioctx, name):
    rbd.RBD().create(ioctx, f"system_{name}", 1 << 20)
    with rbd.Image(ioctx, f"system_{name}") as image:
        image.metadata_set("vm_name", name)
        image.metadata_set("xml", f"<domain><name>{name}</name><uuid>{uuid.uuid4()}</uuid></domain>")
    rbd.RBD().group_create(ioctx, name)
    rbd.Group(ioctx, name).add_image(ioctx, f"system_{name}")


def remove(ioctx, name):
    for step in (
        lambda: rbd.Group(ioctx, name).remove_image(ioctx, f"system_{name}"),
        lambda: rbd.RBD().group_remove(ioctx, name),
        lambda: rbd.RBD().remove(ioctx, f"system_{name}"),
    ):
        with suppress(rbd.Error):  # an interrupted run has made, or removed, only a part
            step()


if verb == "remove":
    change_resources()
with (
    rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id="vm-mgr") as cluster,
    cluster.open_ioctx("rbd") as ioctx,
):
    for name in names:
        (make if verb == "make" else remove)(ioctx, name)
if verb == "make":
    change_resources()
