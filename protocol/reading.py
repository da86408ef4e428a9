"""Plain values to a request, or one sentence: what is wrong, its value, what was expected, what to do. Pure.

`msgspec.convert` decides; what it refuses is looked for again along the type, so that the sentence is ours and the same for
every operation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from protocol.errors import BadRequest
from protocol.names import ALIAS_RULE, NAME_RULE, shortened, suggestion

Wanted = TypeVar("Wanted", bound=msgspec.Struct)
_INDEX = re.compile(r"\[\d+\]")

#: What people call a field, and what it may be where its type alone does not say: by path, else by its last word.
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "network.create name": ("network name", NAME_RULE),
    "network.remove name": ("network name", "the name or the id of a network"),
    "network.update name": ("network name", "the name or the id of a network"),
    "container.run name": ("container name", NAME_RULE),
    "container.run hostname": ("host name", NAME_RULE),
    "container.stop name": ("container name", "the name or the id of a container"),
    "container.kill name": ("container name", "the name or the id of a container"),
    "container.remove name": ("container name", "the name or the id of a container"),
    "network.inspect names": ("network name", "the name or the id of a network"),
    "container.inspect names": ("container name", "the name or the id of a container"),
    "network": ("network name", "the name or the id of a network"),
    "networks": ("network name", "the name or the id of a network"),
    "container": ("container name", "the name or the id of a container, or docker:NAME, podman:NAME, netns:NAME, pid:N"),
    "aliases": ("alias", ALIAS_RULE),
    "driver": ("driver", "the name of a driver"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`path` as in ``subnets[0].gateway``; `fault` follows the value, `remedy` is what to do."""

    path: str
    shown: str
    fault: str
    expected: str
    remedy: str


def read_request(op: str, args: Mapping[str, Any], request: type[Wanted]) -> Wanted:
    """The arguments of `op` as its request. Raises BadRequest; details: `operation`, `field`, `value`, `expected`."""
    try:
        return msgspec.convert(dict(args), request, strict=True)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise refusal(op, args, request, str(error)) from None


def refusal(op: str, args: Any, request: type[msgspec.Struct], otherwise: str = "") -> BadRequest:
    """The error for arguments that are no such request; `otherwise` is said where nothing is found that is wrong."""
    found = next(_faults(args, inspect.type_info(request), ""), None)
    if found is None:
        return BadRequest(f"{op}: {otherwise[:300]}", operation=op)
    what, expected = _named(op, found)
    return BadRequest(f"{op}: {what}{found.shown and ' ' + found.shown} {found.fault}: expected {expected}; {found.remedy}",
                      operation=op, field=found.path, value=found.shown, expected=expected)


def _named(op: str, fault: Fault) -> tuple[str, str]:
    """What the field is called, and what it may be. A rule is for one text: where a list is meant, the type's words stand."""
    plain = _INDEX.sub("", fault.path)
    known = _WORDS.get(f"{op} {plain}") or _WORDS.get(plain.rpartition(".")[2])
    if known is None or not fault.expected.startswith("text"):
        return f"`{fault.path}`", fault.expected
    return known


# Along the type

def _faults(value: Any, kind: inspect.Type, path: str) -> Iterator[Fault]:
    """What is wrong with `value`, from the first."""
    match kind:
        case inspect.StructType():
            yield from _struct_faults(value, kind, path)
        case inspect.VarTupleType() | inspect.ListType():
            yield from _list_faults(value, kind, path)
        case inspect.DictType():
            yield from _map_faults(value, kind, path)
        case inspect.UnionType():
            yield from _union_faults(value, kind, path)
        case inspect.StrType():
            yield from _text_faults(value, kind, path)
        case inspect.IntType() | inspect.FloatType():
            yield from _number_faults(value, kind, path)
        case inspect.TupleType():
            yield from _tuple_faults(value, kind, path)
        case inspect.BoolType() if not isinstance(value, bool):
            yield _wrong_type(value, kind, path)
        case inspect.NoneType() if value is not None:
            yield _wrong_type(value, kind, path)


def _wrong_type(value: Any, kind: inspect.Type, path: str) -> Fault:
    return Fault(path, _shown(value), f"is {_kind_of(value)}", _words(kind), "send that")


def _struct_faults(value: Any, kind: inspect.StructType, path: str) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield _wrong_type(value, kind, path)
        return
    known = {field.encode_name: field for field in kind.fields}
    for name in value:
        if name not in known and kind.forbid_unknown_fields:
            near = suggestion(str(name)[:64], known)
            yield Fault(_join(path, shortened(str(name))), "", f"is not known{near}", ", ".join(known) or "no arguments at all",
                        "leave it out or correct it")
    for name, field in known.items():
        if name in value:
            yield from _faults(value[name], field.type, _join(path, name))
        elif field.required:
            yield Fault(_join(path, name), "", "is missing", _words(field.type), "give one")


