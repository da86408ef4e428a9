"""What the terminal shows, cell by cell, and the fewest bytes that turn it into what it should show.

Two grids are kept: *wanted* (what the program painted last) and *shown* (what was already sent). `CellGrid.render`
writes the difference. A frame that could not be sent at once is therefore never queued: later ones merge into it.

Escape sequences are those of ECMA-48 (CUP, CUF, SGR, ECH, EL). Erasing with the current background colour ("bce" in
terminfo(5)) is used only where the caller says that the terminal does it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import split_graphemes
from rich.color import Color, ColorSystem
from rich.style import Style

from tui.terminal.cell_scroll import FEWEST, find_scroll

#: Nothing painted here yet, or nothing known of what the terminal shows here.
UNKNOWN: Final = -1
#: The face of text without any style.
PLAIN: Final = 0

_ATTRIBUTES: Final[tuple[tuple[str, str, str], ...]] = (
    ("bold", "1", "22"),
    ("dim", "2", "22"),
    ("italic", "3", "23"),
    ("underline", "4", "24"),
    ("blink", "5", "25"),
    ("blink2", "6", "25"),
    ("reverse", "7", "27"),
    ("conceal", "8", "28"),
    ("strike", "9", "29"),
    ("underline2", "21", "24"),
    ("frame", "51", "54"),
    ("encircle", "52", "54"),
    ("overline", "53", "55"),
)
_OFF: Final = {on: off for _, on, off in _ATTRIBUTES}
#: Attributes that can be seen on a space.
_SEEN_ON_BLANK: Final = frozenset({"4", "7", "9", "21", "51", "52", "53"})
#: Characters that would act on the terminal instead of being shown: C0, DEL, C1, and the bidirectional controls.
_CONTROLS: Final = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
#: Text in which every character is one cell and joins with no other: Latin, dashes and dots, arrows, lines, blocks.
_ONE_CELL_EACH: Final = re.compile("[ -~\u00a1-\u00ac\u00ae-\u02ff\u2010-\u2027\u2190-\u21ff\u2500-\u25fc]*")
_FACES_KEPT: Final = 4096
_REWRITE_GAP: Final = 4
_ERASE_RUN: Final = 9


@dataclass(frozen=True, slots=True)
class Face:
    """SGR parameters of a style: attribute codes, foreground and background, each ready to be joined by `;`."""

    attributes: tuple[str, ...] = ()
    foreground: str = ""
    background: str = ""

    def codes(self) -> list[str]:
        return [*self.attributes, *filter(None, (self.foreground, self.background))]


def face_of(style: Style, colors: ColorSystem) -> Face:
    """The face of a Rich style in a colour system; hyperlinks and meta data are left out."""
    return Face(
        tuple(on for name, on, _ in _ATTRIBUTES if getattr(style, name)),
        _color_codes(style.color, colors, foreground=True),
        _color_codes(style.bgcolor, colors, foreground=False),
    )


def _color_codes(color: Color | None, colors: ColorSystem, *, foreground: bool) -> str:
    if color is None or color.is_default:
        return ""
    return ";".join(color.downgrade(colors).get_ansi_codes(foreground=foreground))


def transition(old: Face, new: Face) -> str:
    """The shortest SGR sequence that turns the `old` face into the `new` one."""
    if old == new:
        return ""
    whole = new.codes()
    if not whole:
        return "\x1b[m"
    gone = [_OFF[code] for code in old.attributes if code not in new.attributes]
    steps = list(dict.fromkeys(gone))
    # 22 ends bold and dim alike, 24 both underlines: what shares an "off" code with something that ends is set again.
    steps += [code for code in new.attributes if code not in old.attributes or _OFF[code] in gone]
    if new.foreground != old.foreground:
        steps.append(new.foreground or "39")
    if new.background != old.background:
        steps.append(new.background or "49")
    return min("\x1b[" + ";".join(steps) + "m", "\x1b[0;" + ";".join(whole) + "m", key=len)


class Faces:
    """Numbers for faces, so that a row of them is compared as a list of small integers."""

    def __init__(self, colors: ColorSystem) -> None:
        self.colors = colors
        self._faces: list[Face] = [Face()]
        self._numbers: dict[Face, int] = {Face(): PLAIN}
        self._of_style: dict[Style, int] = {}
        self._blank: dict[int, int] = {}
        self._transitions: dict[tuple[int, int], str] = {}

    def number(self, style: Style | None) -> int:
        if style is None:
            return PLAIN
        found = self._of_style.get(style)
        if found is None:
            if len(self._of_style) >= _FACES_KEPT:
                self._of_style.clear()
            found = self._of_style[style] = self._number(face_of(style, self.colors))
        return found

    def blank(self, number: int) -> int:
        """The face of a space in this face: what cannot be seen on a space is dropped."""
        found = self._blank.get(number)
        if found is None:
            face = self._faces[number]
            seen = tuple(code for code in face.attributes if code in _SEEN_ON_BLANK)
            found = number if seen else self._number(Face((), "", face.background))
            self._blank[number] = found
        return found

    def erasable(self, number: int) -> bool:
        """Whether erasing in this face leaves the same as writing spaces (on a terminal with bce)."""
        return not self._faces[number].attributes

    def change(self, old: int, new: int) -> str:
        found = self._transitions.get((old, new))
        if found is None:
            if len(self._transitions) >= _FACES_KEPT:
                self._transitions.clear()
            found = self._transitions[old, new] = transition(self._faces[old], self._faces[new])
        return found

    def _number(self, face: Face) -> int:
        number = self._numbers.get(face)
        if number is None:
            number = self._numbers[face] = len(self._faces)
            self._faces.append(face)
        return number


class CellGrid:
    """Wanted and shown cells of a screen of `width` × `height`.

    A cell is its text (one grapheme; `""` for the right half of a wide one) and the number of its face.
    """

    def __init__(self, width: int, height: int, faces: Faces, *, erases_with_background: bool = False) -> None:
        self.width = width
        self.height = height
        self.faces = faces
        self._bce = erases_with_background
        self._text = [[" "] * width for _ in range(height)]
        self._face = [[UNKNOWN] * width for _ in range(height)]
        self._shown_text = [[" "] * width for _ in range(height)]
        self._shown_face = [[UNKNOWN] * width for _ in range(height)]
        self._dirty: dict[int, tuple[int, int]] = {}
        self._cursor: tuple[int, int] | None = None

    def forget(self) -> None:
        """Forget what the terminal shows: the next `render` writes every cell that was ever painted."""
        for row in self._shown_face:
            row[:] = [UNKNOWN] * self.width
        self._dirty = dict.fromkeys(range(self.height), (0, self.width))
        self._cursor = None

    @property
    def changed(self) -> bool:
        return bool(self._dirty)

    def put(self, x: int, y: int, text: str, face: int) -> int:
        """Paint `text` from cell `x` of line `y`; returns the column after it. What lies outside is cut off."""
        if _ONE_CELL_EACH.fullmatch(text):
            end = x + len(text)
            if 0 <= y < self.height and 0 <= x < self.width:
                stop = min(end, self.width)
                if not text.strip(" "):
                    face = self.faces.blank(face)
                self._text[y][x:stop] = text[: stop - x]
                self._face[y][x:stop] = [face] * (stop - x)
                self._touch(y, x, stop)
            return end
        return self._put_graphemes(x, y, text.translate(_CONTROLS), face)

    def _put_graphemes(self, x: int, y: int, text: str, face: int) -> int:
        start = x
        inside = 0 <= y < self.height
        spans, _ = split_graphemes(text)
        for first, last, width in spans:
            if width == 0:
                continue
            if inside and x >= 0 and x + width <= self.width:
                self._text[y][x] = text[first:last]
                self._face[y][x] = face
                for continuation in range(x + 1, x + width):
                    self._text[y][continuation] = ""
                    self._face[y][continuation] = face
            elif inside:  # half of it is outside: the other half is a space
                for half in range(max(x, 0), min(x + width, self.width)):
                    self._text[y][half] = " "
                    self._face[y][half] = face
            x += width
        if inside:
            self._touch(y, start, min(x, self.width))
        return x

    def _touch(self, y: int, start: int, stop: int) -> None:
        """Mark cells as painted; halves of wide characters left beside them become spaces, as on the terminal."""
        text = self._text[y]
        if 0 < start < self.width and text[start] != "" and self._wide_at(y, start - 1):
            text[start - 1] = " "
            start -= 1
        while stop < self.width and text[stop] == "" and not self._continues(y, stop):
            text[stop] = " "
            stop += 1
        known = self._dirty.get(y)
        self._dirty[y] = (start, stop) if known is None else (min(start, known[0]), max(stop, known[1]))

    def _wide_at(self, y: int, x: int) -> bool:
        """Whether the cell holds a grapheme that takes two cells."""
        text = self._text[y][x]
        return bool(text) and not text.isascii() and split_graphemes(text)[1] > 1

    def _continues(self, y: int, x: int) -> bool:
        """Whether the right half at `x` still has its left half."""
        return x > 0 and self._wide_at(y, x - 1)

    def render(self, cursor: tuple[int, int]) -> str:
        """The bytes that bring the terminal from *shown* to *wanted* and its cursor to column, line `cursor`.

        Assumes SGR is in its default state before, and leaves it so. Empty when nothing changed.
        """
        out: list[str] = []
        state = _Pen(out, self.faces, self._cursor)
        if self._scroll(out):
            state.position = (0, 0)
        for y in sorted(self._dirty):
            start, stop = self._dirty[y]
            text, face = self._text[y], self._face[y]
            shown_text, shown_face = self._shown_text[y], self._shown_face[y]
            if text[start:stop] != shown_text[start:stop] or face[start:stop] != shown_face[start:stop]:
                self._render_row(state, y, start, stop)
                shown_text[start:stop] = text[start:stop]
                shown_face[start:stop] = face[start:stop]
        self._dirty.clear()
        state.reset()
        if state.position != cursor:
            out.append(f"\x1b[{cursor[1] + 1};{cursor[0] + 1}H")
        self._cursor = cursor
        return "".join(out)

    def _scroll(self, out: list[str]) -> bool:
        """Have the terminal move rows that are on it already, where that saves something."""
        if len(self._dirty) < FEWEST:
            return False
        scroll = find_scroll(
            [(*row, *faces) for row, faces in zip(self._text, self._face, strict=True)],
            [(*row, *faces) for row, faces in zip(self._shown_text, self._shown_face, strict=True)],
        )
        if scroll is None:
            return False
        out.append(scroll.sequence())
        region = slice(scroll.top, scroll.bottom + 1)
        for rows, blank in ((self._shown_text, " "), (self._shown_face, UNKNOWN)):
            moved: list[list[Any]] = rows[region]
            fresh: list[list[Any]] = [[blank] * self.width for _ in range(abs(scroll.lines))]
            rows[region] = moved[scroll.lines :] + fresh if scroll.lines > 0 else fresh + moved[: scroll.lines]
        self._dirty.update((y, (0, self.width)) for y in range(scroll.top, scroll.bottom + 1))
        return True

    def _render_row(self, pen: _Pen, y: int, start: int, stop: int) -> None:
        text, face = self._text[y], self._face[y]
        shown_text, shown_face = self._shown_text[y], self._shown_face[y]
        x = start
        while x < stop:
            number = face[x]
            if number == UNKNOWN or text[x] == "" or (number == shown_face[x] and text[x] == shown_text[x]):
                x += 1
                continue
            self._move(pen, x, y)
            if self._bce and text[x] == " " and self.faces.erasable(number):
                run = x + 1
                while run < stop and text[run] == " " and face[run] == number:
                    run += 1
                if run - x >= _ERASE_RUN:
                    pen.erase(number, run - x, to_end=run == self.width)
                    x = run
                    continue
            x += pen.write(text[x], number, 2 if x + 1 < self.width and text[x + 1] == "" else 1)
            if x >= self.width:
                pen.position = None

    def _move(self, pen: _Pen, x: int, y: int) -> None:
        if pen.position is None or pen.position[1] != y or pen.position[0] > x:
            pen.go(x, y)
            return
        gap = range(pen.position[0], x)
        if not gap:
            return
        text, face = self._text[y], self._face[y]
        if len(gap) <= _REWRITE_GAP and all(
            face[cell] == pen.face and text[cell].isascii() and text[cell] for cell in gap
        ):
            pen.out.extend(text[cell] for cell in gap)
            pen.position = (x, y)
        else:
            pen.forward(len(gap))


class _Pen:
    """Where the terminal's cursor is (None: not known) and which face it writes in, while a frame is made."""

    __slots__ = ("face", "faces", "out", "position")

    def __init__(self, out: list[str], faces: Faces, position: tuple[int, int] | None) -> None:
        self.out = out
        self.faces = faces
        self.face = PLAIN
        self.position = position

    def go(self, x: int, y: int) -> None:
        self.out.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")
        self.position = (x, y)

    def forward(self, cells: int) -> None:
        assert self.position is not None
        self.out.append(f"\x1b[{cells}C" if cells > 1 else "\x1b[C")
        self.position = (self.position[0] + cells, self.position[1])

    def select(self, face: int) -> None:
        if face != self.face:
            self.out.append(self.faces.change(self.face, face))
            self.face = face

    def write(self, grapheme: str, face: int, width: int) -> int:
        self.select(face)
        if len(grapheme) > 1:
            # Terminals disagree about the width of combined characters: clear what a narrower one would leave,
            # and go to the next cell explicitly.
            self.out.append(f"  \x1b[2D{grapheme}" if width > 1 else grapheme)
            self.position = None
            return width
        self.out.append(grapheme)
        if self.position is None:
            return width
        self.position = (self.position[0] + width, self.position[1])
        return width

    def erase(self, face: int, cells: int, *, to_end: bool) -> None:
        self.select(face)
        self.out.append("\x1b[K" if to_end else f"\x1b[{cells}X")

    def reset(self) -> None:
        self.select(PLAIN)
