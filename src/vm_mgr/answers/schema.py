"""Make the JSON Schema of the answers from their shapes."""

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from vm_mgr.answers import data, shapes, timing_shapes
from vm_mgr.answers.shapes import Words
from vm_mgr.operations.registry import ALIASES, OPERATIONS

__all__ = ["DIALECT", "all_schemas", "commands", "schema_of"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MEANING = "docs/reference/output.md says what each field means."
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

Schema = dict[str, Any]


def commands() -> dict[str, list[str]]:
    """Name the commands that answer with data, each with the verbs whose answers it gives."""
    found: dict[str, list[str]] = {}
    for verb, operation in OPERATIONS.items():
        if verb in data.ANSWERS:
            found.setdefault(operation.command or verb, []).append(verb)
    found |= {older: found[name] for older, name in ALIASES.items()}
    return dict(sorted(found.items()))


def all_schemas(number: int) -> Schema:
    """Give one document for the schema of this number, with a definition for each command."""
    made = _Maker(strict=False)
    given = {command: made.command(command) for command in commands()}
    title = f"What vm-mgr COMMAND --output json prints, schema {number}"
    return {
        "$schema": DIALECT,
        "title": title,
        "description": MEANING,
        "$defs": {**dict(sorted(made.defs.items())), **given},
    }


def schema_of(command: str, number: int, *, strict: bool = False) -> Schema:
    """Give the document of one command; raises KeyError for one that prints no data.

    strict: also refuse fields and words that this version does not know. Programs must not: later versions
    add some.
    """
    made = _Maker(strict=strict)
    whole = made.command(command)
    title = f"What vm-mgr {command} --output json prints, schema {number}"
    return {
        "$schema": DIALECT,
        "title": title,
        "description": MEANING,
        **whole,
        "$defs": dict(sorted(made.defs.items())),
    }


class _Maker:
    """Make schemas, and keep those of named shapes apart, each once."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.defs: dict[str, Schema] = {}

    def command(self, command: str) -> Schema:
        verbs = commands()[command]
        answers = [_shape_of(verb) for verb in verbs]
        answers += [list[_shape_of(verb)] for verb in verbs if OPERATIONS[verb].several]  # type: ignore[misc]
        changes = any(OPERATIONS[verb].changes for verb in verbs)
        return self.one_of([*answers, shapes.DryRun] if changes else answers)

    def one_of(self, types: Iterable[Any]) -> Schema:
        made = [self.of(one) for one in dict.fromkeys(types)]
        if all(set(one) == {"type"} for one in made):
            words = [one["type"] for one in made]
            return {"type": words if len(words) > 1 else words[0]}
        return made[0] if len(made) == 1 else {"anyOf": made}

    def of(self, type_: Any) -> Schema:
        """Give the schema of a type."""
        type_ = getattr(type_, "__supertype__", type_)  # of a NewType
        if type_ in PLAIN:
            return {"type": PLAIN[type_]}
        if is_typeddict(type_) or is_dataclass(type_):
            return self.shape(type_)
        origin, inner = get_origin(type_), get_args(type_)
        if origin is Annotated:
            return self.annotated(*inner)
        if origin in (Union, UnionType):
            return self.one_of(inner)
        if origin in (list, tuple):
            return {"type": "array", "items": self.of(inner[0])}
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.of(inner[1])}
        raise TypeError(f"no schema for {type_}")

    def annotated(self, plain: Any, more: Any) -> Schema:
        if not isinstance(more, Words):
            return self.of(more)
        return {**self.of(plain), "enum" if self.strict else "examples": list(more.known)}

    def shape(self, type_: Any) -> Schema:
        name = type_.__name__
        if name not in self.defs:
            fields = {key: self.of(one) for key, one in get_type_hints(type_, include_extras=True).items()}
            whole: Schema = {"type": "object", "description": _first_line(type_), "properties": fields}
            self.defs[name] = {**whole, "required": [key for key in fields if _is_required(type_, key)]}
            if self.strict:
                self.defs[name]["additionalProperties"] = False
        return {"$ref": f"#/$defs/{name}"}


def _is_required(type_: Any, key: str) -> bool:
    return not is_typeddict(type_) or key in type_.__required_keys__


def _shape_of(verb: str) -> Any:
    """Give the type of an operation's data; those of its arguments are for type checkers only."""
    names = {"shapes": shapes, "timing_shapes": timing_shapes}
    return eval(data.ANSWERS[verb].__annotations__["return"], names)  # noqa: S307 - our own text


def _first_line(type_: Any) -> str:
    return (type_.__doc__ or "").strip().partition("\n")[0]
