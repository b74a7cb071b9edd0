"""The command line: what it prints and how it ends."""

import json

import pytest
from click.testing import CliRunner

from vm_mgr.cli import main
from vm_mgr.cli.app import app
from vm_mgr.cli.help import COMMANDS, overview
from vm_mgr.errors import EXIT_CODES, Kind
from vm_mgr.model.cluster import Resource
from vm_mgr.model.intent import Intent
from vm_mgr.model.vm import TargetRole, VmSettings

from .conftest import DOMAIN


@pytest.fixture
def shell(env, image, tmp_path):
    definition = tmp_path / "vm.xml"
    definition.write_text(
        "<domain type='qemu'><memory>1</memory><os><type>hvm</type></os><devices/></domain>"
    )

    def run(*words):
        return CliRunner(mix_stderr=False).invoke(app, words, obj=env)

    run.create = lambda name, *more: run(
        "create", "--name", name, "--xml", str(definition), "-i", image, *more
    )
    return run


def test_life_of_a_vm(shell):
    assert shell.create("web1", "--enable-live-migration", "--migration-to-timeout", "60").exit_code == 0
    assert shell("status", "web1").stdout == "Started on n1\n"
    assert shell("migrate", "web1", "n2").exit_code == 0
    assert json.loads(shell("status", "--name", "web1", "-o", "json").stdout)["node"] == "n2"
    assert "web1  Started  n2" in shell("list").stdout
    assert shell("list", "--output", "yaml").stdout.startswith("- name: web1")
    assert shell("stop", "-n", "web1").exit_code == 0
    assert shell("remove", "web1").exit_code == 0
    assert shell("status", "web1").stdout == "Undefined\n"


def test_error_is_one_line_with_a_hint_and_a_code(shell):
    done = shell("start", "nobody")
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert done.stderr.splitlines() == [
        "vm-mgr: error: there is no VM 'nobody'",
        "hint: see the VMs: vm-mgr list",
    ]


def test_every_problem_has_its_line(shell):
    done = shell.create("web1", "--pinned-host", "n8", "--disk-bus", "floppy")
    assert done.stderr.count("vm-mgr: error: ") == 2


@pytest.mark.parametrize(
    "words", [["start"], ["start", "a", "--name", "b"], ["migrate"], ["nonsense"], ["list", "-o", "x"]]
)
def test_bad_usage_is_told_from_failure(shell, words):
    assert shell(*words).exit_code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(shell, command):
    done = shell(command, "--help")
    assert done.exit_code == 0
    assert "Example:" in done.stdout


def test_snapshot_is_named_by_a_plain_word_too(shell):
    shell.create("web1")
    assert shell("create-snapshot", "web1", "s1").stdout.startswith("snapshot s1 of web1 taken")
    assert shell("create-snapshot", "--name", "web1", "s2").stdout.startswith("snapshot s2 of web1 taken")
    assert shell("rollback", "web1", "s1").stdout == "web1 is Started on n1\n"
    assert shell("rollback", "web1", "s1", "--snap-name", "s1").exit_code == 0
    assert shell("remove-snapshot", "web1", "s2").stdout == "snapshot s2 of web1 removed\n"
    for words in (("web1", "s1", "--snap-name", "s2"), ("web1", "s1", "s2"), ("web1",)):
        for verb in ("create-snapshot", "rollback", "remove-snapshot"):
            done = shell(verb, *words)
            assert (done.exit_code, "snapshot" in done.stderr) == (2, True)
    listed = json.loads(shell("list-snapshots", "web1", "-o", "json").stdout)
    assert [one["name"] for one in listed] == ["s1"]


def test_snapshots_from_birth_to_purge(shell):
    shell.create("web1")
    assert shell("create_snapshot", "--name", "web1", "--snap_name", "a").stdout.startswith(
        "snapshot a of web1 taken (crash-consistent"
    )
    assert shell("create-snapshot", "web1", "--snap-name", "b").exit_code == 0
    assert shell("create-snapshot", "web1", "--snap-name", "b").exit_code == EXIT_CODES[Kind.EXISTS]
    assert shell("create-snapshot", "web1", "--snap-name", "../b").exit_code == EXIT_CODES[Kind.INVALID]
    listed = json.loads(shell("list_snapshots", "web1", "-o", "json").stdout)
    assert [one["name"] for one in listed] == ["a", "b"]
    assert "crash" in shell("list-snapshots", "web1").stdout
    assert shell("rollback", "web1", "--snap_name", "c").exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert shell("rollback", "web1", "--snap_name", "a").stdout == "web1 is Started on n1\n"
    assert shell("remove_snapshot", "web1", "--snap_name", "b").exit_code == 0
    assert shell("purge", "web1", "--number", "1").stdout == "1 snapshot of web1 removed: a\n"
    assert shell("purge", "web1", "--date", "tomorrow").exit_code == 2
    assert shell("purge", "web1", "--date", "01/01/2026 00:00:00").exit_code == 0


