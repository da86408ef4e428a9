"""``--format`` with a template: what people type of Go's, as docker takes it: fields, ``json``, ``table``. Pure.

``{{.Name}}``, ``{{ .State.Status }}``, ``{{json .}}``, ``{{json .Labels}}``, and ``table {{.ID}}\\t{{.Name}}`` with headers. ``\\t`` and
``\\n`` stand for a tab and a line feed.
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
_FIELD: Final = re.compile(r"\s*(json\s+)?\.([\w-]+(?:\.[\w-]+)*)?\s*\Z", re.ASCII)
_TABLE: Final = "table "
_RANGE: Final = re.compile(r"\s*range\s+(?:\$\w+(?:\s*,\s*\$\w+)?\s*:=\s*)?((?:\.[\w-]+)+)\s*\Z", re.ASCII)
_FIELD_INSIDE: Final = re.compile(r"\{\{\s*(?:json\s+)?(?:\$\w+)?((?:\.[\w-]+)+)\s*\}\}", re.ASCII)
_INDEX: Final = re.compile(r"\s*\(?\s*index\s+((?:\.[\w-]+)+)((?:\s+[\"`][\w-]+[\"`])+)\s*\)?((?:\.[\w-]+)*)\s*\Z", re.ASCII)
_QUOTED: Final = re.compile(r"[\w-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One pair of braces: the way to a value, () for all of the row."""

    path: tuple[str, ...]
    as_json: bool


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and fields in order; `headed`: as a table with headers, its columns divided by tabs."""

    parts: tuple[str | Field, ...]
    headed: bool


def parse(text: str) -> Template:
    """Raises InvalidValue where something between braces is not understood."""
    headed = text.startswith(_TABLE)
    body = text.removeprefix(_TABLE).replace("\\t", "\t").replace("\\n", "\n")
    parts: list[str | Field] = []
    at = 0
    for found in _BRACES.finditer(body):
        inner = _FIELD.match(found.group(1))
        if inner is None:
            raise InvalidValue(f"{display_text(found.group(0))} is not understood: {_instead(found.group(1), body[found.end():])} "
                               "(jq takes --format json apart)", field="format", value=display_text(text))
        parts += [body[at:found.start()], Field(tuple((inner.group(2) or "").split(".")) if inner.group(2) else (), bool(inner.group(1)))]
        at = found.end()
    rest = body[at:]
    if "{{" in rest or "}}" in rest:
        raise InvalidValue(f"{display_text(text)!r} has a brace that is not closed", field="format", value=display_text(text))
    return Template(tuple(part for part in (*parts, rest) if part != ""), headed)


def _instead(inner: str, rest: str) -> str:
    """What to write for a function of Go's that docker's users know; `rest` is the text behind its braces."""
    if ranged := _RANGE.match(inner):
        below = _FIELD_INSIDE.search(rest)
        return (f"expected {{{{{ranged[1]}.NAME{below[1] if below else ''}}}}} with the name of the one you want, "
                f"or all of them by {{{{json {ranged[1]}}}}}")
    if indexed := _INDEX.match(inner):
        return f"expected {{{{{indexed[1]}.{'.'.join(_QUOTED.findall(indexed[2]))}{indexed[3]}}}}}"
    return "expected {{.Field}}, {{.Field.Part}}, {{json .Field}} or {{json .}}"


def is_template(text: str) -> bool:
    """Whether it is meant for one, be it right or wrong."""
    return "{{" in text or text.startswith(_TABLE)


def render(template: Template, rows: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None) -> str:
    """A line for each row, with `headers` of fields in a table. Raises InvalidValue for a field that a row has not."""
    lines = ["".join(part if isinstance(part, str) else _text(_value(row, part.path), part) for part in template.parts) for row in rows]
    if not template.headed:
        return "".join(f"{line}\n" for line in lines)
    titles = "".join(part if isinstance(part, str) else (headers or {}).get(part.path[-1], part.path[-1].upper()) if part.path else ""
                     for part in template.parts)
    cells = [line.split("\t") for line in (titles, *lines)]
    columns = max(map(len, cells))
    padded = [[*row, *[""] * (columns - len(row))] for row in cells]
    return table(padded[0], padded[1:])


def _value(row: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = row
    for index, name in enumerate(path):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
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
