"""The grid of cells: whatever is painted in whatever order, the terminal ends up showing it."""

from __future__ import annotations

import re

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.style import Style

from tui.terminal.cell_grid import CellGrid, Face, Faces, transition

pytestmark = pytest.mark.req("W6")

WIDTH, HEIGHT = 20, 12
STYLES = ["", "bold", "red on blue", "bold underline", "italic on #102030", "reverse", "dim strike", "on #102030"]
TEXTS = st.text(alphabet="ab  ─█世界한é", min_size=1, max_size=12) | st.just(" " * 14)
PAINTS = st.lists(
    st.tuples(
        st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), TEXTS, st.sampled_from(STYLES), st.booleans()
    ),
    max_size=25,
)


def _grid(bce: bool = True) -> CellGrid:
    return CellGrid(WIDTH, HEIGHT, Faces(ColorSystem.TRUECOLOR), erases_with_background=bce)


class Terminal:
    def __init__(self) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self.screen.reset_mode(pyte.modes.DECAWM >> 5, private=True)
        self.stream = pyte.Stream(self.screen)

    def cells(self) -> list[list[tuple[object, ...]]]:
        return [[self._seen(self.screen.buffer[y][x]) for x in range(WIDTH)] for y in range(HEIGHT)]

    @staticmethod
    def _seen(char: pyte.screens.Char) -> tuple[object, ...]:
        if char.data == " " and not (char.reverse or char.underscore or char.strikethrough):
            return (" ", char.bg)
        return tuple(char)


@given(PAINTS, st.booleans())
def test_differences_end_where_a_full_repaint_ends(paints: list[tuple[int, int, str, str, bool]], bce: bool) -> None:
    grid, terminal = _grid(bce), Terminal()
    for y in range(HEIGHT):
        grid.put(0, y, " " * WIDTH, 0)
    for x, y, text, style, flush in paints:
        grid.put(x, y, text, grid.faces.number(Style.parse(style)))
        if flush:
            terminal.stream.feed(grid.render((0, 0)))
    terminal.stream.feed(grid.render((0, 0)))
    shown = terminal.cells()
    assert grid.render((0, 0)) == ""
    fresh = Terminal()
    grid.forget()
    fresh.stream.feed(grid.render((0, 0)))
    assert shown == fresh.cells()


@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(0, HEIGHT - 1)), max_size=12))
def test_scrolled_lists_are_moved_by_the_terminal(moves: list[tuple[int, int]]) -> None:
    grid, terminal = _grid(), Terminal()
    face = grid.faces.number(Style.parse("white on #102030"))
    top = 50
    for move, cursor in [(0, 0), *moves]:
        top += move
        for y in range(HEIGHT):
            text = f"{'>' if y == cursor else ' '} row 世 {top + y} of many" if 0 < y < 11 else "the frame around it "
            grid.put(0, y, text.ljust(WIDTH)[: WIDTH - 1], face)
        terminal.stream.feed(grid.render((0, 0)))
    fresh, shown = Terminal(), terminal.cells()
    grid.forget()
    fresh.stream.feed(grid.render((0, 0)))
    assert shown == fresh.cells()


def test_a_scrolled_line_costs_little() -> None:
    grid = _grid()
    sizes = []
    for top in (0, 1, 2, 1):
        for y in range(HEIGHT):
            grid.put(0, y, f"row number {top + y:06d}", 0)
        sizes.append(len(grid.render((0, 0))))
    assert max(sizes[1:]) < 60 < sizes[0], sizes


def test_nothing_is_written_for_what_is_already_shown() -> None:
    grid = _grid()
    grid.put(0, 0, "hello", 0)
    assert "hello" in grid.render((0, 0))
    grid.put(0, 0, "hello", 0)
    assert grid.render((0, 0)) == ""
    grid.put(0, 0, "hallo", 0)
    assert grid.render((0, 0)) == "ha\x1b[1;1H"


@given(st.text())
def test_no_text_can_act_on_the_terminal(text: str) -> None:
    grid = _grid()
    grid.put(0, 0, text, 0)
    written = grid.render((0, 0))
    rest = written
    for sequence in re.findall(r"\x1b\[[0-9;]*[A-Za-z]", written):
        rest = rest.replace(sequence, "", 1)
    assert all(char.isprintable() or ord(char) > 0x9F for char in rest), written


def test_a_sign_of_doubtful_width_leaves_no_remains() -> None:
    grid, terminal = _grid(), Terminal()
    grid.put(0, 0, "abcdef", 0)
    terminal.stream.feed(grid.render((0, 0)))
    grid.put(0, 0, "\u26a0\ufe0fcdef", 0)
    terminal.stream.feed(grid.render((0, 0)))
    assert "b" not in terminal.screen.display[0] and "cdef" in terminal.screen.display[0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Face(), Face(("1",), "31", ""), "\x1b[1;31m"),
        (Face(("1",), "31", "44"), Face(), "\x1b[m"),
        (Face(("1", "2"), "", ""), Face(("2",), "", ""), "\x1b[0;2m"),
        (Face(("1",), "38;2;1;2;3", "48;2;4;5;6"), Face((), "38;2;1;2;3", "48;2;4;5;6"), "\x1b[22m"),
        (Face((), "31", "44"), Face((), "", "44"), "\x1b[39m"),
    ],
)
def test_shortest_change_of_style(old: Face, new: Face, expected: str) -> None:
    assert transition(old, new) == expected


def test_half_of_a_wide_character_at_the_edge_is_a_space_and_hides_what_was_there() -> None:
    grid, terminal = _grid(), Terminal()
    reverse = grid.faces.number(Style.parse("reverse"))
    grid.put(12, 0, "世世世世", reverse)
    terminal.stream.feed(grid.render((0, 0)))
    grid.put(15, 0, "aaaa世", 0)
    terminal.stream.feed(grid.render((0, 0)))
    fresh, shown = Terminal(), terminal.cells()
    grid.forget()
    fresh.stream.feed(grid.render((0, 0)))
    assert shown == fresh.cells() and shown[0][19] == (" ", "default")
