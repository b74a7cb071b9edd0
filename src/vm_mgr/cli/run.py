"""Call an operation for a command: reports to stderr, errors as one line, exit codes by kind."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from vm_mgr.cli.answer import answer, answer_all, output_format, remember_output
from vm_mgr.cli.dry_run import Steps, agrees, can_ask, is_dry_run
from vm_mgr.cli.options import completer, names_completer, with_options, words_completer
from vm_mgr.cli.progress import Printer
from vm_mgr.cli.render import FORMATS, done_words
from vm_mgr.errors import ConsentError, Kind, SignalError, VmMgrError
from vm_mgr.interruption import current
from vm_mgr.model.vm import VmName, VmStatus
from vm_mgr.operations.registry import OPERATIONS
from vm_mgr.operations.requests.vms import NAME
from vm_mgr.wiring import RealEnv, dry_run_env

if TYPE_CHECKING:
    from vm_mgr.model.fields import Completes
    from vm_mgr.ports.env import Env

__all__ = [
    "attempt",
    "each",
    "fail",
    "name_and_words",
    "name_argument",
    "names_argument",
    "optional_name_argument",
    "output_option",
    "perform",
    "print_error",
    "run",
    "show_done",
]

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def perform(verb: str, given: Mapping[str, Any]) -> Any:
    """Run an operation of the registry with these arguments, as `run` does, and give its result."""
    return run(partial(_with_consent, OPERATIONS[verb].load(), given))


def _with_consent(operation: Callable[..., Any], given: Mapping[str, Any], env: "Env") -> Any:
    """Ask on a terminal, where nothing else is in the way than that VMs would be disturbed.

    Without a yes it stays refused, and one of several VMs does not keep the others from it.
    """
    try:
        return operation(env, **given)
    except ConsentError as error:
        problems = (error, *error.others)
        allowed = {one.allows: True for one in problems if isinstance(one, ConsentError)}
        only = all(isinstance(one, ConsentError) for one in problems)
        if not (only and can_ask() and agrees(f"{'; '.join(one.message for one in problems)}.")):
            raise
        return operation(env, **{**given, **allowed})


def show_done(verb: str, given: Mapping[str, Any]) -> None:
    """Run an operation that brings a VM somewhere; say where that is."""
    vm: VmStatus = perform(verb, given)
    answer(verb, given, vm, done_words(vm))


def run(operation: Callable[["Env"], T]) -> T:
    """Run an operation in the environment of the current command; a dry run ends the command here."""
    steps = Steps()
    try:
        result = attempt(operation, steps)
    except (VmMgrError, SignalError) as error:
        steps.sum_up()
        fail(error)
    if is_dry_run():
        steps.end()
    return result


def each(
    verb: str,
    names: Sequence[VmName],
    given: Mapping[str, Any],
    words: Callable[[VmName, Any], str] = lambda _, vm: done_words(vm),
) -> None:
    """Run an operation for one VM after the other, and say what was done with each.

    words: what to say of a VM and its result; by default where it is now. A VM that fails does not keep the
    others from it: the exit status is the highest of all. As data, one VM is an object, and several are a
    list of those that it was done with.
    """
    operation, steps = OPERATIONS[verb].load(), Steps()
    done: list[tuple[Mapping[str, Any], Any]] = []
    failed: dict[VmName, int] = {}
    try:
        for name in names:
            one = {"name": name, **given}
            try:
                result = attempt(partial(_with_consent, operation, one), steps)
            except VmMgrError as error:
                print_error(error)
                failed[name] = error.exit_code
                continue
            done.append((one, result))
            if not is_dry_run() and output_format() == "table":
                print(words(name, result))  # unflushed: who has left does not keep others from it
    except SignalError as error:
        left = names[len(done) + len(failed) + 1 :]
        if left:
            error.add(f"nothing was begun with {', '.join(left)}")
        steps.sum_up()
        if not is_dry_run():  # whose results are not true
            answer_all(verb, done, many=len(names) > 1)
        fail(error)
    if failed and len(names) > 1:
        click.echo(f"vm-mgr: error: {verb} failed for {', '.join(failed)}", err=True)
    status = max(failed.values(), default=0)
    if is_dry_run() and done:
        steps.end(status)
    steps.sum_up()
    answer_all(verb, done, many=len(names) > 1)
    if status:
        sys.exit(status)


def attempt(operation: Callable[["Env"], T], steps: Steps) -> T:
    """Run an operation in the environment of the current command, and let its error through.

    In a dry run its steps are shown instead.
    """
    context = click.get_current_context()
    env: RealEnv = context.obj
    printer = Printer(env.clock.monotonic, terminal=sys.stderr.isatty())
    env.say = printer.say
    env.doing = context.info_name or ""
    dry = is_dry_run()
    debug = bool(context.meta.get("debug"))
    if debug:
        env.runner.log = _log_command
    current.begin(_called(context))
    _listen()
    try:
        result = operation(dry_run_env(env, steps.show) if dry else env)
    except (VmMgrError, SignalError) as error:
        printer.end(done=False)
        if isinstance(error, SignalError) and not dry:
            from vm_mgr.operations.lifecycle.interrupted import say_what_is_true  # noqa: PLC0415 - seldom needed

            say_what_is_true(env, error, current)
        if debug:
            import traceback  # noqa: PLC0415

            traceback.print_exc()
        raise
    except BaseException:
        printer.end(done=False)
        raise
    printer.end()
    return result


def name_argument(command: Callable[..., object]) -> Callable[..., object]:
    """Hand a command the VM's `name`, which is given as --name/-n or as a plain argument."""
    return _named(command, _name)


