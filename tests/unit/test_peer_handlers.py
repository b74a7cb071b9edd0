"""`timeouts` finds DRBD resources whose handlers do not fence, or can't read this Pacemaker's CIB."""

import pytest

from vm_mgr.adapters.pacemaker import peer_handlers
from vm_mgr.adapters.pacemaker.peer_handlers import parse_handlers, read_peer_handlers
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.model.inconsistencies import Severity, inconsistencies
from vm_mgr.model.timings import ClusterTimes, PeerHandler
from vm_mgr.ports.runner import Completed

from .test_peer_fence import cib

OURS = "/usr/lib/vm-mgr/drbd-fence-peer"
PACKAGED = "/usr/lib/drbd/crm-fence-peer.sh"
# As drbdadm 9.22 writes it, for the 8.4 module: `fencing` is in another section with the 9 module.
DUMP = """<config file="/etc/drbd.conf"><common>
<section name="net"><option name="protocol" value="C"/></section>
<section name="disk"><option name="fencing" value="resource-and-stonith"/></section>
<section name="handlers"><option name="fence-peer" value="{}"/></section></common>
<resource name="web1" conf-file-line="/etc/drbd.d/web1.res:1">{}</resource>
<resource name="other"/></config>"""
JUDGES = "guess_if_pacemaker_will_fence()\n{{\n\t{}\n}}\n"


class Runner:
    def __init__(self, text, exit_code=0):
        self.text, self.exit_code, self.calls = text, exit_code, []

    def run(self, argv, *, timeout_s, stdin=None, on_line=None):
        self.calls.append(argv)
        if self.text is None:
            raise VmMgrError(Kind.ENVIRONMENT, "drbdadm is not installed")
        return Completed(tuple(argv), self.exit_code, self.text, "")


def found(raw_cib, text, exit_code=0):
    return read_peer_handlers(Runner(text, exit_code), raw_cib)


@pytest.mark.parametrize("version", ["pacemaker-2.1.5", "pacemaker-3.0.0"])
def test_ours_understands_both_pacemakers(version):
    (one,) = found(cib(version, "online"), DUMP.format(OURS, ""))
    assert one == PeerHandler(resource="web1", fencing="resource-and-stonith", program=OURS, understands=True)


def test_ours_says_where_it_does_not():
    strange = cib("pacemaker-3.0.0", "online").replace('crmd="', 'crmd="since ')
    (one,) = found(strange, DUMP.format(OURS, ""))
    assert one.understands is False


@pytest.mark.parametrize(
    ("version", "line", "understands"),
    [
        ("pacemaker-2.1.5", "[[ $in_ccm = false ]]", None),
        ("pacemaker-3.0.0", "[[ $in_ccm = false ]]", False),
        ("pacemaker-3.0.0", 'case $in_ccm in ""|*[!0-9]*) ;; esac', True),
    ],
)
def test_script_of_the_package_is_read(version, line, understands, tmp_path, monkeypatch):
    script = tmp_path / "crm-fence-peer.sh"
    script.write_text(JUDGES.format(line))
    (one,) = found(cib(version, "online"), DUMP.format(script, ""))
    assert one.understands is understands


def test_other_programs_are_not_judged():
    (one,) = found(cib("pacemaker-3.0.0", "online"), DUMP.format("/usr/local/bin/fence --quick", ""))
    assert (one.program, one.understands) == ("/usr/local/bin/fence", None)


def test_resource_that_has_its_own_is_judged_by_that():
    own = '<section name="net"><option name="fencing" value="dont-care"/></section>'
    (one,) = [one for one in parse_handlers(DUMP.format(OURS, own)) if one.resource == "web1"]
    assert one.fencing == "dont-care"


@pytest.mark.parametrize(("text", "exit_code"), [(None, 0), ("", 0), (DUMP.format(OURS, ""), 10)])
def test_configuration_that_can_not_be_read_tells_nothing(text, exit_code):
    assert found(cib("pacemaker-3.0.0", "online"), text, exit_code) == ()


def test_cluster_without_drbd_is_not_asked():
    runner = Runner(DUMP.format(OURS, ""))
    assert read_peer_handlers(runner, "<cib><configuration><resources/></configuration></cib>") == ()
    assert runner.calls == []


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        ({"fencing": "resource-and-stonith", "program": OURS, "understands": True}, ""),
        ({"fencing": "resource-and-stonith", "program": "/x", "understands": None}, ""),
        ({"fencing": "resource-and-stonith", "program": PACKAGED, "understands": False}, "drbd-handler"),
        ({"fencing": "resource-only", "program": OURS, "understands": True}, "drbd-fencing"),
        ({"fencing": "resource-and-stonith"}, "drbd-fencing"),
        ({}, "drbd-fencing"),
    ],
)
def test_what_does_not_fence_is_an_error(handler, code):
    handlers = (PeerHandler(resource="web1", **handler),)
    cluster = ClusterTimes(nodes=("n1", "n2"), peer_handlers=handlers)
    errors = [one for one in inconsistencies(cluster, None) if one.subject == "web1"]
    assert [one.code for one in errors] == ([code] if code else [])
    assert all(one.severity is Severity.ERROR for one in errors)
    assert peer_handlers.OURS in "".join(one.remedy for one in errors) or not errors
