"""The command completion."""

import click
from click.shell_completion import get_completion_class

from vm_mgr.cli import COMPLETES

__all__ = ["completion_command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell. For this shell alone: source <(vm-mgr completion bash).

    \b
    Example:
      vm-mgr completion bash > /etc/bash_completion.d/vm-mgr
    """
    from vm_mgr.cli.app import app  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    print(found(app, {}, "vm-mgr", COMPLETES).source())
