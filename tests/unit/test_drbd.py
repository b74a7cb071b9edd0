"""The pure parts of the storage on DRBD: records, choices, resource files, what the kernel says."""

import os

import pytest

from vm_mgr.adapters.drbd import commands
from vm_mgr.adapters.drbd.allocation import FIRST_MINOR, free_minor, free_port, next_snapshot
from vm_mgr.adapters.drbd.openers import openers_of
from vm_mgr.adapters.drbd.proc_drbd import Seen, module_version, parse_proc
from vm_mgr.adapters.drbd.record import Part, Record, State, Taken, Volume, parse, render
from vm_mgr.adapters.drbd.res_file import parse_file, render_file
from vm_mgr.adapters.drbd.steps import Order, Step, read_order
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.storage import Consistency

RECORD = Record(
    7801,
    "web1",
    State.PLACED,
    {"n1": "192.0.2.1", "n2": "192.0.2.2"},
    "a1b2",
    serial=4,
    volumes=(Volume(0, 100, 1 << 30), Volume(1, 102, 1 << 20, "drbd90.s1")),
    snapshots={"before": Taken(3, (Part(100, 1 << 29),), 7.5, Consistency.FROZEN), "half": Taken(5, ())},
    pending=True,
)


class TestRecord:
    def test_record_is_read_as_it_was_written(self):
        assert parse("7801", render(RECORD)) == RECORD

    @pytest.mark.parametrize("raw", ["", "[]", "{}", render(RECORD).replace("placed", "lost")])
    def test_record_that_can_not_be_read_is_never_taken_for_free(self, raw):
        with pytest.raises(VmMgrError) as caught:
            parse("7801", raw)
        assert caught.value.kind is Kind.EXTERNAL_FAILURE
        assert "vm-mgr-7801" in caught.value.message

    def test_snapshot_without_a_time_is_none(self):
        assert [one.name for one in RECORD.finished()] == ["before"]


class TestAllocation:
    def test_lowest_free_ones_are_taken(self):
        other = RECORD._replace(port=7800, volumes=(), snapshots={})
        assert free_port([RECORD, other], 7800, 7803) == 7802
        assert free_minor([RECORD]) == 101
        assert free_minor([RECORD], used=[101]) == 103

    def test_minor_stays_taken_while_a_snapshot_has_it(self):
        gone = RECORD._replace(volumes=())
        assert free_minor([gone]) == FIRST_MINOR + 1

    def test_range_that_is_used_up_is_named(self):
        with pytest.raises(VmMgrError) as caught:
            free_port([RECORD], 7801, 7801)
        assert caught.value.kind is Kind.NO_RESOURCES

    def test_snapshot_never_gets_the_number_of_a_half_one(self):
        assert next_snapshot(RECORD) == 6


class TestResourceFile:
    def test_file_says_what_the_record_has(self):
        (resource,) = parse_file(render_file(RECORD, "vm-mgr")).sections("resource")
        assert resource.words == ("resource", "vm-mgr-7801")
        assert resource.option("net", "protocol") == "C"
        assert resource.option("net", "shared-secret") == "a1b2"
        assert resource.option("net", "cram-hmac-alg") == "sha256"
        assert resource.option("net", "allow-two-primaries") == ""
        assert resource.option("disk", "fencing") == "resource-and-stonith"
        assert resource.option("handlers", "fence-peer") == "/usr/lib/vm-mgr/drbd-fence-peer"
        assert resource.option("handlers", "unfence-peer") == "/usr/lib/vm-mgr/drbd-unfence-peer"
        first, second = resource.sections("volume")
        assert first.words == ("volume", "0")
        assert first.options["device"] == ("/dev/drbd100", "minor", "100")
        assert first.options["disk"] == ("/dev/vm-mgr/drbd100",)
        assert second.option("disk", "size") == "1024K"
        nodes = {one.words[1]: one.options["address"] for one in resource.sections("on")}
        assert nodes == {"n1": ("192.0.2.1:7801",), "n2": ("192.0.2.2:7801",)}

    def test_no_policy_loses_writes_of_one_side_by_itself(self):
        text = render_file(RECORD, "vm-mgr")
        for policy in ("after-sb-0pri", "after-sb-1pri", "after-sb-2pri"):
            assert f"{policy} disconnect;" in text

    def test_both_may_write_only_while_the_record_says_so(self):
        (resource,) = parse_file(render_file(RECORD._replace(two_primaries=True), "g")).sections("resource")
        assert resource.option("net", "allow-two-primaries") == "yes"

    def test_what_is_being_made_fences_nobody(self):
        text = render_file(RECORD._replace(state=State.NEW), "vm-mgr")
        assert "fencing dont-care;" in text
        assert "handlers" not in text

    def test_other_addresses_are_in_brackets(self):
        nodes = {"n1": "fd00::1", "n2": "fd00::2"}
        assert "address ipv6 [fd00::1]:7801;" in render_file(RECORD._replace(nodes=nodes), "vm-mgr")

    def test_file_that_was_written_by_hand_is_read(self):
        text = """# by hand
        resource VirtDom1 {
          volume 0 { device /dev/drbd0; disk /dev/system/r0; meta-disk internal; }
          net { after-sb-0pri discard-zero-changes; allow-two-primaries; shared-secret "a # b;"; }
          on alice { address 192.168.0.1:7899; } on bob { address 192.168.0.1:7899; } }"""
        (resource,) = parse_file(text).sections("resource")
        assert resource.words[1] == "VirtDom1"
        assert resource.option("net", "shared-secret") == "a # b;"
        assert [one.words[1] for one in resource.sections("on")] == ["alice", "bob"]

    @pytest.mark.parametrize("text", ["resource r0 {", "}", "resource r0 { net }", "{ }", 'a "b'])
    def test_what_is_no_such_file_is_refused(self, text):
        with pytest.raises(ValueError, match=r"."):
            parse_file(text)


