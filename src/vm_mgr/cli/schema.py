"""The command schema."""

import click
from click.shell_completion import CompletionItem

from vm_mgr.cli.render import SCHEMA, print_data

__all__ = ["schema_command"]


def _names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from vm_mgr.answers.schema import commands  # noqa: PLC0415 - seldom needed

    return [CompletionItem(name) for name in commands() if name.startswith(incomplete)]


@click.command("schema")
@click.argument("command", required=False, shell_complete=_names)
def schema_command(command: str | None) -> None:
    """Print the JSON Schema of what --output json prints: of COMMAND, or of all commands.

    Later versions of vm-mgr add fields, and words to those under "examples". Accept ones that you don't know.

    \b
    Example:
      vm-mgr schema list
      vm-mgr schema > vm-mgr.json
    """
    from vm_mgr.answers.schema import all_schemas, commands, schema_of  # noqa: PLC0415 - seldom needed

    if command is None:
        print_data(all_schemas(SCHEMA), "json")
        return
    name = command.replace("_", "-")
    if name not in commands():
        raise click.UsageError(f"no command {command!r} prints data; there are {', '.join(commands())}")
    print_data(schema_of(name, SCHEMA), "json")
