"""The role drbd: its settings for both modules, and the pool that it makes on empty devices only."""

import os
import re
import subprocess

import jinja2
import pytest
import yaml

from .test_deployed_inventory import refusal
from .test_deployed_timeouts import DEPLOY

ROLE = DEPLOY / "roles" / "drbd"
SCRIPT = ROLE / "files" / "make-pool.sh"
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
TASKS = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())


def configuration(version, **values):
    jinja = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    text = (ROLE / "templates" / "global_common.conf.j2").read_text()
    return jinja.from_string(text).render({**DEFAULTS, "drbd_module": {"stdout": version}, **values})


def section(text, name):
    """Give the options of a section of `common`."""
    return " ".join(re.search(rf"^\t{name} {{\n(.*?)^\t}}", text, re.MULTILINE | re.DOTALL)[1].split())


@pytest.mark.parametrize("version", ["8.4.11", "9.2.12"])
class TestConfiguration:
    def test_no_policy_loses_acknowledged_writes(self, version):
        net = section(configuration(version), "net")
        assert "protocol C;" in net
        for sides in (0, 1, 2):
            assert f"after-sb-{sides}pri disconnect;" in net
        assert "allow-two-primaries" not in net

    def test_fencing_is_where_the_module_looks_for_it(self, version):
        """The parser of the one refuses what the other one wants."""
        text = configuration(version)
        nine = version.startswith("9")
        assert ("fencing resource-and-stonith;" in section(text, "net")) is nine
        assert ("fencing resource-and-stonith;" in section(text, "disk")) is not nine
        assert ("auto-promote no;" in text) is nine

    def test_handlers_are_ours_at_a_path_that_stays(self, version):
        paths = re.findall(r'"(/\S+?)[" ]', section(configuration(version), "handlers"))
        assert len(paths) == 3
        exchange = (DEPLOY / "roles" / "vm_mgr" / "files" / "exchange.sh").read_text()
        for path in paths:
            assert path.startswith("/usr/lib/vm-mgr/")
            assert path.rpartition("/")[2] in exchange
        assert "after-resync-target" not in configuration(version), "only the node that fenced takes it back"

    def test_times_are_whole_tenths_of_seconds(self, version):
        text = configuration(version, drbd_timeout_s=1.5, drbd_ping_timeout_s=0.3)
        assert "timeout 15;" in text
        assert "ping-timeout 3;" in text
        assert "c-plan-ahead 20;" in text


def test_service_of_the_package_is_neither_started_nor_stopped():
    services = [
        one["ansible.builtin.systemd_service"] for one in TASKS if "ansible.builtin.systemd_service" in one
    ]
    assert [one for one in services if one["name"] == "drbd.service"] == [
        {"name": "drbd.service", "enabled": False}
    ]


def test_volumes_are_there_before_pacemaker_starts():
    """Else DRBD's start fails at a boot, and Pacemaker does not try it again."""
    unit = (ROLE / "templates" / "vm-mgr-drbd-pool.service.j2").read_text()
    assert "Before=pacemaker.service\n" in unit
    assert re.search(r"^WantedBy=.*pacemaker.service", unit, re.MULTILINE)
    assert "Requires" not in unit, "Pacemaker runs other VMs, too"


def test_upper_limit_of_helpers_is_left_as_it_is():
    assert "usermode_helper" not in (ROLE / "tasks" / "main.yml").read_text()


class Machine:
    """Stand-ins for LVM's programs and those that look at devices; what they know is in files."""

    def __init__(self, folder):
        self.folder = folder
        self.known = folder / "known"
        for name in ("bin", "known", "dev"):
            (folder / name).mkdir()
        known = self.known
        self.put(
            "lvmconfig",
            f"cat {known}/filter 2>/dev/null || grep global_filter {folder}/etc/lvm/lvmlocal.conf || exit 4",
        )
        self.put("pvs", f'for d; do :; done; cat {known}/pv-"${{d##*/}}" 2>/dev/null || exit 5')
        self.put("vgs", f'test -e {known}/vg-"$1"')
        self.put("lvs", f"cat {known}/pool 2>/dev/null || exit 5")
        self.put("vgcreate", f'shift; : >{known}/vg-"$1"; {self.join()}')
        self.put("vgextend", f"shift; {self.join()}")
        self.put("lvcreate", f"echo '  twi-a-tz--' >{known}/pool")
        for name in ("lvextend", "sync"):
            self.put(name, "")
        self.put("blockdev", "echo 0")
        self.put(
            "lsblk",
            f'for d; do :; done; of={known}/"${{d##*/}}"\n'
            'case "$*" in\n'
            '*MOUNTPOINTS*) cat "$of-mounted" 2>/dev/null ;;\n'
            '*) echo disk; cat "$of-below" 2>/dev/null ;;\n'
            "esac\n:",
        )
        self.put("wipefs", f'for d; do :; done; cat {known}/"${{d##*/}}"-signature 2>/dev/null; :')
        for name in ("vdb", "vdc"):
            (folder / "dev" / name).touch()

    def join(self):
        return f'vg=$1; shift; for d; do echo "  $vg" >{self.known}/pv-"${{d##*/}}"; done'

    def put(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.folder}/calls\n{text}\n')
        path.chmod(0o755)

    def run(self, *devices, percent="95"):
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "VM_MGR_ROOT": str(self.folder)}
        argv = ["sh", SCRIPT, "vm-mgr", "thin", percent, *devices]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=30)

    @property
    def changes(self):
        calls = (self.folder / "calls").read_text().splitlines()
        return [one.replace(str(self.folder), "") for one in calls if one.split()[0] in WRITERS]