def optional_name_argument(command: Callable[..., object]) -> Callable[..., object]:
    """Hand a command the VM's `name`, or None where it is given neither way."""
    return _named(command, lambda given: None if given is None else VmName(given))


def names_argument(command: Callable[..., object]) -> Callable[..., object]:
    """Hand a command `names`: of one VM by --name/-n, or of one or several as plain arguments."""

    @wraps(command)
    def with_names(named: str | None, plain: tuple[str, ...], **options: Any) -> object:
        other = next((word for word in plain if word != named), None)
        if named is not None and other is not None:
            raise click.UsageError(f"two names are given: {named} and {other}")
        given = dict.fromkeys(plain if named is None else (named,))
        return command(names=[_name(word) for word in given or (None,)], **options)

    argument = click.argument("plain", metavar="[NAME]...", nargs=-1, shell_complete=names_completer())
    return argument(_name_option(with_names))


def _named(
    command: Callable[..., object], read: Callable[[str | None], VmName | None]
) -> Callable[..., object]:
    @wraps(command)
    def with_name(named: str | None, plain: str | None, **options: Any) -> object:
        if named is not None and plain is not None and named != plain:
            raise click.UsageError(f"two names are given: {named} and {plain}")
        return command(name=read(named if named is not None else plain), **options)

    argument = click.argument("plain", metavar="[NAME]", required=False, shell_complete=completer("vm"))
    return argument(_name_option(with_name))


def name_and_words(
    metavar: str, completes: "Completes" = "", *, required: bool = True
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Hand a command the VM's `name`, which is the first plain word or --name/-n, and the other `words`.

    Where it is not required, the name can be None.
    """
    argument = click.argument(
        "plain", metavar=f"[NAME] {metavar}", nargs=-1, shell_complete=words_completer(completes)
    )

    def decorate(command: Callable[..., object]) -> Callable[..., object]:
        @wraps(command)
        def with_words(named: str | None, plain: tuple[str, ...], **options: Any) -> object:
            given = plain if named is None else (named, *plain)
            name = _name(next(iter(given), None)) if given or required else None
            return command(name=name, words=given[1:], **options)

        return argument(_name_option(with_words))

    return decorate


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    callback=remember_output,
    help="A table for people, or data with stable fields.",
)


def _name_option(command: Callable[..., object]) -> Callable[..., object]:
    return with_options([NAME._replace(name="named", required=False)])(command)


def _name(given: str | None) -> VmName:
    if given is None:
        raise click.UsageError("give the name of the VM")
    return VmName(given)


def _called(context: click.Context) -> str:
    """Name the command and what it was given, for the record; notes may hold what is nobody's business."""
    words = [context.info_name or ""]
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if isinstance(one, click.Option) and source is ParameterSource.COMMANDLINE:
            value = context.params.get(one.name or "")
            words.append(max(one.opts, key=len))
            if isinstance(value, str | int) and not one.is_flag and "metadata" not in words[-1]:
                words.append(str(value)[:40])
    return " ".join(words)


def _listen() -> None:
    """Undo and tell at a signal; who runs a command by nohup wants it to outlive the terminal."""
    for one in SIGNALS:
        if one != signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    for one in SIGNALS:  # the undo steps are not to be interrupted, but nobody has to wait for what lasts
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _hurry)
    raise SignalError(number)


def _hurry(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    current.impatient = True


def fail(error: VmMgrError | SignalError) -> NoReturn:
    """Print every problem with its hint, and end with the exit status of the first."""
    with suppress(OSError):  # a terminal that has hung up; the status is all that is left to say
        if isinstance(error, SignalError):
            click.echo(f"vm-mgr: error: {' '.join(error.message.split())}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
        else:
            print_error(error)
    sys.exit(error.exit_code)


# What others have said without a word of what to do.
FROM_OUTSIDE = (Kind.ENVIRONMENT, Kind.EXTERNAL_FAILURE, Kind.TRY_LATER)
LAST_HINT = "see every program that was run, and how it ended: vm-mgr --debug, with the same words"


def print_error(error: VmMgrError) -> None:
    """Print every problem with its hint."""
    for problem in (error, *error.others):
        message = " ".join(problem.message.split())
        click.echo(f"vm-mgr: error: {message}", err=True)
        hint = problem.hint or (LAST_HINT if problem.kind in FROM_OUTSIDE else "")
        if hint:
            click.echo(f"hint: {hint}", err=True)


def _log_command(argv: object, exit_code: int, seconds: float) -> None:
    words = " ".join(str(word) for word in argv) if isinstance(argv, (list, tuple)) else argv
    click.echo(f"vm-mgr: debug: {words} → {exit_code} in {seconds * 1000:.0f} ms", err=True)
