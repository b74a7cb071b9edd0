"""The reference of the commands is theirs; the command line has what SEAPATH's users rely on."""

import inspect

import click
import pytest

from vm_mgr.cli.app import app
from vm_mgr.cli.reference import commands, reference

from .test_structure import SOURCE

PAGE = SOURCE.parents[1] / "docs" / "reference" / "commands.md"
COMMANDS = commands()
MAKING = """--disable --force --metadata --pinned-host --preferred-host --enable-live-migration
    --migration-user --stop-timeout --migrate-to-timeout --migration-to-timeout --migration-downtime
    --add-crm-config-cmd --priority --pacemaker-meta --pacemaker-params --pacemaker-utilization"""

APP = click.Context(app, **app.context_settings)


def dashed(word):
    return word.replace("_", "-")


def underscored(word):
    name = word.lstrip("-")
    return word[: -len(name)] + name.replace("-", "_")


def understands(command, option):
    if command is None:
        return False
    try:
        command.make_parser(click.Context(command, parent=APP)).parse_args([option])
    except click.NoSuchOption:
        return False
    except click.BadOptionUsage:
        return True  # it wants a value
    return True


# What SEAPATH's vm_manager has on a cluster: sub-command → options, as its users write them.
SEAPATH = {
    "create": f"-n --name --xml -i --image -p --progress --disk-bus --additional-disk --nostart {MAKING}",
    "clone": f"""-n --name --dst_name --xml --clear_constraint --clear-pacemaker-meta --clear-pacemaker-params
        --clear-pacemaker-utilization --nostart {MAKING}""",
    "remove": "-n --name",
    "start": "-n --name",
    "stop": "-n --name -f --force",
    "list": "",
    "status": "-n --name",
    "console": "--ssh-user",
    "enable": "-n --name --nostart",
    "disable": "-n --name",
    "create_snapshot": "-n --name --snap_name",
    "remove_snapshot": "-n --name --snap_name",
    "list_snapshots": "-n --name",
    "purge": "-n --name --date --number",
    "rollback": "-n --name --snap_name",
    "list_metadata": "-n --name",
    "set_metadata": "-n --name --metadata_name --metadata_value",
    "get_metadata": "-n --name --metadata_name",
    "add_colocation": "-n --name --strong",
    "add_pacemaker_remote": "-n --name --remote_name --remote_address --remote_port --remote_timeout",
    "remove_pacemaker_remote": "-n --name",
    "add-to-cluster": f"-n --name -i --image --disk-bus --new-name --nostart -p --progress {MAKING}",
}


def test_reference_is_what_the_commands_say():
    fresh = PAGE.read_text() == reference()
    assert fresh, "run: python3 -m vm_mgr.cli.reference >docs/reference/commands.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_explains_itself(name):
    command = COMMANDS[name]
    assert "\b\nExample:\n  vm-mgr " in inspect.cleandoc(command.help), "no example"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts[0]} has no help"


@pytest.mark.parametrize("spell", [dashed, underscored])
@pytest.mark.parametrize("name", SEAPATH)
def test_what_seapath_users_write_is_understood(name, spell):
    command = app.get_command(APP, spell(name))
    missing = {option for option in SEAPATH[name].split() if not understands(command, spell(option))}
    assert not missing
