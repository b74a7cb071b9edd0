#!/usr/bin/python
"""Ansible module: bring parts of Pacemaker's configuration to a wanted form, in one transaction.

The wanted parts are given as XML below <configuration>. An element whose id starts with "vm-mgr-" is ours
and is replaced as a whole; any other element is merged: its attributes are set and its children merged, found
by tag and id (or by name, for name-value pairs). What stands in the CIB besides is left alone, but for
elements of ours whose id starts with `prune` and which are no longer wanted.
"""

import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

OURS = "vm-mgr-"
ATTEMPTS = 5


def main():
    """Read, merge, and apply the difference; repeat when somebody else changed the CIB in between."""
    module = AnsibleModule(
        argument_spec={
            "configuration": {"type": "str", "required": True},
            "prune": {"type": "str", "default": ""},
            "wait_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    wanted = ET.fromstring(module.params["configuration"])  # noqa: S314 - written by us or by Pacemaker
    deadline = time.monotonic() + module.params["wait_s"]
    wait_for_coordinator(module, deadline)
    for attempt in range(1, ATTEMPTS + 1):
        before = run(module, ["cibadmin", "--query"])
        after = merged(before, wanted, module.params["prune"])
        if ET.canonicalize(before, strip_text=True) == ET.canonicalize(after, strip_text=True):
            module.exit_json(changed=False)
        if module.check_mode:
            module.exit_json(changed=True)
        problem = apply_difference(before, after)
        if not problem:
            module.exit_json(changed=True)
        time.sleep(attempt)
    module.fail_json(msg="Pacemaker refused the change: " + problem)


def wait_for_coordinator(module, deadline):
    """Wait until the cluster has quorum and elected its coordinator: nobody else writes into the CIB then."""
    while True:
        shown = subprocess.run(
            ["crm_mon", "-1", "--output-as=xml"], capture_output=True, text=True, check=False
        )
        if shown.returncode == 0:
            status = ET.fromstring(shown.stdout)  # noqa: S314 - written by us or by Pacemaker
            coordinator = status.find("summary/current_dc")
            if coordinator is not None and coordinator.get("with_quorum") == "true":
                return
        if time.monotonic() > deadline:
            module.fail_json(
                msg="the cluster has no quorum and coordinator; see crm_mon -1 and corosync-cfgtool -s"
            )
        time.sleep(0.3)


def merged(cib, wanted, prune):
    """Return the CIB as text, with the wanted parts in it."""
    root = ET.fromstring(cib)  # noqa: S314 - written by us or by Pacemaker
    configuration = root.find("configuration")
    for section in wanted:
        present = find_like(configuration, section)
        merge(present, section)
        if prune:
            keep = {child.get("id") for child in section}
            for child in list(present):
                if child.get("id", "").startswith(prune) and child.get("id") not in keep:
                    present.remove(child)
    return ET.tostring(root, encoding="unicode")


def merge(present, wanted):
    """Give an element the wanted attributes and children."""
    present.attrib.update(wanted.attrib)
    for child in wanted:
        old = find_like(present, child, create=not child.get("id", "").startswith(OURS))
        if child.get("id", "").startswith(OURS):
            if old is None:
                present.append(child)
            else:
                present[list(present).index(old)] = child
        else:
            merge(old, child)


def find_like(parent, wanted, *, create=True):
    """Return the child that the wanted element describes; make an empty one when there is none."""
    for child in parent.findall(wanted.tag):
        same_name = wanted.tag == "nvpair" and child.get("name") == wanted.get("name")
        if same_name or child.get("id") == wanted.get("id"):
            if same_name:
                wanted.set("id", child.get("id"))
            return child
    return ET.SubElement(parent, wanted.tag) if create else None


def apply_difference(before, after):
    """Send the difference as one patch; return what was wrong with it, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("before", before), ("after", after)):
            Path(folder, name).write_text(text, encoding="utf-8")
        difference = subprocess.run(
            ["crm_diff", "--no-version", "--original", f"{folder}/before", "--new", f"{folder}/after"],
            capture_output=True,
            text=True,
            check=False,
        )
        if difference.returncode not in (0, 1):
            return difference.stderr.strip()
        patch = subprocess.run(
            ["cibadmin", "--patch", "--xml-pipe"],
            input=difference.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if patch.returncode == 0 else (patch.stderr or patch.stdout).strip() or "no reason given"


def run(module, argv):
    """Return a program's output; its failure is the module's."""
    return module.run_command(argv, check_rc=True)[1]


if __name__ == "__main__":
    main()
