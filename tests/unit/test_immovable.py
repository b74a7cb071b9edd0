"""What libvirt and QEMU don't move live, and who is told."""

import pytest

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.on_move import MoveMethod
from vm_mgr.model.vm import VmSettings
from vm_mgr.operations.clone import CloneRequest, clone
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.disable import disable
from vm_mgr.operations.drain import DrainOptions, drain
from vm_mgr.operations.edit import edit
from vm_mgr.operations.enable import enable
from vm_mgr.operations.migrate import migrate
from vm_mgr.operations.migration.options import IMMOVABLE
from vm_mgr.operations.set_vm import Changes, set_vm
from vm_mgr.reports import Note

DOMAIN = """<domain type='qemu'><name>web1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os>{more}<devices>{devices}</devices></domain>"""
PCI = "<source><address domain='0x0000' bus='0x06' slot='0x00' function='0x0'/></source>"
HOSTDEV = f"<hostdev mode='subsystem' type='pci' managed='yes'>{PCI}</hostdev>"
TEAMING = "<teaming type='transient' persistent='ua-backup'/>"
SHARED = "<shmem name='ring'/>"
INVTSC = "<cpu><feature policy='require' name='invtsc'/></cpu>"
OFF = " migratable='off'"
FIXED = {
    "host device (pci) 0x0000:0x06:0x00:0x0": (HOSTDEV, ""),
    "host device (scsi)": ("<hostdev mode='subsystem' type='scsi'/>", ""),
    "host device (mdev)": ("<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>", ""),
    "host device (capabilities)": ("<hostdev mode='capabilities'/>", ""),
    "network card (hostdev) 0x0000:0x06:0x00:0x0": (f"<interface type='hostdev'>{PCI}</interface>", ""),
    "network card (vdpa) /dev/v0": ("<interface type='vdpa'><source dev='/dev/v0'/></interface>", ""),
    "disk (vhostvdpa) /dev/v1": ("<disk type='vhostvdpa'><source dev='/dev/v1'/></disk>", ""),
    "transient disk vdb": ("<disk type='file'><target dev='vdb'/><transient/></disk>", ""),
    "file system /srv/x": ("<filesystem><source dir='/srv/x'/><target dir='x'/></filesystem>", ""),
    "shared memory ring": (SHARED, ""),
    "TPM (passthrough)": ("<tpm><backend type='passthrough'/></tpm>", ""),
    "video with 3D acceleration": (
        "<video><model type='virtio'><acceleration accel3d='yes'/></model></video>",
        "",
    ),
    "encrypted memory (launchSecurity)": ("", "<launchSecurity type='sev'/>"),
    "processor that is not migratable (migratable='off')": ("", f"<cpu mode='host-passthrough'{OFF}/>"),
    "Hyper-V features of the node (mode='passthrough')": (
        "",
        "<features><hyperv mode='passthrough'/></features>",
    ),
    "processor feature invtsc without <timer name='tsc' frequency=…>": ("", INVTSC),
}
MOVED = {
    "USB": ("<hostdev mode='subsystem' type='usb'/>", ""),
    "card with a partner": (f"<interface type='hostdev'>{PCI}{TEAMING}</interface>", ""),
    "device with a partner": (HOSTDEV.replace("</hostdev>", f"{TEAMING}</hostdev>"), ""),
    "own memory": ("<shmem name='ring' role='master'/>", ""),
    "emulated TPM": ("<tpm><backend type='emulator'/></tpm>", ""),
    "known frequency": ("", f"{INVTSC}<clock><timer name='tsc' frequency='2400000000'/></clock>"),
    "known frequency, too": (
        "",
        f"<cpu mode='maximum'{OFF}/><clock><timer name='tsc' frequency='2400000000'/></clock>",
    ),
    "without invtsc": ("", INVTSC.replace("require", "disable")),
}
LIVE, SAVED = {"live_migration": True}, {"on_move": "hibernate"}
RESTARTED = {"live_migration": False, "on_move": None}


def domain(devices="", more=""):
    return DOMAIN.format(devices=devices, more=more)


def warnings(env):
    found = [one for one in env.said if isinstance(one, Note) and one.code == "immovable"]
    env.said.clear()
    return found


@pytest.mark.parametrize(("devices", "more"), FIXED.values(), ids=FIXED)
def test_what_stays_is_named_once(devices, more):
    (named,) = DomainXml().immovable(domain(devices * 2, more))
    assert FIXED[named] == (devices, more)


@pytest.mark.parametrize(("devices", "more"), MOVED.values(), ids=MOVED)
def test_what_moves_is_not(devices, more):
    assert DomainXml().immovable(domain(devices, more)) == ()


