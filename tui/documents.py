"""Pages of text for the details and the help screen: headings, fields, paragraphs, JSON. Laid out for a width. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocol.names import display_text
from tui.tables import cell_width

_JSON_LINE: Final = re.compile(r'^(\s*)("(?:[^"\\]|\\.)*")(: )?(.*)$')


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one tone: "", heading, label, good, bad, warn, muted, number, accent."""

    text: str
    tone: str = ""


Line = tuple[Span, ...]


class Page:
    """Lines of `width` cells, one after the other. Whatever text comes in is made harmless."""

    def __init__(self, width: int) -> None:
        self.width = max(10, width)
        self.lines: list[Line] = []

    def blank(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append(())

    def heading(self, text: str, note: str = "") -> None:
        """A heading, with a blank line before it unless it is the first."""
        self.blank()
        self.lines.append((Span(display_text(text), "heading"), Span(f"  {display_text(note)}" if note else "", "muted")))

    def field(self, label: str, value: str, tone: str = "", labels: int = 12) -> None:
        """A label and its value, which goes on below itself where it is long. An empty value is left out."""
        if not value:
            return
        left = f"{label:<{labels}} "
        for index, part in enumerate(wrap(display_text(value), self.width - len(left))):
            self.lines.append((Span(left if index == 0 else " " * len(left), "label"), Span(part, tone)))

    def text(self, text: str, tone: str = "") -> None:
        """A paragraph."""
        for part in wrap(display_text(text), self.width):
            self.lines.append((Span(part, tone),))

    def raw(self, *spans: Span) -> None:
        """One line as it is; its text must be harmless already."""
        self.lines.append(spans)

    def json(self, value: Any) -> None:
        """A value as JSON, names apart from values."""
        for text in json_text(value).splitlines():
            found = _JSON_LINE.match(text)
            if found is None:
                line: Line = (Span(text),)
            elif found.group(3):
                rest = found.group(4)
                line = (Span(found.group(1)), Span(found.group(2), "label"), Span(": "), Span(rest, _json_tone(rest)))
            else:
                line = (Span(found.group(1)), Span(found.group(2), "accent"), Span(found.group(4)))
            self.lines += fold(line, self.width)


def fold(line: Line, width: int) -> list[Line]:
    """A line of characters of one cell each as lines of at most `width` cells; what goes on below stands further right."""
    lines: list[Line] = []
    spans, room = list(line), width
    indent = min(len(line[0].text) - len(line[0].text.lstrip(" ")) + 4, width // 2) if line else 0
    now: list[Span] = []
    while spans:
        span = spans.pop(0)
        if len(span.text) <= room:
            now.append(span)
            room -= len(span.text)
            continue
        now.append(Span(span.text[:room], span.tone))
        lines.append(tuple(now))
        now, room = [Span(" " * indent)], width - indent
        spans.insert(0, Span(span.text[len(lines[-1][-1].text):], span.tone))
    return [*lines, tuple(now)]


def json_text(value: Any) -> str:
    """JSON with two blanks of indent, ASCII only, so that nothing in it can act on a terminal."""
    return json.dumps(value, indent=2, default=str)


def _json_tone(value: str) -> str:
    if value.startswith('"'):
        return "accent"
    return "" if value[:1] in "{[" else "number"


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells: between words where it can be, else anywhere. Nothing is lost but blanks."""
    width = max(1, width)
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if cell_width(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        while cell_width(word) > width:
            size = _prefix(word, width)
            lines.append(word[:size])
            word = word[size:]
        line = word
    lines.append(line)
    return lines


def _prefix(word: str, width: int) -> int:
    used = 0
    for index, char in enumerate(word):
        used += cell_width(char)
        if used > width:
            return max(1, index)
    return len(word)


def plain_text(lines: Sequence[Line]) -> str:
    """Lines as text for the clipboard."""
    return "\n".join("".join(span.text for span in line).rstrip() for line in lines) + "\n"


def builtins(model: Any) -> Mapping[str, Any]:
    """A model of the protocol as a map, as it travels."""
    import msgspec

    value: Mapping[str, Any] = msgspec.to_builtins(model)
    return value