def test_metadata_is_kept(shell):
    shell.create("web1", "--metadata", "owner=me")
    assert (
        shell("set_metadata", "web1", "--metadata_name", "site", "--metadata_value", "north").exit_code == 0
    )
    assert shell("get_metadata", "web1", "--metadata_name", "site").stdout == "north\n"
    assert {"owner", "site", "xml"} <= set(shell("list_metadata", "web1").stdout.splitlines())
    assert shell("get_metadata", "web1", "--metadata_name", "no").exit_code == EXIT_CODES[Kind.NOT_FOUND]
    done = shell("set_metadata", "web1", "--metadata_name", "xml", "--metadata_value", "x")
    assert done.exit_code == EXIT_CODES[Kind.INVALID]


def test_clone_has_an_identity_of_its_own(shell, env):
    shell.create("web1", "--priority", "7", "--preferred-host", "n2")
    done = shell("clone", "web1", "--dst_name", "web2", "--clear_constraint", "--metadata", "role=copy")
    assert done.stdout == "web2 is Started on n1\n"
    assert env.storage.definitions.settings("web2").priority == 7
    assert env.storage.definitions.settings("web2").preferred_host is None
    assert env.storage.definitions.settings("web2").user_metadata == {"role": "copy"}
    one, two = (env.definitions.uuid(env.storage.definitions.read(name)) for name in ("web1", "web2"))
    assert one != two
    assert shell("clone", "web1", "--dst-name", "web2").exit_code == EXIT_CODES[Kind.EXISTS]
    assert shell("clone", "web1", "--dst-name", "web1").exit_code == EXIT_CODES[Kind.INVALID]
    done = shell("remove", "web1")
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert "vm-mgr flatten web2" in done.stderr
    assert shell("clone", "web1", "--dst-name", "web3", "--full", "--nostart").stdout == "web3 is Stopped\n"


def test_only_a_stopped_vm_is_renamed(shell):
    shell.create("web1")
    assert shell("rename", "web1", "--new-name", "web2").exit_code == EXIT_CODES[Kind.WRONG_STATE]
    shell("stop", "web1")
    assert shell("rename", "web1", "--new-name", "web2").stdout == "web2 is Stopped\n"
    assert shell("status", "web1").stdout == "Undefined\n"
    assert shell("restart", "web2").exit_code == EXIT_CODES[Kind.WRONG_STATE]
    shell("start", "web2")
    assert shell("restart", "web2").stdout == "web2 is Started on n1\n"


def test_unfinished_is_listed_and_repaired(shell, env):
    shell.create("web1")
    assert shell("repair").stdout == "nothing is unfinished\n"
    env.intent_log.write("web1", Intent("restart", "n3"))
    env.cluster.set_target_role("web1", TargetRole.STOPPED)
    assert "restart under way on n3, or unfinished (vm-mgr repair)" in shell("list").stdout
    assert shell("repair").stdout == "recovered: web1\n"
    assert shell("status", "web1").stdout == "Started on n1\n"


def test_two_commands_at_one_vm_are_refused(shell, env):
    shell.create("web1")
    with env.intent_log.lock("web1"):
        assert shell("stop", "web1").exit_code == EXIT_CODES[Kind.TRY_LATER]
        assert shell("remove", "web1").exit_code == EXIT_CODES[Kind.TRY_LATER]
        assert shell("status", "web1").exit_code == 0


def test_disk_grows_and_the_guest_is_told(shell, env):
    shell.create("web1")
    assert shell("resize-disk", "web1", "2M").stdout == "system_web1 has 2 MiB\n"
    assert env.hypervisor.grown == [("web1", "rbd/system_web1", 2 << 20)]
    assert shell("resize_disk", "--name", "web1", "1M").exit_code == EXIT_CODES[Kind.INVALID]
    assert shell("resize-disk", "web1", "4M", "--disk", "1").exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert shell("resize-disk", "web1", "large").exit_code == 2
    assert shell("resize-disk", "web1").exit_code == 2


