"""Set the secret that opens Ceph, and switch off libvirt's own autostart; prints "changed …" for what it did.

usage: set-up-objects.py [CEPH_USER SECRET_USAGE], without them where there is no Ceph

The key comes from the user's keyring on this machine, so that it never stands in an argument.
"""

import base64
import configparser
import sys
import uuid
from pathlib import Path
from xml.sax.saxutils import escape

import libvirt


def main(user="", usage=""):
    """Do it."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("qemu:///system")
    if user:
        set_secret(connection, usage, ceph_key(user))
    for network in connection.listAllNetworks():
        if network.name() == "default":
            switch_off(network)
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART):
        domain.setAutostart(0)
        print("changed autostart of", domain.name())


def ceph_key(user):
    """Return the key of a user of Ceph."""
    keyring = configparser.ConfigParser(interpolation=None)
    text = Path(f"/etc/ceph/ceph.client.{user}.keyring").read_text(encoding="utf-8")
    keyring.read_string("\n".join(line.strip() for line in text.splitlines()))
    return base64.b64decode(keyring[f"client.{user}"]["key"])


def set_secret(connection, usage, key):
    """Define the secret unless it exists under this usage, and give it its value."""
    try:
        secret = connection.secretLookupByUsage(libvirt.VIR_SECRET_USAGE_TYPE_CEPH, usage)
        if secret.value() == key:
            return
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_INVALID_SECRET:
            secret.setValue(key)  # a private secret, which can't be compared
            return
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
        secret = connection.secretDefineXML(
            f"<secret ephemeral='no' private='no'><uuid>{uuid.uuid4()}</uuid>"
            f"<usage type='ceph'><name>{escape(usage)}</name></usage></secret>"
        )
    secret.setValue(key)
    print("changed secret")


def switch_off(network):
    """Stop a network and keep it from starting."""
    if network.autostart():
        network.setAutostart(0)
        print("changed autostart of network", network.name())
    if network.isActive():
        network.destroy()
        print("changed network", network.name())


main(*sys.argv[1:])
