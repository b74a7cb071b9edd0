"""A definition that is edited: what is refused, and what happens to the text then."""

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from vm_mgr.cli.app import app
from vm_mgr.errors import EXIT_CODES, Kind, VmMgrError
from vm_mgr.operations.create import CreateRequest, create
from vm_mgr.operations.edit import edit, read_definition
from vm_mgr.reports import Note

from .conftest import DOMAIN


@pytest.fixture
def vm(env, image):
    create(env, CreateRequest("web1", DOMAIN, (image, image)))
    return "web1"


def codes(env):
    return [report.code for report in env.said if isinstance(report, Note)]


def test_change_takes_effect_at_the_next_start(env, vm):
    before = read_definition(env, vm)
    after = before.replace("<memory>1</memory>", "<!-- more --><memory>2</memory>")
    assert edit(env, vm, after, before)
    assert read_definition(env, vm) == after
    assert "effect-start" in codes(env)
    assert not edit(env, vm, after + "\n", after)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"<name>web1</name>", "<name>web2</name>"),
        (r"<uuid>.", "<uuid>f"),
        (r"<uuid>.*?</uuid>", ""),
        (r"rbd/data_web1_0", "rbd/data_db1_0"),
        (r"rbd/data_web1_0", "rbd/system_web1"),
        (r"<devices>", "<devices"),
        (r"<devices>.*</devices>", ""),
    ],
)
def test_text_that_is_no_longer_this_vm_is_refused(env, vm, old, new):
    before = read_definition(env, vm)
    after = re.sub(old, new, before, flags=re.DOTALL)
    if after == before:  # the UUID began with it
        after = before.replace("<uuid>f", "<uuid>e")
    with pytest.raises(VmMgrError) as caught:
        edit(env, vm, after, before)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.hint
    assert read_definition(env, vm) == before


def test_change_by_another_command_is_noticed(env, vm):
    before = read_definition(env, vm)
    env.storage.definitions.describe(vm, {"xml": before.replace("hvm", "xen")})
    with pytest.raises(VmMgrError) as caught:
        edit(env, vm, before.replace("<memory>1", "<memory>2"), before)
    assert caught.value.kind is Kind.TRY_LATER
    assert "xen" in read_definition(env, vm)


def test_foreign_disk_is_warned_about_and_a_new_card_gets_an_address(env, vm):
    before = read_definition(env, vm)
    more = "<disk type='file'><source file='/iso/x'/></disk><interface type='network'/></devices>"
    assert edit(env, vm, before.replace("</devices>", more), before)
    assert codes(env)[0] == "foreign-disks"
    assert re.search(r'<mac address="52:54:00:.*?"/>', read_definition(env, vm))


@pytest.fixture
def shell(env, vm, tmp_path, monkeypatch):
    """Run vm-mgr with an editor that is a sed script, and drafts in a folder of ours."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(script, *words, typed=None):
        editor = tmp_path / "editor"
        editor.write_text(f"#!/bin/sh\n{script}\n")
        editor.chmod(0o755)
        monkeypatch.setenv("VISUAL", str(editor))
        return CliRunner(mix_stderr=False).invoke(app, ["edit", vm, *words], obj=env, input=typed)

    return run


def sed(expression):
    return f"""sed -i 's,{expression},' "$1"; touch -d '+9 seconds' "$1\""""


def test_editor_shows_the_difference_and_changes(env, vm, shell):
    done = shell(sed("<memory>1</memory>,<memory>2</memory>"))
    assert done.exit_code == 0, done.stderr
    assert "-  <memory>1</memory>" in done.stdout
    assert "+  <memory>2</memory>" in done.stdout
    assert "<memory>2</memory>" in read_definition(env, vm)


@pytest.mark.parametrize("script", ["true", sed("nothing,else")])
def test_unchanged_text_changes_nothing(env, vm, shell, script):
    before = read_definition(env, vm)
    assert shell(script).stdout == "the definition of web1 is as it was\n"
    assert read_definition(env, vm) == before


def test_bad_text_is_kept_in_a_file_that_is_named(env, vm, shell, tmp_path):
    before = read_definition(env, vm)
    done = shell(sed("<name>web1,<name>web2"))
    assert done.exit_code == EXIT_CODES[Kind.INVALID]
    assert read_definition(env, vm) == before
    kept = Path(done.stderr.rpartition("--file ")[2].strip())
    assert kept.parent == tmp_path
    assert "<name>web2" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text(kept.read_text().replace("web2", "web1").replace(">1<", ">3<"))
    assert shell("false", "--file", str(kept)).exit_code == 0
    assert "<memory>3</memory>" in read_definition(env, vm)


def test_on_a_terminal_it_is_edited_again_and_asked_about(env, vm, shell, monkeypatch):
    monkeypatch.setattr("vm_mgr.cli.edit._on_terminal", lambda: True)
    script = sed("<name>web2,<name>web1") + "\n" + "[ -e $0.2 ] || " + sed("<name>web1,<name>web2")
    done = shell(script + "\n: > $0.2\n" + sed("<memory>1</,<memory>2</"), typed="y\ny\n")
    assert done.exit_code == 0, done.stderr
    assert "<memory>2</memory>" in read_definition(env, vm)
    done = shell(sed("<memory>2</,<memory>4</"), typed="n\n")
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert "<memory>2</memory>" in read_definition(env, vm)
    assert shell(sed("<memory>2</,<memory>4</"), "--yes").exit_code == 0


def test_missing_editor_is_said(shell):
    done = shell("exit 3")
    assert done.exit_code == EXIT_CODES[Kind.ENVIRONMENT]
    assert "EDITOR" in done.stderr