def _list_faults(value: Any, kind: inspect.VarTupleType | inspect.ListType, path: str) -> Iterator[Fault]:
    if not isinstance(value, list | tuple):
        yield _wrong_type(value, kind, path)
        return
    yield from _size_faults(len(value), kind, path, "entries")
    for index, item in enumerate(value):
        yield from _faults(item, kind.item_type, f"{path}[{index}]")


def _tuple_faults(value: Any, kind: inspect.TupleType, path: str) -> Iterator[Fault]:
    if not isinstance(value, list | tuple) or len(value) != len(kind.item_types):
        yield _wrong_type(value, kind, path)
        return
    for index, (item, inner) in enumerate(zip(value, kind.item_types, strict=True)):
        yield from _faults(item, inner, f"{path}[{index}]")


def _map_faults(value: Any, kind: inspect.DictType, path: str) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield _wrong_type(value, kind, path)
        return
    yield from _size_faults(len(value), kind, path, "entries")
    for name, item in value.items():
        for fault in _faults(name, kind.key_type, path):
            shown = fault.shown and f" {fault.shown}"
            yield Fault(path, "", f"has a key{shown} that {fault.fault}", fault.expected, fault.remedy)
        yield from _faults(item, kind.value_type, _join(path, shortened(str(name))))


def _union_faults(value: Any, kind: inspect.UnionType, path: str) -> Iterator[Fault]:
    found = [list(_faults(value, one, path)) for one in kind.types]
    if not all(found):
        return
    # What has the right type and is wrong inside tells more than the list of all types.
    inside = [faults for faults in found if faults[0].fault != f"is {_kind_of(value)}" or faults[0].path != path]
    yield inside[0][0] if inside else _wrong_type(value, kind, path)


def _text_faults(value: Any, kind: inspect.StrType, path: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield _wrong_type(value, kind, path)
    elif kind.min_length is not None and len(value) < kind.min_length:
        fault, remedy = (f"has {len(value)} characters", "make it longer") if value else ("is empty", "give one")
        yield Fault(path, value and _shown(value), fault, _words(kind), remedy)
    elif kind.max_length is not None and len(value) > kind.max_length:
        yield Fault(path, _shown(value), f"has {len(value)} characters", _words(kind), "shorten it")
    elif kind.pattern is not None and not re.search(kind.pattern, value):
        yield Fault(path, _shown(value), "does not fit", _words(kind), "correct it")


def _number_faults(value: Any, kind: inspect.IntType | inspect.FloatType, path: str) -> Iterator[Fault]:
    whole = isinstance(kind, inspect.IntType)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        yield _wrong_type(value, kind, path)
    elif (kind.ge is not None and not value >= kind.ge) or (kind.le is not None and not value <= kind.le):
        yield Fault(path, _shown(value), "is out of range", _words(kind), "choose one in the range")


def _size_faults(size: int, kind: inspect.VarTupleType | inspect.ListType | inspect.DictType, path: str, things: str) -> Iterator[Fault]:
    if kind.min_length is not None and size < kind.min_length:
        yield Fault(path, "", "is empty" if not size else f"has {size} {things}", _words(kind), "give at least one")
    elif kind.max_length is not None and size > kind.max_length:
        yield Fault(path, "", f"has {size} {things}", _words(kind), "send fewer at once")


# In words

def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType():
            return f"text{_bounds(kind.min_length, kind.max_length, 'characters')}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_bounds(kind.ge, kind.le)}"
        case inspect.FloatType():
            return f"a number{_bounds(kind.ge, kind.le)}"
        case inspect.NoneType():
            return "nothing"
        case inspect.VarTupleType() | inspect.ListType():
            return f"a list{_bounds(kind.min_length, kind.max_length, 'entries')}"
        case inspect.DictType():
            return f"a map{_bounds(kind.min_length, kind.max_length, 'entries')}"
        case inspect.StructType():
            return "a map of " + ", ".join(field.encode_name for field in kind.fields)
        case inspect.TupleType():
            return f"a list of {len(kind.item_types)}"
        case inspect.UnionType():
            return " or ".join(dict.fromkeys(_words(one) for one in kind.types))
        case _:
            return "another value"


def _bounds(low: float | None, high: float | None, things: str = "") -> str:
    unit = f" {things}" if things else ""
    if low is not None and high is not None:
        return f" {'of' if things else 'from'} {low:g} to {high:g}{unit}"
    if high is not None:
        return f" of at most {high:g}{unit}"
    return f" of at least {low:g}{unit}" if low is not None else ""


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return "text"
        case bytes():
            return "bytes"
        case int():
            return "a whole number"
        case float():
            return "a number with a fraction"
        case list() | tuple():
            return f"a list of {len(value)}"
        case Mapping():
            return "a map"
        case _:
            return type(value).__name__


def _shown(value: Any) -> str:
    """A value as an error repeats it; "" for what has no short form."""
    match value:
        case str():
            return f"'{shortened(value)}'"
        case bool() | None:
            return ""
        case int() | float():
            return shortened(str(value))
        case _:
            return ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
