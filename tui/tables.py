"""Plain tables and JSON for standard output. Every cell may hold hostile text and is escaped before it is shown."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from protocol.names import display_text

_GAP = "   "  # docker's
_LEAST = 6  # cells; a column is not cut below this


def cell_width(text: str) -> int:
    """How many cells a terminal uses for `text` (wide characters take two, combining ones none)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """`text`, shortened with an ellipsis where it takes more than `width` cells."""
    if cell_width(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += cell_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None, *, numbers: Collection[str] = (),
          whole: Collection[str] = ()) -> str:
    """Aligned columns under `headers`, those of `numbers` at their right end; with `width`, the widest columns but those of `whole` are
    cut until a line fits into so many cells, and nothing where that would not be enough. Without, nothing is cut and the terminal wraps:
    for tables of what somebody looks for or copies.

    The last column is not padded on its right, so lines have no trailing blanks. Ends with a line feed.
    """
    cells = [[display_text(cell) for cell in row] for row in rows]
    widths = [max([cell_width(header), *(cell_width(row[index]) for row in cells)])
              for index, header in enumerate(headers)]
    if width is not None:
        cuttable = [index for index, header in enumerate(headers) if header not in whole]
        room = width - len(_GAP) * (len(headers) - 1) - sum(widths) + sum(widths[index] for index in cuttable)
        if sum(min(widths[index], _LEAST) for index in cuttable) <= room:
            for index, fitted in zip(cuttable, _fitted([widths[index] for index in cuttable], room), strict=True):
                widths[index] = fitted
    right = [header in numbers for header in headers]
    return "".join(_line(row, widths, right) for row in ([*headers], *cells))


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > _LEAST:
        widest = fitted.index(max(fitted))
        others = sorted(set(fitted), reverse=True)
        least = others[1] if len(others) > 1 else _LEAST
        fitted[widest] = max(_LEAST, least - 1, fitted[widest] - (sum(fitted) - room))
    return fitted


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for cell, width, at_right in zip(row, widths, right, strict=True):
        text = cut(cell, width)
        blanks = " " * (width - cell_width(text))
        parts.append(blanks + text if at_right else text + blanks)
    return _GAP.join(parts).rstrip() + "\n"


def as_json(value: Any, *, indent: int | None = 4) -> str:
    """`value` as JSON, ASCII only, so that no name can act on a terminal. Bytes become base64. Ends with a line feed."""
    return json.dumps(value, indent=indent, default=_plain) + "\n"


def _plain(value: object) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def terminal_width() -> int | None:
    """Cells of a line on standard output, None where that is no terminal and nothing should be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def short_id(value: str) -> str:
    """The first twelve characters, which docker shows too."""
    return value[:12]


def size(count: float) -> str:
    """Bytes for people: ``12.3MB``, in powers of 1000 as docker prints them."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.0f}{unit}" if unit == "B" else f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}PB"


def plan_text(plan: Mapping[str, Any]) -> str:
    """A plan for people: its steps, then the commands that do the same by hand."""
    marks = {"create": "+", "change": "~", "delete": "-"}
    lines = ["Steps:"]
    lines += [f"  {marks.get(str(step['action']), '?')} {display_text(str(step['text']))}" for step in plan["steps"]]
    if not plan["steps"]:
        lines.append("  nothing to do")
    if plan["commands"]:
        lines.append("Commands:")
        for command in plan["commands"]:
            lines += [f"  {display_text(line)}" for line in str(command).split("\n")]
    return "\n".join(lines) + "\n"
