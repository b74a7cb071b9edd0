"""The command edit."""

import difflib
import os
import sys
import tempfile

import click

from vm_mgr.cli.answer import answer, output_format
from vm_mgr.cli.create import read_definition as read_file
from vm_mgr.cli.dry_run import is_dry_run
from vm_mgr.cli.options import options_of
from vm_mgr.cli.run import name_argument, run
from vm_mgr.errors import Kind, SignalError, VmMgrError, raise_all
from vm_mgr.model.vm import VmName
from vm_mgr.ports.env import Env
from vm_mgr.room import no_room

__all__ = ["edit_command"]


@click.command("edit")
@name_argument
@options_of("edit")
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
def edit_command(name: VmName, xml: str | None, yes: bool, allow: tuple[str, ...]) -> None:  # noqa: FBT001
    """Edit a VM's definition, the XML that the VM starts from, in $VISUAL or $EDITOR.

    vm-mgr checks the new definition and shows the difference. Nothing changes before you agree. Without a
    terminal, or with --yes, nobody is asked. A running VM stays as it is: all changes take effect at its next
    start. A text that is not accepted is kept in a file.

    \b
    Example:
      vm-mgr edit web1
      vm-mgr edit web1 --file web1.xml
    """

    def operation(env: Env) -> bool:
        if xml:
            return _edit_file(env, name, xml, allow, yes=yes)
        if not sys.stdin.isatty() and not any(os.environ.get(word) for word in ("VISUAL", "EDITOR")):
            hint = f"give the new definition in a file: vm-mgr edit {name} --file FILE"
            raise VmMgrError(Kind.INVALID, "an editor needs a terminal", hint=hint)
        return _edit(env, name, allow, yes=yes)

    changed = run(operation)
    words = "changed" if changed else "as it was"
    answer("edit", {"name": name}, changed, f"the definition of {name} is {words}")


def _edit_file(env: Env, name: VmName, path: str, allow: tuple[str, ...], *, yes: bool) -> bool:
    from vm_mgr.operations.edit import edit, edit_problems, read_definition  # noqa: PLC0415

    before, text = read_definition(env, name), read_file(path, env.say)
    raise_all(edit_problems(env, name, text, before, allow=allow))
    return _agreed(before, text, yes=yes) and edit(env, name, text, before, allow=allow)


def _edit(env: Env, name: VmName, allow: tuple[str, ...], *, yes: bool) -> bool:
    """Edit until the text can be taken; nobody is kept waiting meanwhile, a change by others is noticed."""
    from vm_mgr.operations.edit import edit, edit_problems, read_definition  # noqa: PLC0415

    before = draft = read_definition(env, name)
    while True:
        draft = _in_editor(draft)
        if draft.strip() == before.strip():
            return False
        problems = edit_problems(env, name, draft, before, allow=allow)
        if not problems:
            break
        for problem in problems:
            click.echo(f"vm-mgr: error: {problem.message} ({problem.hint})", err=True)
        if not (_on_terminal() and click.confirm("Edit it again?", default=True, err=True)):
            raise _kept(name, draft, problems[0])
    try:
        agreed = _agreed(before, draft, yes=yes)
        changed = agreed and edit(env, name, draft, before, allow=allow)
    except SignalError as error:
        raise _kept(name, draft, VmMgrError(Kind.TRY_LATER, error.message)) from error
    except VmMgrError as error:
        raise _kept(name, draft, error) from error
    if not agreed:
        raise _kept(name, draft, VmMgrError(Kind.WRONG_STATE, "you did not agree"))
    return changed


def _in_editor(text: str) -> str:
    try:
        edited = click.edit(text, extension=".xml")
    except click.ClickException as error:
        hint = "set EDITOR to an editor that is installed, for example: EDITOR=nano"
        raise VmMgrError(Kind.ENVIRONMENT, f"the editor failed: {error.message}", hint=hint) from error
    except OSError as error:
        problem = no_room("the editor needs a file", error)
        hint = f"TMPDIR=/dev/shm vm-mgr edit NAME; or {problem.hint}"
        raise VmMgrError(problem.kind, problem.message, hint=hint) from error
    return text if edited is None else edited  # None: closed without saving


def _agreed(before: str, text: str, *, yes: bool) -> bool:
    """Show the difference, and ask on a terminal."""
    lines = difflib.unified_diff(
        before.strip().splitlines(), text.strip().splitlines(), "before", "after", lineterm=""
    )
    for line in lines:
        click.echo(line, err=output_format() != "table")
    return yes or is_dry_run() or not _on_terminal() or click.confirm("Change the definition?", err=True)


def _kept(name: VmName, draft: str, error: VmMgrError) -> VmMgrError:
    """Keep the draft in a file, and name it beside what went wrong; where there is no room, show it."""
    try:
        descriptor, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".xml")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(draft)
    except OSError as full:
        print(draft)
        hint = f"your text is printed above: {no_room('it is not kept', full).message}"
        return VmMgrError(error.kind, f"nothing is changed: {error.message}", hint=hint)
    hint = f"your text is kept; mend it, then: vm-mgr edit {name} --file {path}"
    return VmMgrError(error.kind, f"nothing is changed: {error.message}", hint=hint)


def _on_terminal() -> bool:
    return click.get_text_stream("stdin").isatty()
