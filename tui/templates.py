"""``--format`` with a template: what people type of Go's, as docker takes it: fields, ``json``, ``index``, ``range``, ``table``. Pure.

``{{.Name}}``, ``{{ .State.Status }}``, ``{{json .}}``, ``{{json .Labels}}``, ``{{index .Labels "a.b"}}``,
``{{range .IPAM.Config}}{{.Subnet}} {{end}}``, one of them deep and with variables, and ``table {{.ID}}\\t{{.Name}}`` with headers.
``\\t`` and ``\\n`` stand for a tab and a line feed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocol.errors import InvalidValue
from protocol.names import display_text, suggestion
from tui.tables import table

_BRACES: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD: Final = re.compile(r"\s*(json\s+)?(?:(\$\w+)(?=[\s.]|\Z))?(?:\.([\w-]+(?:\.[\w-]+)*)?)?\s*\Z", re.ASCII)
_TABLE: Final = "table "
_RANGE: Final = re.compile(r"\s*range\s+(?:(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=\s*)?((?:\.[\w-]+)+)\s*\Z", re.ASCII)
_INDEX: Final = re.compile(r"\s*\(?\s*index\s+((?:\.[\w-]+)+)((?:\s+(?:[\"`][^\"`{}]+[\"`]|\d+))+)\s*\)?((?:\.[\w-]+)*)\s*\Z", re.ASCII)
_KEY: Final = re.compile(r"[\"`]([^\"`]+)[\"`]|(\d+)")
_EXPECTED: Final = ("expected {{.Field}}, {{.Field.Part}}, {{json .Field}}, {{json .}}, {{index .Field \"key\"}} or "
                    "{{range .Field}}{{.Part}}{{end}}")


@dataclass(frozen=True, slots=True)
class Field:
    """One pair of braces: the way to a value, () for all of the row; `of` is a variable of the range around it that it begins at."""

    path: tuple[str, ...]
    as_json: bool
    of: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """What stands once for each value of a list or a map; `key` and `item` are the variables that it has, "" for none."""

    path: tuple[str, ...]
    key: str
    item: str
    parts: tuple[str | Field, ...]


Part = str | Field | Range


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and fields in order; `headed`: as a table with headers, its columns divided by tabs."""

    parts: tuple[Part, ...]
    headed: bool


def parse(text: str) -> Template:
    """Raises InvalidValue where something between braces is not understood."""
    def wrong(why: str) -> InvalidValue:
        return InvalidValue(why, field="format", value=display_text(text))

    headed = text.startswith(_TABLE)
    body = text.removeprefix(_TABLE).replace("\\t", "\t").replace("\\n", "\n")
    outer: list[Part] = []
    inside: list[str | Field] = []
    ranged: Range | None = None
    at = 0
    for found in _BRACES.finditer(body):
        inner, before = found.group(1), body[at:found.start()]
        at = found.end()
        (outer if ranged is None else inside).append(before)
        if ranged is not None and inner.strip() == "end":
            outer.append(Range(ranged.path, ranged.key, ranged.item, tuple(part for part in inside if part != "")))
            ranged, inside = None, []
        elif ranged is None and (begun := _RANGE.match(inner)):
            key, item = (begun[1], begun[2]) if begun[2] else ("", begun[1] or "")
            ranged = Range(tuple(begun[3].split(".")[1:]), key, item, ())
        else:
            field = _field(inner, ("", ranged.key, ranged.item) if ranged is not None else ("",))
            if field is None:
                raise wrong(f"{display_text(found.group(0))} is not understood: {_EXPECTED} (jq takes --format json apart)")
            (outer if ranged is None else inside).append(field)
    rest = body[at:]
    if "{{" in rest or "}}" in rest:
        raise wrong(f"{display_text(text)!r} has a brace that is not closed")
    if ranged is not None:
        raise wrong(f"{{{{range .{'.'.join(ranged.path)}}}}} is not closed: expected {{{{end}}}} behind it")
    return Template(tuple(part for part in (*outer, rest) if part != ""), headed)


def _field(inner: str, variables: Sequence[str]) -> Field | None:
    """What stands between braces, None where it is none."""
    if indexed := _INDEX.match(inner):
        keys = (quoted or number for quoted, number in _KEY.findall(indexed[2]))
        return Field((*indexed[1].split(".")[1:], *keys, *indexed[3].split(".")[1:]), False)
    found = _FIELD.match(inner)
    if found is None or ("." not in inner and not found[2]) or (found[2] or "") not in variables:
        return None
    return Field(tuple(found[3].split(".")) if found[3] else (), bool(found[1]), found[2] or "")


def is_template(text: str) -> bool:
    """Whether it is meant for one, be it right or wrong."""
    return "{{" in text or text.startswith(_TABLE)


def render(template: Template, rows: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None) -> str:
    """A line for each row, with `headers` of fields in a table. Raises InvalidValue for a field that a row has not."""
    lines = ["".join(_written(part, row) for part in template.parts) for row in rows]
    if not template.headed:
        return "".join(f"{line}\n" for line in lines)
    titles = "".join(part if isinstance(part, str) else (headers or {}).get(part.path[-1], part.path[-1].upper()) if part.path else ""
                     for part in template.parts)
    cells = [line.split("\t") for line in (titles, *lines)]
    columns = max(map(len, cells))
    padded = [[*row, *[""] * (columns - len(row))] for row in cells]
    return table(padded[0], padded[1:])


def _written(part: Part, row: Mapping[str, Any]) -> str:
    if isinstance(part, str):
        return part
    value = _value(row, part.path)
    if isinstance(part, Field):
        return _text(value, part)
    if isinstance(value, Mapping):
        pairs: list[tuple[Any, Any]] = sorted(value.items())
    elif isinstance(value, list | tuple):
        pairs = list(enumerate(value))
    else:
        raise InvalidValue(f".{'.'.join(part.path)} is neither a list nor a map: expected {{{{.{'.'.join(part.path)}}}}}", field="format",
                           value=display_text(".".join(part.path)))
    return "".join(inner if isinstance(inner, str) else
                   _text(_value({"": item, part.item: item, part.key: key}[inner.of] if inner.of else item, inner.path), inner)
                   for key, item in pairs for inner in part.parts)


def _value(row: Any, path: Sequence[str]) -> Any:
    value: Any = row
    for index, name in enumerate(path):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
            continue
        if isinstance(value, list | tuple) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
            continue
        known = sorted(map(str, value)) if isinstance(value, Mapping) else []
        below = f" in .{'.'.join(path[:index])}" if index else ""
        near = next((other for other in known if other.lower() == name.lower()), "")
        hint = f" (did you mean '{display_text(near)}'?)" if near else suggestion(name, known)
        raise InvalidValue(f"no field {display_text(name)!r}{below}{hint}: "
                           + (f"known are {', '.join(map(display_text, known))}" if known else "nothing is below it"),
                           field="format", value=display_text(name))
    return value


def _text(value: Any, field: Field) -> str:
    if field.as_json or isinstance(value, Mapping | list | tuple):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else display_text(str(value))
