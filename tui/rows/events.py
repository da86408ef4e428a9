"""Rows of the Events table. Pure."""

from __future__ import annotations

import time
from typing import Final

from protocol.model import LogEntry
from tui.widgets.glyphs import ASCII, Glyphs
from tui.widgets.table_columns import Cell, Column, Kind

_WORDS: Final = {"info": ("·", ".", "info"), "notice": ("•", "*", "notice"), "warning": ("!", "!", "WARN"), "error": ("✗", "x", "ERROR")}
_TONES: Final = {"info": "muted", "notice": "", "warning": "warn", "error": "bad"}


def key_of(entry: LogEntry) -> str:
    """Names an entry, over restarts of the helper too."""
    return f"{entry.seq}@{entry.time!r}"


def clock_text(value: Cell) -> str:
    """Local time of day with milliseconds."""
    moment = float(value)
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"


def level_tone(value: Cell) -> str:
    return _TONES.get(str(value), "")


def columns(glyphs: Glyphs) -> tuple[Column, ...]:
    def level_text(value: Cell) -> str:
        unicode, ascii_sign, word = _WORDS.get(str(value), ("·", ".", str(value)))
        return f"{ascii_sign if glyphs is ASCII else unicode} {word}"

    return (
        Column("time", "TIME", 12, Kind.NUMBER, formatter=clock_text, tone=lambda value: "muted"),
        Column("level", "LEVEL", 8, formatter=level_text, tone=level_tone),
        Column("where", "WHERE", 14),
        Column("kind", "KIND", 9),
        Column("action", "ACTION", 12),
        Column("subject", "SUBJECT", 16),
        Column("text", "TEXT", 24, priority=1, stretch=True),
        Column("actor", "BY", 8, priority=2),
    )


def row(entry: LogEntry) -> dict[str, object]:
    return {
        "time": entry.time,
        "level": entry.level,
        "where": entry.where,
        "kind": entry.kind,
        "action": entry.action,
        "subject": entry.subject,
        "text": entry.text,
        "actor": entry.actor,
    }
