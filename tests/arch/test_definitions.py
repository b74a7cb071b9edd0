"""The page on definitions is what the code does, and has every element that libvirt's schema has."""

import pytest

from vm_mgr.adapters.libvirt import exclusive, placing

from .definitions import ROWS, page, row_of
from .test_structure import SOURCE

PAGE = SOURCE.parents[1] / "docs" / "reference" / "definitions.md"
# Of src/conf/schemas/domaincommon.rng, version 11, for QEMU: the children of <domain>, <devices> and <disk>.
DOMAIN = """name uuid hwuuid genid title description metadata memory maxMemory currentMemory memoryBacking
memtune numatune blkiotune vcpu vcpus iothreads iothreadids defaultiothread cputune resource
sysinfo os bootloader features cpu clock on_poweroff on_reboot on_crash on_lockfailure pm perf
throttlegroups idmap seclabel launchSecurity keywrap qemu:commandline qemu:capabilities
qemu:override qemu:deprecation"""
DEVICES = """emulator disk controller lease filesystem interface input graphics video sound audio hub
watchdog memballoon rng tpm panic shmem memory iommu vsock hostdev redirdev redirfilter
smartcard crypto pstore nvram serial parallel console channel"""
OWN_DISKS = """source backingStore backenddomain mirror target iotune throttlefilters driver boot encryption
shareable transient serial wwn vendor product address auth geometry blockio alias acpi"""


def test_page_is_what_the_code_does():
    fresh = PAGE.read_text() == page()
    assert fresh, "run: python -m tests.arch.definitions >docs/reference/definitions.md"


@pytest.mark.parametrize(
    ("section", "names"), [("Domain", DOMAIN), ("Devices", DEVICES), ("Own disks", OWN_DISKS)]
)
def test_every_element_of_the_schema_has_a_row(section, names):
    there = {
        row.name.partition(",")[0].partition("@")[0].partition("/")[0]
        for row in ROWS
        if row.section == section
    }
    assert set(names.split()) - there == set()


def test_every_rule_of_the_code_has_a_row():
    """What the code drops, makes anew or names is on the page: a rule without a row would be told nowhere."""
    own = {row.name.partition(", on")[0] for row in ROWS if row.section == "Own disks"}
    dropped = {*placing.DROPPED, *placing.PLACE, *(f"@{word}" for word in placing.OF_LUN)}
    assert dropped - own == set()
    of_buses = {name for name in placing.OF_BUS if "/" not in name and name != "geometry@trans"}
    assert of_buses - own == set()
    told = " ".join(" ".join(row_of(row)) + row.xml for row in ROWS)
    found = {what.what for row in ROWS for what in _exclusive(row.xml)}
    assert {rule.what for rule in exclusive.RULES} - found == set()
    named = [row.name for row in ROWS if row_of(row)[1] == "the same one, named"]
    assert len(named) >= len(exclusive.KEPT) - 2, told


def _exclusive(xml):
    return exclusive.exclusive(exclusive.etree.fromstring(xml))
