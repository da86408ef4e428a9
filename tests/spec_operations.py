"""The table of operations in SPEC.md, made from the request structs. ``python -m tests.spec_operations`` writes it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from protocol.requests import OPERATIONS, Request

SPEC = Path(__file__).resolve().parents[1] / "protocol" / "SPEC.md"
BEGIN = "<!-- operations -->\n"
END = "<!-- end of operations -->"


def type_text(kind: Any) -> str:
    """A type of `msgspec.inspect` in words."""
    match kind:
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.IntType():
            return "integer"
        case msgspec.inspect.FloatType():
            return "number"
        case msgspec.inspect.BoolType():
            return "bool"
        case msgspec.inspect.BytesType():
            return "bin"
        case msgspec.inspect.NoneType():
            return "nil"
        case msgspec.inspect.AnyType():
            return "anything"
        case msgspec.inspect.DictType():
            return f"map of {type_text(kind.value_type)}"
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return f"list of {type_text(kind.item_type)}"
        case msgspec.inspect.TupleType():
            return "[" + ", ".join(map(type_text, kind.item_types)) + "]"
        case msgspec.inspect.UnionType():
            return " or ".join(map(type_text, kind.types))
        case msgspec.inspect.StructType():
            return "{" + ", ".join(field_text(field) for field in kind.fields) + "}"
        case msgspec.inspect.LiteralType():
            return " or ".join(map(repr, kind.values))
    raise TypeError(f"no words for {kind}")


def field_text(field: msgspec.inspect.Field) -> str:
    """One argument: its name, its type, its default."""
    text = f"{field.name}: {type_text(field.type)}"
    if field.required:
        return text
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    words = {None: "nil", True: "true", False: "false", (): "[]", "": '""'}
    shown = words[default] if isinstance(default, tuple | bool | str | None) and default in words else repr(default)
    return f"{text} = {shown}"


def sentence(request: type[Request]) -> str:
    """What the struct's docstring says, in one line."""
    return " ".join(inspect.cleandoc(request.__doc__ or "").split())


def table() -> str:
    """The table as Markdown."""
    rows = ["| operation | role | arguments | |", "|---|---|---|---|"]
    for name, (request, role, streams) in OPERATIONS.items():
        shape = msgspec.inspect.type_info(request)
        assert isinstance(shape, msgspec.inspect.StructType)
        arguments = "<br>".join(f"`{field_text(field)}`" for field in shape.fields)
        about = sentence(request) + (" **streams**" if streams else "")
        rows.append(f"| `{name}` | {role} | {arguments.replace('|', chr(92) + '|')} | {about.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Write the table into SPEC.md."""
    text = SPEC.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    SPEC.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
