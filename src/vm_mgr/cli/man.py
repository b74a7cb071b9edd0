"""Write the man pages of all commands: python3 -m vm_mgr.cli.man FOLDER."""

import inspect
import sys
from pathlib import Path
from textwrap import dedent

import click

from vm_mgr import __version__
from vm_mgr.cli.help import COMMANDS, GROUPS
from vm_mgr.cli.reference import EXAMPLE, UNFILLED, commands
from vm_mgr.errors import EXIT_CODES

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """Give each page by its file's name; they say what `--help` says."""
    found = {f"vm-mgr-{name}.1": _command(name, command) for name, command in commands().items()}
    return {"vm-mgr.1": _overview(), **found}


def _overview() -> str:
    parts = [
        _head("vm-mgr", "run highly available VMs on Pacemaker, libvirt and Ceph"),
        _section("SYNOPSIS", r"\fBvm\-mgr\fR [\-\-debug] \fICOMMAND\fR [\fIARGUMENT\fR]..."),
        *(
            _section(
                title.upper(), "\n".join(_item(f"vm-mgr-{name}(1)", COMMANDS[name][1]) for name in names)
            )
            for title, names in GROUPS.items()
        ),
        _section(
            "EXIT STATUS",
            "\n".join(_item(str(code), kind.value.replace("-", " ")) for kind, code in EXIT_CODES.items()),
        ),
    ]
    return "".join(parts)


def _command(name: str, command: click.Command) -> str:
    words = " ".join(command.collect_usage_pieces(click.Context(command, info_name=name)))
    texts = inspect.cleandoc(command.help or "").split("\n\n")
    shown = [one.removeprefix(UNFILLED) for one in texts if one.startswith(UNFILLED + EXAMPLE)]
    told = [_verbatim(one[2:]) if one.startswith(UNFILLED) else _plain(one) for one in texts]
    told = [text for text, one in zip(told, texts, strict=True) if not one.startswith(UNFILLED + EXAMPLE)]
    options = [one for one in command.params if isinstance(one, click.Option)]
    parts = [
        _head(f"vm-mgr-{name}", COMMANDS[name][1]),
        _section("SYNOPSIS", rf"\fBvm\-mgr {_plain(name)}\fR {_plain(words)}"),
        _section("DESCRIPTION", "\n.PP\n".join(told)),
        _section("OPTIONS", "\n".join(_option(one) for one in options)) if options else "",
        _section("EXAMPLE", "\n".join(_verbatim(one.removeprefix(EXAMPLE)) for one in shown)),
        _section("SEE ALSO", r"\fBvm\-mgr\fR(1)"),
    ]
    return "".join(parts)


def _head(name: str, summary: str) -> str:
    title = f'.TH "{name.upper()}" "1" "" "vm-mgr {__version__}" "vm-mgr"\n'
    return f"{title}.SH NAME\n{_plain(name)} \\- {_plain(summary.rstrip('.'))}\n"


def _section(title: str, text: str) -> str:
    return f".SH {title}\n{text}\n"


def _item(term: str, text: str) -> str:
    return f".TP\n\\fB{_plain(term)}\\fR\n{_plain(text)}"


def _option(option: click.Option) -> str:
    value = "" if option.is_flag or option.count else f" {option.make_metavar(*_CONTEXT)}"
    return _item(", ".join(option.opts) + value, option.help or "")


def _verbatim(text: str) -> str:
    return f".nf\n{_plain(dedent(text))}\n.fi"


def _plain(text: str) -> str:
    """Write a text so that troff prints it as it is: no line of it may begin with a request.

    >>> print(_plain("a-b"), _plain(".so x"))
    a\\-b \\&.so x
    """
    lines = text.replace("\\", r"\e").replace("-", r"\-").splitlines()
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in lines)


# From 8.2 on click wants the context to name a value.
_CONTEXT = (
    (click.Context(click.Command("vm-mgr")),)
    if "ctx" in inspect.signature(click.Parameter.make_metavar).parameters
    else ()
)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages().items():
        (folder / file).write_text(text, encoding="utf-8")