def test_vms_are_kept_together_and_apart(shell, env):
    for name in ("web1", "web2", "db1"):
        shell.create(name)
    assert "db1       700" in shell("add_colocation", "--name", "web1", "db1").stdout
    assert shell("separate", "web1", "web2", "--strong").exit_code == 0
    listed = json.loads(shell("list-colocation", "web1", "-o", "json").stdout)
    assert listed == {"db1": "700", "web2": "-INFINITY"}
    assert env.cluster.resources["web1"].colocations == listed
    assert shell("add-colocation", "web1", "web1").exit_code == EXIT_CODES[Kind.INVALID]
    assert shell("add-colocation", "web1", "nobody").exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert shell("add-colocation", "web1").exit_code == 2
    assert shell("remove-colocation", "web1", "db2").exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert shell("remove-colocation", "web1").exit_code == 0
    assert json.loads(shell("list-colocation", "web1", "-o", "json").stdout) == {}


def test_guest_becomes_a_node(shell, env):
    shell.create("web1", "--pacemaker-meta", "failure-timeout=60")
    words = ("--remote_name", "in1", "--remote_address", "192.0.2.5", "--remote_port", "3121")
    assert shell("add_pacemaker_remote", "web1", *words).exit_code == 0
    assert env.cluster.resources["web1"].meta == {
        "failure-timeout": "60",
        "remote-node": "in1",
        "remote-addr": "192.0.2.5",
        "remote-port": "3121",
    }
    assert shell("remove_pacemaker_remote", "web1").exit_code == 0
    assert env.cluster.resources["web1"].meta == {"failure-timeout": "60"}
    done = shell("add_pacemaker_remote", "web1", "--remote_name", "n2", "--remote_address", "192.0.2.5")
    assert done.exit_code == EXIT_CODES[Kind.EXISTS]


def test_several_disks_are_imported_in_order(shell, env, image):
    assert shell.create("web1", "--additional-disk", image, "--additional-disk", image).exit_code == 0
    assert env.storage.clients.images("web1") == ["system_web1", "data_web1_0", "data_web1_1"]
    xml = env.storage.definitions.read("web1")
    assert [xml.index(f"rbd/{disk}") for disk in env.storage.clients.images("web1")] == sorted(
        xml.index(f"rbd/{disk}") for disk in env.storage.clients.images("web1")
    )
    done = shell.create("web2", "--additional-disk", "/none", "--additional-disk", "/nothing")
    assert done.exit_code == EXIT_CODES[Kind.NOT_FOUND]
    assert "/none" in done.stderr
    assert "/nothing" in done.stderr


def test_local_domain_is_taken_over_and_then_forgotten(shell, env, image):
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{image}'/>"
        f"<target dev='vd{letter}' bus='virtio'/></disk>"
        for letter in "ab"
    )
    xml = DOMAIN.replace("<devices/>", f"<devices>{disks}</devices>")
    env.hypervisor.kept["old1"] = xml
    env.hypervisor.running["old1"] = 7
    assert shell("add-to-cluster", "old1").exit_code == EXIT_CODES[Kind.WRONG_STATE]
    env.hypervisor.running.clear()
    assert shell("add-to-cluster", "old1", "--new-name", "b d").exit_code == EXIT_CODES[Kind.INVALID]
    env.hypervisor.managed_saves.add("old1")
    assert shell("add-to-cluster", "old1").exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert not env.storage.vms
    env.hypervisor.managed_saves.clear()
    assert env.hypervisor.kept
    done = shell("add-to-cluster", "--name", "old1", "--new-name", "web1", "--disk-bus", "scsi")
    assert done.stdout == "web1 is Started on n1\n"
    assert not env.hypervisor.kept
    assert env.storage.clients.images("web1") == ["system_web1", "data_web1_0"]
    assert image not in env.storage.definitions.read("web1")
    assert shell("add-to-cluster", "old1").exit_code == EXIT_CODES[Kind.NOT_FOUND]


