"""The themes: dark, light, and one of the terminal's own 16 colours.

`VARIABLES` are what `netdeck.tcss` uses beyond Textual's; every other theme gets them from `defaults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from textual.theme import Theme

DARK: Final = "netdeck-dark"
LIGHT: Final = "netdeck-light"
ANSI: Final = "netdeck-16"

#: For themes that say nothing of them, in Textual's own variables.
DEFAULTS: Final[dict[str, str]] = {
    "border-calm": "#5a6472",
    "border-active": "#5aa9e6",
    "header": "#8b97a8",
    "row-cursor": "#264867",
    "row-cursor-text": "#ffffff",
    "row-cursor-away": "#2a313c",
    "row-cursor-style": "bold",
    "tab": "#8b97a8",
    "tab-active": "#ffffff",
    "tab-active-background": "#264867",
    "key": "#5aa9e6",
    "badge": "#10141b",
    "badge-background": "#e5b567",
    "sparkline": "#5fb3a8",
}

THEMES: Final[tuple[Theme, ...]] = (
    Theme(
        name=DARK,
        primary="#5aa9e6", secondary="#7c8ba1", accent="#7fcabb", success="#7fc784", warning="#e5b567", error="#f07178",
        foreground="#cfd7e3", background="#0f131a", surface="#0f131a", panel="#1a212c",
        dark=True,
        variables={
            **DEFAULTS,
            "border-calm": "#343e4d",
            "text-muted": "#7f8b9b",
            "text-primary": "#6fb6ec",
            "text-accent": "#7fcabb",
            "text-success": "#7fc784",
            "text-warning": "#e5b567",
            "text-error": "#f07178",
            "scrollbar": "#343e4d",
            "scrollbar-background": "#141a23",
            "input-selection-background": "#5aa9e6 35%",
        },
    ),
    Theme(
        name=LIGHT,
        primary="#1f6fb2", secondary="#5b6778", accent="#0f766e", success="#2b7a34", warning="#8f5a00", error="#b3261e",
        foreground="#1f2733", background="#f7f8fa", surface="#f7f8fa", panel="#e6eaf0",
        dark=False,
        variables={
            "border-calm": "#b9c2cf",
            "border-active": "#1f6fb2",
            "header": "#5b6778",
            "row-cursor": "#cfe3f5",
            "row-cursor-text": "#0b1826",
            "row-cursor-away": "#e6eaf0",
            "row-cursor-style": "bold",
            "tab": "#5b6778",
            "tab-active": "#ffffff",
            "tab-active-background": "#1f6fb2",
            "key": "#1f6fb2",
            "badge": "#ffffff",
            "badge-background": "#8f5a00",
            "sparkline": "#0f766e",
            "text-muted": "#667183",
            "text-primary": "#1f6fb2",
            "text-accent": "#0f766e",
            "text-success": "#2b7a34",
            "text-warning": "#8f5a00",
            "text-error": "#b3261e",
            "scrollbar": "#b9c2cf",
            "scrollbar-background": "#eceff4",
        },
    ),
    Theme(
        name=ANSI,
        ansi=True,
        primary="ansi_blue", secondary="ansi_cyan", accent="ansi_cyan", success="ansi_green", warning="ansi_yellow", error="ansi_red",
        foreground="ansi_default", background="ansi_default", surface="ansi_default", panel="ansi_default", boost="ansi_default",
        variables={
            "border-calm": "ansi_bright_black",
            "border-active": "ansi_blue",
            "header": "ansi_default",
            "row-cursor": "ansi_default",
            "row-cursor-text": "ansi_default",
            "row-cursor-away": "ansi_default",
            "row-cursor-style": "reverse",
            "tab": "ansi_default",
            "tab-active": "ansi_default",
            "tab-active-background": "ansi_default",
            "key": "ansi_blue",
            "badge": "ansi_black",
            "badge-background": "ansi_yellow",
            "sparkline": "ansi_cyan",
            "text-muted": "ansi_bright_black",
            "block-cursor-background": "ansi_blue",
            "block-cursor-foreground": "ansi_bright_white",
            "ansi-background": "ansi_black",
            "ansi-foreground": "ansi_white",
        },
    ),
)

NAMES: Final = tuple(theme.name for theme in THEMES)


def first_theme(color_system: str | None, no_color: bool, environ: Mapping[str, str]) -> str:
    """The theme to start with: the one asked for by NETDECK_THEME, the terminal's colours where there are only 16 or none."""
    asked = environ.get("NETDECK_THEME", "")
    if asked in NAMES:
        return asked
    return ANSI if no_color or color_system in ("standard", "windows") else DARK
