"""A definition is read in the encoding that it declares; what is wrong with its text is said in one line."""

import pytest
from click.testing import CliRunner
from lxml import etree

from vm_mgr.adapters.libvirt.definition import DomainXml
from vm_mgr.adapters.libvirt.virsh import check
from vm_mgr.adapters.pacemaker.crm_mon import parse_crm_mon
from vm_mgr.cli.app import app
from vm_mgr.cli.create import read_definition
from vm_mgr.errors import Kind, VmMgrError
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.edit import edit
from vm_mgr.ports.runner import Completed

from .conftest import DOMAIN

TEXT = DOMAIN.replace("<memory>", "<description>Büro</description><memory>")


def declaring(encoding, text=TEXT):
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{text}' if encoding else text


FILES = {
    "latin-1": declaring("ISO-8859-1").encode("latin-1"),
    "windows": declaring("windows-1252").encode("cp1252"),
    "cp437": declaring("IBM437").encode("cp437"),
    "utf-8": declaring("UTF-8").encode(),
    "no word": TEXT.encode(),
    "utf-8 mark": declaring("UTF-8").encode("utf-8-sig"),
    "utf-16": declaring("UTF-16").encode("utf-16"),
    "utf-16 of another order": b"\xfe\xff" + declaring("utf-16").encode("utf-16-be"),
    "utf-16 without a mark": declaring("UTF-16").encode("utf-16-le"),
    "utf-16 and no word": TEXT.encode("utf-16"),
    "utf-16 of a shell that says UTF-8": declaring("UTF-8").encode("utf-16"),
    "utf-32": declaring("UTF-32").encode("utf-32"),
    "utf-8 that says utf-16": declaring("UTF-16").encode(),
    "lines of Windows": declaring("UTF-8").replace("\n", "\r\n").encode(),
    "1.1": declaring("ISO-8859-1").replace('"1.0"', '"1.1"').encode("latin-1"),
}


def run(env, *words):
    return CliRunner(mix_stderr=False).invoke(app, list(words), obj=env)


def described(env):
    return etree.fromstring(env.storage.definitions.read("web1")).findtext("description")


@pytest.mark.parametrize("kind", FILES)
def test_every_command_that_reads_a_file_reads_its_encoding(env, image, tmp_path, kind):
    path = tmp_path / "web1.xml"
    path.write_bytes(FILES[kind])
    done = run(env, "create", "web1", "--xml", str(path), "--image", image)
    assert (done.exit_code, described(env)) == (0, "Büro")
    assert "encoding" not in env.storage.definitions.read("web1")
    stored = env.storage.definitions.read("web1").replace("Büro", "Zürich")
    encoding = "utf-16" if "16" in kind else "latin-1"
    path.write_bytes(declaring(encoding.upper(), stored).encode(encoding))
    done = run(env, "edit", "web1", "--file", str(path), "--yes")
    assert (done.exit_code, described(env)) == (0, "Zürich")
    assert "encoding" not in env.storage.definitions.read("web1")
    done = run(env, "clone", "web1", "--dst-name", "web2", "--xml", str(tmp_path / "none.xml"))
    assert done.exit_code == 3


def test_wrong_declaration_counts_and_is_told(env, image, tmp_path):
    path = tmp_path / "web1.xml"
    path.write_bytes(declaring("ISO-8859-1").encode())
    done = run(env, "create", "web1", "--xml", str(path), "--image", image)
    assert (done.exit_code, described(env)) == (0, "BÃ¼ro")
    assert "iso-8859-1" in done.stderr
    path.write_bytes(FILES["latin-1"])
    said = []
    read_definition(str(path), said.append)
    assert said == []


@pytest.mark.parametrize(
    "raw", [declaring("martian").encode(), TEXT.encode("latin-1"), TEXT.encode("utf-16")[:-1]]
)
def test_bytes_that_are_not_what_they_are_said_to_be_are_refused_by_the_encodings_name(tmp_path, raw):
    path = tmp_path / "web1.xml"
    path.write_bytes(raw)
    with pytest.raises(VmMgrError) as caught:
        read_definition(str(path))
    assert caught.value.kind is Kind.INVALID
    assert any(word in caught.value.message for word in ("martian", "utf-8", "utf-16"))
    assert caught.value.hint


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "utf-8"])
def test_text_of_a_program_is_text_whatever_it_declares(env, image, encoding):
    create(env, CreateRequest("web1", declaring(encoding), (image,)))
    assert described(env) == "Büro"
    before = env.storage.definitions.read("web1")
    edit(env, "web1", declaring(encoding, before.replace("Büro", "Zürich")), before)
    assert described(env) == "Zürich"
    assert "<?xml" not in env.storage.definitions.read("web1")


@pytest.mark.parametrize(
    "text",
    [
        f"{DOMAIN}\n{DOMAIN}",
        f"{declaring('UTF-8', DOMAIN)}\n{declaring('UTF-8', DOMAIN)}",
        f"{DOMAIN}\nthe end",
    ],
)
def test_two_domains_in_one_file_are_told(text):
    (problem,) = DomainXml().problems(text)
    assert problem.kind is Kind.INVALID
    assert "goes on in line" in problem.message
    assert "--print-xml 2" in problem.hint


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            (
                "error: Failed to create domain from /run/x.xml\n"
                "error: XML error: Memory size must be given via <memory> or in <numa>\n\n"
            ),
            "XML error: Memory size must be given via <memory> or in <numa>",
        ),
        (
            (
                "error: Failed to create domain from /run/x.xml\n"
                "error: (domain_definition):5: Opening and ending tag mismatch: name line 2 and domain\n"
                "</domain>\n---------^\n"
            ),
            "(domain_definition):5: Opening and ending tag mismatch: name line 2 and domain / </domain>",
        ),
        (
            (
                "error: Failed to define domain\nerror: XML document failed to validate against schema: "
                "Unable to validate doc against /usr/share/libvirt/schemas/domain.rng\n"
                "Extra element devices in interleave\nElement domain failed to validate content\n"
            ),
            (
                "XML document failed to validate against schema: Unable to validate doc against "
                "/usr/share/libvirt/schemas/domain.rng / Extra element devices in interleave / "
                "Element domain failed to validate content"
            ),
        ),
    ],
)
def test_what_libvirt_says_is_passed_on_in_one_line(said, reason):
    with pytest.raises(VmMgrError) as caught:
        check(Completed(("virsh",), 1, "", said))
    assert caught.value.message == f"libvirt: {reason}"


@pytest.mark.parametrize(
    "escaped", ["&lt;memory&gt;", "&amp;lt;memory&amp;gt;", "&amp;amp;lt;memory&amp;amp;gt;"]
)
def test_reason_that_went_through_pacemaker_is_not_escaped(escaped):
    raw = f"""<pacemaker-result><summary/><resources><resource id="web1"
    resource_agent="ocf:vm-mgr:VirtualDomain" role="Stopped"/></resources><failures><failure
    op_key="web1_start_0" node="n1" task="start" exitreason="via {escaped} &amp;amp; more"/></failures>
    </pacemaker-result>"""
    (failure,) = parse_crm_mon(raw).resources["web1"].failures
    assert failure.text == "start on n1: via <memory> & more"