PROC = """version: 8.4.11 (api:1/proto:86-101)
srcversion: FC3433D849E3B88C1E7B55C

 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
 1: cs:SyncTarget ro:Secondary/Primary ds:Inconsistent/UpToDate C r-----
    ns:0 nr:24576 dw:24576 dr:0 al:0 bm:0 lo:1 pe:2 ua:0 ap:0 ep:1 wo:f oos:77760
	[===>................] sync'ed: 26.4% (77760/102336)K
	finish: 0:01:12 speed: 1,024 (1,024) want: 2,048 K/sec
 2: cs:StandAlone ro:Primary/Unknown ds:UpToDate/DUnknown   s-----
    ns:0 nr:0 dw:8 dr:0 al:1 bm:0 lo:0 pe:0 ua:0 ap:1 ep:1 wo:f oos:4096
 3: cs:Unconfigured
"""


class TestKernel:
    def test_each_volume_is_read(self):
        found = parse_proc(PROC)
        assert module_version(PROC) == (8, 4, 11)
        assert found[0] == Seen(0, "Connected", "Primary", "Secondary", "UpToDate", "UpToDate")
        assert found[0].whole
        assert found[1].syncing
        assert (found[1].synced_percent, found[1].finish_s, found[1].out_of_sync_kib) == (26.4, 72, 77760)
        assert found[1].under_way == 3
        assert (found[2].connection, found[2].peer_disk, found[2].paused) == ("StandAlone", "DUnknown", True)
        assert not found[3].up
        assert set(found) == {0, 1, 2, 3}

    def test_text_of_nothing_is_nothing(self):
        assert parse_proc("") == {}
        assert module_version("") == ()

    def test_openers_are_told_by_device_number(self, tmp_path):
        folder = tmp_path / "1" / "fd"
        folder.mkdir(parents=True)
        (folder / "0").symlink_to("/dev/null")
        (folder / "1").symlink_to("/dev/gone")
        (tmp_path / "self").mkdir()
        (tmp_path / "2").mkdir()
        assert openers_of([100], tmp_path) == {}
        assert openers_of([], tmp_path) == {}

    def test_open_device_is_found(self, tmp_path, monkeypatch):
        folder = tmp_path / "1" / "fd"
        folder.mkdir(parents=True)
        (folder / "0").symlink_to("/dev/null")
        null = os.stat("/dev/null").st_rdev  # noqa: PTH116 - as the module does
        monkeypatch.setattr("vm_mgr.adapters.drbd.openers.MAJOR", os.major(null))
        assert openers_of([os.minor(null), 7], tmp_path) == {os.minor(null): 1}


class TestSteps:
    def test_words_are_read_back(self):
        order = Order(Step.RESTORE, 7800, 12, 3)
        assert read_order(order.words) == order

    @pytest.mark.parametrize(
        "words",
        [
            (),
            ("keep",),
            ("keep", "7800", "1"),
            ("keep", "7800", "1", "x"),
            ("keep", "7800", "-1", "1"),
            ("keep", "7800", "1", "²"),
            ("keep", "1" * 12, "1", "1"),
            ("sh", "7800", "1", "1"),
        ],
    )
    def test_anything_else_is_refused(self, words):
        with pytest.raises(VmMgrError) as caught:
            read_order(words)
        assert caught.value.kind is Kind.INVALID


class TestCommands:
    @pytest.mark.parametrize("size", [1 << 20, (1 << 30) + 4096, 1 << 40])
    def test_volume_holds_the_disk_and_its_metadata(self, size):
        whole = commands.lv_size(size)
        assert whole % (4 << 20) == 0
        # A bit for 4 KiB, 32 KiB of activity log, 4 KiB of superblock: drbdmeta's own formula.
        assert size + size // 32768 + (36 << 10) <= whole <= size * 1.001 + (8 << 20)
