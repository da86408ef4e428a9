"""What a terminal shows, as SVG: every word on its place in the grid, whatever font the viewer has. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

import pyte
from pyte.screens import Char

FONT = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"
FONT_SIZE = 16.0
CELL = 9.63  # DejaVu Sans Mono: 1233 of 2048 units wide
LINE = 19.0
ASCENT = 14.8
MARGIN = 14.0
BAR = 34.0

# Lines and blocks are drawn as shapes, so that they join without seams: strokes in units of half a cell from its middle.
_ARMS = {
    "─": "lr", "│": "ud", "┌": "dr", "┐": "dl", "└": "ur", "┘": "ul", "├": "udr", "┤": "udl", "┬": "dlr", "┴": "ulr", "┼": "udlr",
}
_ROUND = {"╭": (1, 1), "╮": (-1, 1), "╰": (1, -1), "╯": (-1, -1)}
_LOWER = "▁▂▃▄▅▆▇█"
_LEFT = "▏▎▍▌▋▊▉"
_SIXTEEN = {
    "black": "#1c1f26", "red": "#d05a63", "green": "#6cb46f", "brown": "#cfa14f", "blue": "#4c93cd", "magenta": "#b277c4",
    "cyan": "#5fb3a8", "white": "#cfd7e3", "brightblack": "#7f8b9b", "brightwhite": "#ffffff",
}


@dataclass(frozen=True)
class Look:
    """How a run of cells is drawn."""

    ink: str
    paper: str
    bold: bool
    italics: bool
    underscore: bool


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return _SIXTEEN.get(name) or _SIXTEEN.get(name.removeprefix("bright"), f"#{name}")


def _look(char: Char, ink: str, paper: str) -> Look:
    front, back = _colour(char.fg, ink), _colour(char.bg, paper)
    if char.reverse:
        front, back = back, front
    return Look(front, back, char.bold, char.italics, char.underscore)


def svg(screen: pyte.Screen, title: str = "netdeck") -> str:
    """The screen in a window of its own. Its colours of ground are those of most cells."""
    cells = [[screen.buffer[row][column] for column in range(screen.columns)] for row in range(screen.lines)]
    papers = [char.bg for row in cells for char in row]
    paper = _colour(max(set(papers), key=papers.count), "#0f131a")
    light = sum(int(paper[at:at + 2], 16) for at in (1, 3, 5)) > 380
    ink, edge, soft = ("#1f2733", "#b9c2cf", "#667183") if light else ("#cfd7e3", "#343e4d", "#7f8b9b")
    width, height = screen.columns * CELL + 2 * MARGIN, screen.lines * LINE + BAR + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}" height="{height:.0f}">',
        f'<style>text{{font-family:{FONT};font-size:{FONT_SIZE:g}px;white-space:pre}}</style>',
        f'<rect x="0.5" y="0.5" width="{width - 1:.1f}" height="{height - 1:.1f}" rx="9" fill="{paper}" stroke="{edge}"/>',
        *(f'<circle cx="{20 + 19 * at}" cy="17" r="5.5" fill="{fill}"/>' for at, fill in enumerate(("#ec6a5e", "#f4bf4f", "#61c554"))),
        f'<text x="{width / 2:.0f}" y="22" text-anchor="middle" fill="{soft}" style="font-size:13px">{escape(title)}</text>',
    ]
    looks = [[_look(char, ink, paper) for char in row] for row in cells]
    for row, (chars, row_looks) in enumerate(zip(cells, looks, strict=True)):
        top = BAR + row * LINE
        parts += _papers(row_looks, top, paper)
        parts += _inks([char.data for char in chars], row_looks, top)
    return "\n".join([*parts, "</svg>", ""])


def _papers(looks: list[Look], top: float, paper: str) -> Iterator[str]:
    column = 0
    for fill, run in groupby(looks, key=lambda look: look.paper):
        count = len(list(run))
        if fill != paper:
            yield f'<rect x="{_x(column):.2f}" y="{top:g}" width="{count * CELL:.2f}" height="{LINE:g}" fill="{fill}"/>'
        column += count


def _inks(texts: list[str], looks: list[Look], top: float) -> Iterator[str]:
    for look, run in groupby(enumerate(looks), key=lambda pair: pair[1]):
        columns = [column for column, _ in run]
        written = []
        for column in columns:
            shape = _shape(texts[column], _x(column), top, look.ink)
            if shape:
                yield shape
            elif texts[column].strip():
                written.append(column)
        if look.underscore:
            yield (f'<rect x="{_x(columns[0]):.2f}" y="{top + ASCENT + 1.5:.1f}" width="{len(columns) * CELL:.2f}" height="1" '
                   f'fill="{look.ink}"/>')
        style = ' font-weight="bold"' * look.bold + ' font-style="italic"' * look.italics
        for first, word in _words(written, texts):
            # The length is for viewers that have another font.
            yield (f'<text x="{_x(first):.2f}" y="{top + ASCENT:.1f}" textLength="{len(word) * CELL:.2f}" fill="{look.ink}"{style}>'
                   f"{escape(word)}</text>")


def _words(columns: list[int], texts: list[str]) -> Iterator[tuple[int, str]]:
    """Neighbouring characters together, with the column of the first."""
    for _, run in groupby(enumerate(columns), key=lambda pair: pair[1] - pair[0]):
        found = [column for _, column in run]
        yield found[0], "".join(texts[column] for column in found)


def _x(column: int) -> float:
    return MARGIN + column * CELL


def _shape(char: str, left: float, top: float, ink: str) -> str:
    """Lines of boxes and parts of blocks; "" for what the font draws."""
    middle, centre = left + CELL / 2, top + LINE / 2
    if char in _ARMS:
        ends = {"l": (left, centre), "r": (left + CELL, centre), "u": (middle, top), "d": (middle, top + LINE)}
        path = "".join(f"M{middle:.2f} {centre:.2f}L{ends[arm][0]:.2f} {ends[arm][1]:.2f}" for arm in _ARMS[char])
        return f'<path d="{path}" stroke="{ink}" stroke-width="1.2" fill="none"/>'
    if char in _ROUND:
        across, down = _ROUND[char]
        path = (f"M{middle:.2f} {centre + down * LINE / 2:.2f}Q{middle:.2f} {centre:.2f} {middle + across * CELL / 2:.2f} {centre:.2f}")
        return f'<path d="{path}" stroke="{ink}" stroke-width="1.2" fill="none"/>'
    if char and char in _LOWER:
        height = (_LOWER.index(char) + 1) / 8 * LINE
        # A little more than its cell, so that neighbours have no seam between them.
        return f'<rect x="{left:.2f}" y="{top + LINE - height:.2f}" width="{CELL + 0.3:.2f}" height="{height + 0.3:.2f}" fill="{ink}"/>'
    if char and char in _LEFT:
        width = (_LEFT.index(char) + 1) / 8 * CELL
        return f'<rect x="{left:.2f}" y="{top:g}" width="{width:.2f}" height="{LINE:g}" fill="{ink}"/>'
    return ""
