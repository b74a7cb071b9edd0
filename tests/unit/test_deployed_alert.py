"""The alert in Pacemaker's configuration, as the playbook's module writes it there."""

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from vm_mgr.node_paths import NodePaths

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = DEPLOY / "roles" / "vm_mgr" / "files"
CIB = "<cib><configuration><crm_config/><nodes/><resources/>{alerts}</configuration><status/></cib>"
FOREIGN = '<alerts><alert id="mail" path="/usr/local/bin/mail"/></alerts>'


@pytest.fixture
def cib():
    spec = importlib.util.spec_from_file_location("cib", DEPLOY / "library" / "cib.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("alerts", ["", FOREIGN])
def test_alert_is_configured_once_beside_those_of_others(cib, alerts):
    def deploy(text):
        return cib.merged(text, ET.fromstring((FILES / "alert.xml").read_text()), "vm-mgr-alert")  # noqa: S314

    before = CIB.format(alerts=alerts)
    once = deploy(before)
    assert ET.canonicalize(deploy(once), strip_text=True) == ET.canonicalize(once, strip_text=True)
    root = ET.fromstring(once)  # noqa: S314
    found = [one.get("id") for one in root.iterfind("configuration/alerts/alert")]
    assert found == [*(["mail"] if alerts else []), "vm-mgr-alert"]


def test_ids_are_ours_and_paths_are_the_installed_ones():
    alert = ET.parse(FILES / "alert.xml").find("alerts/alert")  # noqa: S314
    ids = [one.get("id") for one in alert.iter() if one.get("id")]
    assert all(one.startswith("vm-mgr-alert") for one in ids)
    assert len(set(ids)) == len(ids) == 3
    assert alert.get("path") == "/usr/lib/vm-mgr/alert"
    assert 'link current/ocf/alert "$home/alert"' in (FILES / "exchange.sh").read_text()


def test_agent_service_and_settings_mean_the_same_pipe():
    socket = (FILES / "vm-mgr-alerts.socket").read_text()
    agent = (DEPLOY.parent / "ocf" / "alert").read_text()
    assert f"ListenFIFO={NodePaths().alerts}\n" in socket
    assert f":-{NodePaths().alerts}}}\n" in agent
