"""A list as CSV, JSON or Markdown. Pure, but for `write`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from protocol.errors import InvalidValue
from protocol.names import display_text
from tui.widgets.table_columns import Cell, Kind
from tui.widgets.table_model import TableModel

Rows: TypeAlias = "Sequence[Sequence[Cell | None]]"


def content(model: TableModel) -> tuple[list[str], list[list[Cell | None]]]:
    """Column ids and rows as shown: filtered and sorted, all columns, numbers whole."""
    names = [column.id for column in model.columns if column.kind is not Kind.SPARKLINE]
    return names, [[_plain(model.value(key, name)) for name in names] for key in model.shown_keys()]


def _plain(value: Cell | None) -> Cell | None:
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else round(value, 3)
    return display_text(value) if isinstance(value, str) else value


def as_csv(names: Sequence[str], rows: Rows) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return out.getvalue()


def as_json(names: Sequence[str], rows: Rows) -> str:
    return json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2) + "\n"


def as_markdown(names: Sequence[str], rows: Rows) -> str:
    def line(cells: Sequence[Cell | None]) -> str:
        return "| " + " | ".join("" if cell is None else _escaped(str(cell)) for cell in cells) + " |"

    return "\n".join([line(names), "|" + " --- |" * len(names), *map(line, rows)]) + "\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\|`*_<>[]" else char for char in text)


FORMATS: Final[dict[str, Callable[[Sequence[str], Rows], str]]] = {".csv": as_csv, ".json": as_json, ".md": as_markdown}


def write(path: Path, model: TableModel) -> int:
    """Write the list to a new file, in the format of its suffix; returns the number of rows.

    Raises InvalidValue for another suffix, and where the file exists or can't be made.
    """
    make = FORMATS.get(path.suffix.lower())
    if make is None:
        raise InvalidValue(f"{display_text(path.name)!r} has no known suffix: expected one of {', '.join(FORMATS)}",
                           field="file", value=display_text(str(path)), expected=", ".join(FORMATS))
    names, rows = content(model)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(make(names, rows))
    except OSError as error:
        raise InvalidValue(f"{display_text(str(path))} can't be written: {error.strerror}", field="file",
                           value=display_text(str(path))) from error
    return len(rows)
