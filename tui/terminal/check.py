"""The check at the start: are Textual's private parts still what this package was written against?

Where they are not, the program runs with Textual's own output and driver: slower on slow links, never wrong.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import textual
from textual import _compositor
from textual.app import App
from textual.drivers._writer_thread import WriterThread
from textual.drivers.linux_driver import LinuxDriver

#: The one version whose private parts were read and tested.
TEXTUAL: Final = "8.2.8"
#: Set to 1, Textual's own output and driver are used.
STOCK_VARIABLE: Final = "NETDECK_STOCK_OUTPUT"


@dataclass(frozen=True, slots=True)
class TerminalCheck:
    """`usable`, or the `reasons` why Textual's own output is used instead."""

    usable: bool
    reasons: tuple[str, ...]


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _signature(owner: type[object], name: str, expected: tuple[str, ...]) -> str | None:
    function = getattr(owner, name, None)
    if function is None:
        return f"{owner.__name__}.{name} is gone"
    found = _parameters(function)
    return None if found == expected else f"{owner.__name__}.{name} takes {found}, expected {expected}"


_SIGNATURES: Final[tuple[tuple[type[object], str, tuple[str, ...]], ...]] = (
    (App, "_display", ("self", "screen", "renderable")),
    (App, "post_display_hook", ("self",)),
    (_compositor.ChopsUpdate, "__init__", ("self", "chops", "spans", "chop_ends")),
    (_compositor.LayoutUpdate, "__init__", ("self", "strips", "region")),
    (WriterThread, "__init__", ("self", "file")),
    (LinuxDriver, "__init__", ("self", "app", "debug", "mouse", "size")),
    (LinuxDriver, "write", ("self", "data")),
    (LinuxDriver, "start_application_mode", ("self",)),
    (LinuxDriver, "process_message", ("self", "message")),
    (LinuxDriver, "_enable_mouse_support", ("self",)),
    (LinuxDriver, "_disable_mouse_support", ("self",)),
    (LinuxDriver, "_request_terminal_sync_mode_support", ("self",)),
)
_NAMES_USED: Final[tuple[tuple[Callable[..., Any], tuple[str, ...]], ...]] = (
    (App.__init__, ("_batch_count", "_sync_available", "_previous_cursor_position")),
    (WriterThread.__init__, ("_queue",)),
    (LinuxDriver.__init__, ("_writer_thread",)),
)


def problems(version: str = textual.__version__) -> list[str]:
    """What is not as expected, in words; empty when all is."""
    found = [] if version == TEXTUAL else [f"textual {version} is installed, {TEXTUAL} was tested"]
    for owner, name, expected in _SIGNATURES:
        if problem := _signature(owner, name, expected):
            found.append(problem)
    for function, names in _NAMES_USED:
        known = function.__code__.co_names
        found += [f"{function.__qualname__} no longer sets {name}" for name in names if name not in known]
    return found


@cache
def _problems_once() -> tuple[str, ...]:
    return tuple(problems())


def check_terminal(environ: Mapping[str, str] = os.environ) -> TerminalCheck:
    """Whether cell-diff output, pacing and our driver can be used here."""
    reasons = _problems_once()
    if environ.get(STOCK_VARIABLE) == "1":
        reasons = (f"{STOCK_VARIABLE} is set", *reasons)
    if environ.get("TEXTUAL_DRIVER"):
        reasons = ("TEXTUAL_DRIVER names another driver", *reasons)
    return TerminalCheck(not reasons, reasons)
