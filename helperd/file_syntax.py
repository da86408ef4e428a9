"""What is wrong with a configuration file that can't be read at all: on which line, in which words, and what to write instead. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Final

from protocol.names import display_text

_SHOWN: Final = 60  # characters of a line that are repeated
_KEY: Final = r"\s*(?P<key>[A-Za-z0-9_.\"'-]+)"
_ASSIGNED: Final = re.compile(rf"{_KEY}\s*=\s*(?P<value>[^\s#\[{{].*?)\s*(?:#.*)?\Z")
_UNASSIGNED: Final = re.compile(rf"{_KEY}\s*[:\s]\s*(?P<value>[^\s=].*?)\s*\Z")
_OPEN: Final = {"Expected \"'\"": "'", "Unterminated string": '"', "Illegal character '\\n'": '"'}  # words of tomllib: a quote of this kind
_SWITCHES: Final = {"yes": "true", "on": "true", "no": "false", "off": "false", "true": "true", "false": "false"}
_CURLED: Final = re.compile("[\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}"
                            "\N{RIGHT SINGLE QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}]")


def toml_syntax(words: str, text: str) -> tuple[int, str]:
    """The line, and what is said, of tomllib's `words`, which end with ``(at line 3, column 5)`` or ``(at end of document)``."""
    what, _, where = words.rpartition(" (at line ")
    number = where.partition(",")[0]
    lines = text.rstrip("\n").split("\n")
    at = int(number) if number.isdecimal() else len(lines)
    if not number.isdecimal():
        what = words.removesuffix(" (at end of document)")
    if what in _OPEN:  # told of the end of the file, or of the next line
        at = next((place for place, line in enumerate(lines, 1) if line.partition("#")[0].count(_OPEN[what]) % 2), at)
    line = lines[at - 1].strip() if at <= len(lines) else ""
    return at, f"{_cut(line)!r} is not TOML: {_remedy(line, what)}" if line else f"is not TOML: {_lower(what)}"


def _remedy(line: str, what: str) -> str:
    """What to write instead of `line`, as far as that can be seen; else `what` tomllib said."""
    if "Cannot overwrite" in what or "twice" in what:
        return "what it sets is set further up already: leave out one of the two"
    if what in _OPEN:
        return f"the quote {_OPEN[what]} is not closed"
    if _CURLED.search(line):
        return "quotes are the straight ones, \" or '"
    found = _ASSIGNED.match(line)
    if found is not None and not _right(line):
        key, value = found["key"], found["value"]
        if value[0] not in "\"'" and value[-1] not in "\"'" and "=" not in value:
            meant = _SWITCHES.get(value.lower())
            return f"expected {key} = {meant}" if meant else f"a text stands in quotes: {key} = \"{_cut(value)}\""
    found = _UNASSIGNED.match(line)
    if found is not None and "Expected '=' after" in what:
        return f"a = stands between a key and its value: {found['key']} = {_cut(found['value'])}"
    return _lower(what)


def _right(line: str) -> bool:
    """Whether there is nothing wrong with it by itself."""
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def json_syntax(text: str) -> tuple[int, str] | None:
    """The line, and what is said, of a file that begins as JSON does (no TOML begins with a brace); None where it is right, or no JSON."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno, _json_words(error)
    except RecursionError:
        return 1, "is JSON that is nested too deeply"
    return None


def _json_words(error: json.JSONDecodeError) -> str:
    lines = error.doc.split("\n")
    line = lines[error.lineno - 1].strip()
    if error.msg.startswith("Expecting ',' delimiter"):
        why = "a comma, or a closing bracket, is missing before it" if not lines[error.lineno - 1][:error.colno - 1].strip() else \
            f"a comma, or a closing bracket, is missing before column {error.colno}"
    elif error.msg.startswith("Expecting property name") or "trailing comma" in error.msg:
        why = "expected a key in double quotes: no comma stands behind the last one"
    elif error.msg.startswith("Expecting ':' delimiter"):
        why = "a colon stands between a key and its value"
    elif error.msg.startswith("Expecting value"):
        why = f"expected a value at column {error.colno}: a number, true, false, or a text in double quotes"
    else:
        why = f"{_lower(error.msg)}, at column {error.colno}"
    where = f"{_cut(line)!r} is not JSON" if line else "is not JSON"
    return f"{where}, though the file begins as docker's daemon.json does: {why}"


def _cut(line: str) -> str:
    shown = display_text(line)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN - 1] + "…"


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
