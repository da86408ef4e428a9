"""On which line of a TOML file each of its keys is set: what tomllib does not tell. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]  # keys from the top; a table of an array of tables has its number in it: ("pools", "0", "base")


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of its first line, what it says by itself) of each statement of a valid file.

    A part of a statement is never valid by itself, so the shortest run of lines that can be read is one.
    """
    start, lines = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            start = number
        lines += line + "\n"
        try:
            said = tomllib.loads(lines)
        except tomllib.TOMLDecodeError:
            continue
        yield start, said
        lines = ""


def key_lines(text: str) -> dict[Path, int]:
    """The line of every table and key of `text`, which is valid TOML; of what is set in several places, the first."""
    found: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, said in _statements(text):
        header = text.split("\n")[number - 1].lstrip().startswith("[")
        if header:
            table = _entered(said, counts)
        _note(found, () if header else table, said, number, counts)
    return found


def _entered(said: Mapping[str, Any], counts: dict[Path, int]) -> Path:
    """The path of the table that a header opens; the tables of an array are counted."""
    path: Path = ()
    value: Any = said
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        path = (*path, name)
        if isinstance(value, list):
            counts[path] = counts.get(path, -1) + 1
            path, value = (*path, str(counts[path])), value[0]
        elif path in counts:
            path = (*path, str(counts[path]))
    return path


def _note(found: dict[Path, int], at: Path, value: Any, number: int, counts: Mapping[Path, int]) -> None:
    if at:
        found.setdefault(at, number)
    if isinstance(value, dict):
        for name, inner in value.items():
            _note(found, (*at, name), inner, number, counts)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            if isinstance(inner, dict):
                _note(found, (*at, str(counts.get(at, place))), inner, number, counts)