@pytest.mark.parametrize(
    ("asked", "verb"), [(LIVE, "can't move while it runs"), (SAVED, "can't have its memory saved")]
)
def test_whose_guest_is_to_go_on_is_warned_wherever_a_vm_is_made_or_changed(env, image, asked, verb):
    def change():
        xml = env.storage.definitions.read("web2")
        edit(env, "web2", xml.replace("ring", "rong"), xml)

    steps = [
        lambda: create(env, CreateRequest("web1", domain(SHARED), (image,), settings=VmSettings(**asked))),
        lambda: clone(env, CloneRequest("web1", "web2", lambda settings: settings)),
        lambda: (disable(env, "web1"), enable(env, "web1")),
        lambda: set_vm(env, "web2", Changes(settings=RESTARTED)),
        lambda: set_vm(env, "web2", Changes(settings=asked)),
        change,
    ]
    told = []
    for step in steps:
        step()
        told.append(warnings(env))
    assert [len(notes) for notes in told] == [1, 1, 1, 0, 1, 1]
    assert all(f" {verb}" in one.message and "--on-move restart" in one.hint for [one] in filter(None, told))


def test_vm_that_is_restarted_elsewhere_is_not_warned(env, image):
    create(env, CreateRequest("web1", domain(SHARED), (image,)))
    assert warnings(env) == []


class TestMove:
    @pytest.fixture
    def make(self, env, image):
        def make(name, devices=SHARED, **settings):
            xml = domain(devices).replace("web1", name)
            create(env, CreateRequest(name, xml, (image,), settings=VmSettings(**settings)))
            env.hypervisor.xmls[name] = env.storage.definitions.read(name)

        return make

    @pytest.mark.parametrize("silent", [False, True])
    def test_live_one_is_refused_before_anything_is_changed(self, env, make, monkeypatch, silent):
        make("web1", **LIVE)
        if silent:  # as from an observer
            error = VmMgrError(Kind.EXTERNAL_FAILURE, "no answer")
            monkeypatch.setattr(
                env.hypervisor, "running_definition", lambda _name: (_ for _ in ()).throw(error)
            )
        begun = []
        env.cluster.begin_move = begun.append
        with pytest.raises(VmMgrError) as caught:
            migrate(env, "web1", "n2")
        assert caught.value.kind is Kind.NOT_SUPPORTED
        assert "shared memory ring" in caught.value.message
        assert "vm-mgr set web1 --on-move restart" in caught.value.hint
        assert f"--allow {IMMOVABLE}" in caught.value.hint
        assert (begun, env.hypervisor.measuring, env.intent_log.intents()) == ([], set(), {})
        assert env.cluster.places["web1"] == "n1"

    def test_what_was_plugged_into_the_guest_counts_and_what_is_only_stored_does_not(self, env, make):
        make("web1", **LIVE)
        env.hypervisor.xmls["web1"] = domain()
        assert migrate(env, "web1", "n2").node == "n2"

    def test_who_knows_better_may(self, env, make):
        make("web1", **LIVE)
        assert migrate(env, "web1", "n2", allow=(IMMOVABLE,)).node == "n2"

    @pytest.mark.parametrize("settings", [{}, SAVED])
    def test_guest_that_does_not_go_on_moves_as_before(self, env, make, settings):
        make("web1", **settings)
        assert migrate(env, "web1", "n2").node == "n2"

    def test_way_out_is_one(self, env, make):
        make("web1", **LIVE)
        set_vm(env, "web1", Changes(settings={"live_migration": False, "on_move": "restart"}))
        assert migrate(env, "web1", "n2").node == "n2"

    def test_drain_names_it_and_moves_the_others(self, env, make):
        make("fixed", **LIVE, priority=9)
        make("web2", "", **LIVE)
        drained = drain(env, "n1", DrainOptions(at_once=1))
        assert [one.name for one in drained.moved] == ["web2"]
        (stays,) = drained.stays
        assert (stays.name, "shared memory ring" in stays.reason) == ("fixed", True)
        assert "--on-move restart" in stays.hint
        again = drain(env, "n1", DrainOptions(allow=(IMMOVABLE,)))
        assert [(one.name, one.how) for one in again.moved] == [("fixed", MoveMethod.LIVE)]

    def test_standby_is_not_left_to_move_it(self, env, make):
        make("home", **LIVE, preferred_host="n1", failback="return")
        drained = drain(env, "n1", DrainOptions(standby=True))
        assert [one.name for one in drained.stays] == ["home"]
        assert not drained.standby
        assert drain(env, "n1", DrainOptions(standby=True, allow=(IMMOVABLE,))).standby