WRITERS = ("vgcreate", "vgextend", "lvcreate", "lvextend")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_pool_is_made_once(machine):
    done = machine.run("/dev/vdb", "/dev/vdb")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.changes == [
        "vgcreate --quiet vm-mgr /dev/vdb",
        "lvcreate --quiet --type thin-pool --extents 95%FREE --name thin vm-mgr",
    ]
    again = machine.run("/dev/vdb")
    assert (again.returncode, again.stdout) == (0, "")
    assert len(machine.changes) == 2


def test_device_that_is_added_makes_it_larger(machine):
    machine.run("/dev/vdb")
    assert "changed" in machine.run("/dev/vdb", "/dev/vdc").stdout
    assert machine.changes[2:] == [
        "vgextend --quiet vm-mgr /dev/vdc",
        "lvextend --quiet --extents +95%FREE vm-mgr/thin",
    ]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("pv-vdc", "  data\n", "volume group data"),
        ("pv-vdc", "\n", "pvremove"),
        ("vdc-signature", "ext4\n", "ext4"),
        ("vdc-below", "disk1\n", "disk1"),
        ("vdc-mounted", "/srv\n", "/srv"),
        ("vdc-mounted", "[SWAP]\n", "SWAP"),
    ],
)
def test_device_in_use_is_refused_before_any_is_touched(machine, file, content, told):
    (machine.known / file).write_text(content)
    done = machine.run("/dev/vdb", "/dev/vdc")
    assert done.returncode == 1
    assert "/dev/vdc is in use" in done.stderr
    assert told in done.stderr
    assert machine.changes == []


def test_lvm_is_kept_away_from_what_guests_have(machine):
    local = machine.folder / "etc" / "lvm" / "lvmlocal.conf"
    local.parent.mkdir(parents=True)
    local.write_text('devices {\n\ttypes = [ "ubd", 16 ]\n}\n')
    assert "changed" in machine.run("/dev/vdb").stdout
    assert local.read_text().startswith("devices {\n\ttypes")
    assert local.read_text().endswith('devices/global_filter = [ "r|^/dev/drbd|" ]\n')


def test_filter_of_others_is_not_replaced(machine):
    (machine.known / "filter").write_text('global_filter=["a|/dev/mapper/mpath|","r|.*|"]\n')
    done = machine.run("/dev/vdb")
    assert (done.returncode, "global_filter" in done.stderr) == (1, True)
    (machine.known / "filter").write_text('global_filter=["r|^/dev/drbd|","a|.*|"]\n')
    assert machine.run("/dev/vdb").returncode == 0
    assert not (machine.folder / "etc").exists()


def test_existing_pool_is_looked_for_only(machine):
    assert machine.run("existing").returncode == 1
    (machine.known / "pool").write_text("  twi-aotz--\n")
    assert machine.run("existing").returncode == 0
    assert machine.changes == []


def test_volume_of_the_pools_name_is_no_pool(machine):
    machine.run("/dev/vdb")
    (machine.known / "pool").write_text("  -wi-a-----\n")
    assert "no thin pool" in machine.run("/dev/vdb").stderr


SIDES, DEVICES, TIMES = (
    "DRBD has two sides",
    "DRBD has something to store on",
    "A peer that owes an answer is lost before one that is idle",
)


def test_inventory_that_has_too_little_is_refused():
    drbd = {"cluster_storages": ["drbd"], "inventory_hostname": "n1", "is_hypervisor": True}
    assert "fewer than two" in refusal(SIDES, groups={"hypervisors": ["n1"]}, **drbd)
    assert refusal(SIDES, groups={"hypervisors": ["n1", "n2"]}, **drbd) == ""
    assert "n1 has no storage for DRBD" in refusal(DEVICES, **drbd)
    assert refusal(DEVICES, **drbd, drbd_devices=["/dev/vdb"]) == ""
    assert refusal(DEVICES, **drbd, drbd_existing=True) == ""
    assert refusal(DEVICES, **{**drbd, "is_hypervisor": False}) == ""
    assert refusal(DEVICES, **{**drbd, "cluster_storages": ["ceph"]}) == ""


def test_times_that_drbd_refuses_are_refused():
    jinja = {"cluster_storages": ["drbd"]}
    assert refusal(TIMES, **jinja) == ""
    assert "drbd_timeout_s" in refusal(TIMES, **jinja, drbd_timeout_s=3)