def test_names_can_have_dashes_dots_and_underscores(shell, env):
    for name in ("web-1", "web_1", "web.1", "web"):
        assert shell.create(name, "--additional-disk", "/none").exit_code == EXIT_CODES[Kind.NOT_FOUND]
        assert shell.create(name).stdout == f"{name} is Started on n1\n"
    assert shell("clone", "web_1", "--dst-name", "web_1_0").exit_code == 0
    shell("stop", "web-1")
    assert shell("rename", "web-1", "--new-name", "web-1.old").stdout == "web-1.old is Stopped\n"
    assert sorted(env.storage.vms) == ["web", "web-1.old", "web.1", "web_1", "web_1_0"]


def test_name_that_looks_like_an_option_is_refused_in_clear_text(shell):
    done = shell.create("-web")
    assert done.exit_code == EXIT_CODES[Kind.INVALID]
    assert "'-web' is not a valid name for a VM" in done.stderr
    shell.create("web1", "--nostart")
    for words in (("rename", "web1", "--new-name", "-x"), ("clone", "web1", "--dst-name", "-x")):
        done = shell(*words)
        assert done.exit_code == EXIT_CODES[Kind.INVALID]
        assert "begin with a letter" in done.stderr
    assert shell("status", "-web").exit_code == 2
    assert shell("status", "--name", "-web").stdout == "Undefined\n"


def test_domain_with_a_disk_that_cannot_be_copied_is_refused(shell, env, image):
    net = "<disk type='network'><source protocol='rbd' name='pool/x'/><target dev='vda'/></disk>"
    file = f"<disk device='disk'><driver type='qcow2'/><source file='{image}'/><target dev='vdb'/></disk>"
    pool = "<disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vdc'/></disk>"
    env.hypervisor.kept["old1"] = DOMAIN.replace("<devices/>", f"<devices>{net}{file}{pool}</devices>")
    done = shell("add-to-cluster", "old1")
    assert done.exit_code == EXIT_CODES[Kind.NOT_SUPPORTED]
    assert "disk vda of old1" in done.stderr
    assert "disk vdc of old1" in done.stderr
    assert "qemu-img convert -O qcow2 rbd:pool/x FILE; then run this again with --image" in done.stderr
    assert "qemu-img convert -O qcow2 SOURCE FILE; then name FILE" in done.stderr
    assert shell("add-to-cluster", "old1", "--image", image).exit_code == EXIT_CODES[Kind.NOT_SUPPORTED]
    assert not env.storage.vms
    env.hypervisor.kept["old1"] = DOMAIN.replace("<devices/>", f"<devices>{net}{file}</devices>")
    assert shell("add-to-cluster", "old1", "--image", image).exit_code == 0
    xml = env.storage.definitions.read("old1")
    assert env.storage.clients.images("old1") == ["system_old1", "data_old1_0"]
    assert "pool/x" not in xml
    assert image not in xml


def test_foreign_resource_and_what_has_clones_are_never_replaced(shell, env, image):
    shell.create("web1")
    shell("add_pacemaker_remote", "web1", "--remote_name", "in1", "--remote_address", "192.0.2.5")
    env.cluster.foreign["ip1"] = Resource("ip1", agent="ocf:heartbeat:IPaddr2", active=True, role="Started")
    assert shell("clone", "web1", "--dst-name", "ip1", "--force").exit_code == EXIT_CODES[Kind.EXISTS]
    assert shell.create("ip1", "--force").exit_code == EXIT_CODES[Kind.EXISTS]
    assert shell("clone", "web1", "--dst-name", "web2").exit_code == 0
    assert "remote-node" not in env.storage.definitions.settings("web2").pacemaker_meta
    before = env.storage.definitions.read("web1")
    assert shell.create("web1", "--force").exit_code == EXIT_CODES[Kind.WRONG_STATE]
    done = shell("clone", "web2", "--dst-name", "web1", "--force")
    assert done.exit_code == EXIT_CODES[Kind.WRONG_STATE]
    assert env.storage.definitions.read("web1") == before


def test_several_pairs_may_follow_one_option_as_in_seapaths_scripts(shell, env):
    done = shell.create(
        "web1",
        "--pacemaker_params",
        "force_stop=1",
        "migrateport=4915",
        "--metadata",
        "owner=me",
        "site=north",
        "--disable",
    )
    assert done.exit_code == 0, done.stderr
    settings = env.storage.definitions.settings("web1")
    assert settings.pacemaker_params == {"force_stop": "1", "migrateport": "4915"}
    assert settings.user_metadata == {"owner": "me", "site": "north"}


