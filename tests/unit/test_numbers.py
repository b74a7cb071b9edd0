"""Numbers that other tools and people have written: read, or absent, but never a defect."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

import vm_manager.options as shim
from vm_mgr.adapters.ceph import staging
from vm_mgr.adapters.ceph.layout import disk_number, is_of, read_settings
from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.libvirt.migration_options import understood
from vm_mgr.adapters.libvirt.migration_precheck import _memory
from vm_mgr.adapters.pacemaker.cib_read import read_configured
from vm_mgr.adapters.pacemaker.cib_write import parse_cib
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.adapters.shared_dir import record
from vm_mgr.adapters.shared_dir.parse import image as parse_image
from vm_mgr.alert.message import read_line
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.event import read_event
from vm_mgr.model.health_checks import check_problems, intervals_s
from vm_mgr.model.intent import read_intent
from vm_mgr.model.numbers import whole_number
from vm_mgr.model.saved_state import read_state
from vm_mgr.model.vm import TargetRole, VmSettings
from vm_mgr.ocf.parameters import read
from vm_mgr.operations.migration.options import MigrateOptions, terms_of
from vm_mgr.ports.cluster import VmResource

ODD = [
    "²",
    "--5",
    "-",
    "",
    " ",
    "٣",
    "1e3",
    "0x10",
    "1_0",
    " 7",
    "7\n",
    "+7",
    "9" * 5000,
    "-²",
    "½",
    "a",
    "5.0",
]
FEW = settings(max_examples=150, deadline=None)
NUMBERISH = (
    st.text(alphabet="0123456789-+²٣½ eE_.\n", max_size=8) | st.sampled_from(ODD) | st.text(max_size=5)
)
XML = "<domain><memory{unit}>{}</memory><vcpu>{}</vcpu><devices/></domain>"
NUMBERS = ("_priority", "_stop_timeout", "_migrate_to_timeout", "_migration_downtime", "_migration_bandwidth",
           "_migration_parallel", "_migration_max_pause")  # fmt: skip


@given(NUMBERISH)
@example("²")
@example("9" * 5000)
@FEW
def test_only_ascii_digits_are_a_number(text):
    plain = text.isascii() and text.isdigit() and len(text) <= 18
    assert (whole_number(text) is not None) is plain
    found = whole_number(text, signed=True)
    assert found is None or -(10**18) < found < 10**18


@given(st.dictionaries(st.sampled_from(NUMBERS), NUMBERISH))
@FEW
def test_stored_numbers_that_cannot_be_read_are_absent(kept):
    found, plain = read_settings(kept), VmSettings()
    for key, text in kept.items():
        field = next(name for name in VmSettings._fields if name.startswith(key[1:]))
        wanted = whole_number(text, signed=key == "_priority")
        assert getattr(found, field) == (getattr(plain, field) if wanted is None else wanted)


VALUES = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), NUMBERISH)


@given(st.dictionaries(st.sampled_from(["priority", "stop_timeout_s", "migration_parallel"]), VALUES))
@FEW
def test_directory_reads_the_same(kept):
    found = record.parse(json.dumps({"settings": kept})).settings
    as_text = {"_" + key.removesuffix("_s"): str(value) for key, value in kept.items() if type(value) is int}
    assert found == read_settings(as_text)


@pytest.mark.parametrize("text", ODD)
def test_every_reader_takes_it(text):
    escaped = text.replace("\n", "&#10;")
    for unit in ("", " unit='GiB'", " unit='²'", " unit='b'"):
        definitions, xml = DomainXml(), XML.format(escaped, escaped, unit=unit)
        assert definitions.machine(xml).vcpus >= 1
        definitions.changed(xml, memory_bytes=1 << 30)
    topology = f"<cpu><topology sockets='{escaped}' cores='1' threads='1'/></cpu><devices/>"
    with pytest.raises(VmMgrError):
        DomainXml().changed(f"<domain>{topology}</domain>", vcpus=2)
    limit = f"<domain><maxMemory unit='²'>{escaped}</maxMemory><devices/></domain>"
    with pytest.raises(VmMgrError):
        DomainXml().changed(limit, memory_bytes=1 << 30)
    assert disk_number("web", f"data_web_{text}") is None
    assert not is_of(f"vm-mgr-new_{text}_web", "vm-mgr-new_", "web")
    assert understood(["--bandwidth", text]) is None
    assert check_problems({"qmp": text})
    assert not intervals_s({"qmp": text})
    vm = VmResource("web", TargetRole.STARTED, params={"migration_speed": text, "migration_max_pause": text})
    assert terms_of(MigrateOptions(), vm).bandwidth_mib is None


@pytest.mark.parametrize("text", ODD)
def test_memory_of_a_running_domain_is_compared_or_not(text):
    class Host:
        def getMemoryStats(self, _):  # noqa: N802 - as libvirt calls it
            return {"free": 1 << 20}

    class Libvirt:
        libvirtError = Exception  # noqa: N815

    root = etree.Element("domain")
    etree.SubElement(root, "memory").text = text
    list(_memory(Libvirt, Host(), root))


@pytest.mark.parametrize("text", [text for text in ODD if text.strip()])
def test_agents_parameters(text):
    given = {"OCF_RESOURCE_INSTANCE": "web", "OCF_RESKEY_migrateport": text, "OCF_CHECK_LEVEL": text}
    assert read(given, strict=False).port is None
    with pytest.raises(VmMgrError) as caught:
        read(given)
    assert (caught.value.kind, len(caught.value.message) < 400) == (Kind.INVALID, True)


@pytest.mark.parametrize("text", [text for text in ODD if text.strip() not in ("", "7")])
def test_programs_give_whole_numbers(text):
    with pytest.raises(shim.ArgumentError):
        shim.number({"stop_timeout": text}, "stop_timeout", least=0)


@pytest.mark.parametrize("text", ODD)
def test_cib_and_crm_mon_of_any_numbers(text):
    attribute = text.replace("\n", " ")
    cib = f"""<cib epoch="1"><configuration><resources><primitive id="web"><meta_attributes id="m">
      <nvpair id="p" name="priority" value="{attribute}"/></meta_attributes><operations>
      <op id="o" name="stop" timeout="{attribute}"/></operations></primitive></resources><constraints/>
      </configuration><status><node_state uname="n1"><lrm><lrm_resources><lrm_resource id="web">
      <lrm_rsc_op operation="start" rc-code="0" last-rc-change="{attribute}"/></lrm_resource></lrm_resources>
      </lrm></node_state></status></cib>"""
    seen = read_configured(parse_cib(cib), "web")
    assert (seen.vm.priority, len(seen.events)) == (7 if text == "+7" else 0, 0)
    mon = f"""<crm_mon><nodes><node name="n1" online="true" type="member"/></nodes><resources>
      <resource id="web" resource_agent="ocf:vm-mgr:VirtualDomain" role="Started" active="true"/></resources>
      <node_history><node name="n1"><resource_history id="web" migration-threshold="{attribute}"
      fail-count="{attribute}"><operation_history call="{attribute}" task="start" rc="0"/></resource_history>
      </node></node_history></crm_mon>"""
    assert parse_crm_mon(mon).resources["web"].active


@pytest.mark.parametrize("count", ["x", "²", "", "-1", "9" * 5000])
def test_mark_of_a_disk_that_cannot_be_read_decides_nothing(monkeypatch, count):
    calls = []
    monkeypatch.setattr(staging, "read_key", lambda *_: f"commit {count}")
    monkeypatch.setattr(staging, "_put_in_place", lambda *_: calls.append("put"))
    monkeypatch.setattr(staging, "_of", lambda *_: [])
    assert staging.unstage(None, "web") is False
    assert not calls


HUGE = ["Infinity", "-Infinity", "NaN", "1e400", "1" + "0" * 400]


@pytest.mark.parametrize("number", HUGE)
def test_records_with_numbers_beyond_all_bounds(number):
    event = f'{{"kind": "lost", "subject": "n1", "when_utc": {number}, "waited": {{"a": {number}}}}}'
    assert read_event(event) is None
    state = f'{{"uuid": "a", "node": "n", "saved_utc": {number}, "size_bytes": {number}}}'
    assert read_state(state).size_bytes == 0
    assert read_intent(f'{{"verb": "set", "began_utc": {number}}}').verb in ("set", "unknown")
    kept = f'{{"snapshots": {{"s": {{"taken_utc": {number}, "consistency": "crash"}}}}}}'
    found = record.parse(kept).snapshots["s"]
    assert found is None or found.taken_utc < 1e300
    raw = f'{{"virtual-size": 1, "actual-size": {number}, "snapshots": []}}'
    if number.isdigit():
        assert parse_image("disk", raw).size_bytes == 1
        return
    with pytest.raises(VmMgrError):
        parse_image("disk", raw)


@pytest.mark.parametrize("text", ODD)
def test_alerts(text):
    for kind in ("node", "fencing", "resource"):
        seen = read_line(f"{kind}|n2|1000|{text}|start|0|web|0|0|{text}|lost")
        assert seen is None or seen.when_utc in (1000, 1000.000007)
        assert read_line(f"{kind}|n2|{text}|1|start|0|web|0|0|1|lost") is None