def test_host_that_is_given_for_a_clone_replaces_its_sources(shell, env):
    shell.create("web1", "--preferred-host", "n1", "--disable")
    assert shell("clone", "web1", "--dst-name", "web2", "--pinned-host", "n2", "--disable").exit_code == 0
    settings = env.storage.definitions.settings("web2")
    assert (settings.pinned_host, settings.preferred_host) == ("n2", None)


def test_disks_come_and_go(shell, env):
    shell.create("web1", "--nostart")
    assert shell("add_disk", "web1", "2G").stdout == "data_web1_0 has 2 GiB\n"
    assert shell("add-disk", "--name", "web1", "1M").stdout == "data_web1_1 has 1 MiB\n"
    for words in (["web1"], ["web1", "1M", "--image", "x"], ["web1", "huge"], []):
        assert shell("add-disk", *words).exit_code == 2
    assert shell("remove-disk", "web1", "2").stdout == "data_web1_1 is removed\n"
    assert shell("remove-disk", "web1", "two").exit_code == 2
    assert shell("remove-disk", "web1", "0").exit_code == EXIT_CODES[Kind.INVALID]
    assert shell("clone", "web1", "--dst-name", "web2", "--nostart").exit_code == 0
    assert shell("flatten", "web2", "--disk", "1").stdout == "data_web2_0 shares no blocks any more\n"
    assert shell("flatten", "web2").stdout == "system_web2 shares no blocks any more\n"
    assert shell("flatten", "web2").stdout == "web2 shares no blocks\n"
    assert shell("remove", "web1").exit_code == 0


def test_settings_change_and_say_when(shell, env):
    shell.create("web1", "--preferred-host", "n2", "--pacemaker-meta", "a=1", "--disk-bus", "scsi")
    done = shell("set", "web1", "--memory", "2G", "--priority", "0", "--enable-live-migration")
    assert done.stdout == "web1 is changed\n"
    assert "in effect now: --on-move migrate, --priority" in done.stderr
    assert "vm-mgr restart web1" in done.stderr
    words = ["--unset", "preferred-host", "--disable-live-migration", "--pacemaker-meta", "a="]
    assert shell("set", "web1", *words, "--metadata", "owner=me", "--disk-bus", "").exit_code == 0
    settings = env.storage.definitions.settings("web1")
    assert settings == VmSettings(priority=0, user_metadata={"owner": "me"})
    for words in (
        [],
        ["--enable-live-migration", "--disable-live-migration"],
        ["--unset", "name"],
        ["--memory", "x"],
    ):
        assert shell("set", "web1", *words).exit_code == 2


def test_defect_is_admitted_in_one_line(monkeypatch, capsys):
    def broken():
        raise RuntimeError("boom")

    monkeypatch.setattr("sys.argv", ["vm-mgr", "list"])
    monkeypatch.setattr("vm_mgr.wiring.RealEnv", broken)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == EXIT_CODES[Kind.INTERNAL]
    assert capsys.readouterr().err.startswith("vm-mgr: error: a defect of vm-mgr: RuntimeError: boom\nhint: ")
    monkeypatch.setattr("sys.argv", ["vm-mgr", "--debug", "list"])
    with pytest.raises(RuntimeError):
        main()


@pytest.mark.parametrize("word", ["\udcff", "a\0b"])
def test_words_that_are_no_text_are_refused(shell, word):
    assert shell("status", word).exit_code == 2
    assert shell.create("web1", "--metadata", f"owner={word}").exit_code == 2


def test_words_for_other_programs_are_plain(shell):
    assert shell.create("web1", "--migration-user", "-oProxyCommand=x").exit_code == EXIT_CODES[Kind.INVALID]
    shell.create("web1")
    for node, address in (("a b", "192.0.2.5"), ("in1", "x y"), ("", "192.0.2.5")):
        done = shell("add-pacemaker-remote", "web1", "--remote-name", node, "--remote-address", address)
        assert done.exit_code == EXIT_CODES[Kind.INVALID]


def test_overview_is_the_same_with_and_without_click():
    done = CliRunner().invoke(app, ["--help"])
    assert done.output == overview() + "\n"
    for option in (*app.params, app.get_help_option(app.make_context("vm-mgr", ["list"], obj=None))):
        assert all(word in overview() for word in option.opts)
