"""Cell-diff output shows the same as Textual's own, in far fewer bytes: compared through a terminal emulator."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.tui.pty_session import Cell, PtySession, sample

pytestmark = [pytest.mark.req("W1"), pytest.mark.req("W6"), pytest.mark.timeout(300)]

STOCK = {"NETDECK_STOCK_OUTPUT": "1"}
UP, DOWN, PAGE_DOWN, END, HOME, ESCAPE = b"\x1b[A", b"\x1b[B", b"\x1b[6~", b"\x1b[F", b"\x1b[H", b"\x1b"
STEPS: tuple[tuple[str, bytes], ...] = (
    ("down", DOWN),
    ("down five", DOWN * 5),
    ("page", PAGE_DOWN),
    ("page again", PAGE_DOWN),
    ("to the edge", DOWN * 25),
    ("line past the edge", DOWN),
    ("three lines past the edge", DOWN * 3),
    ("back up", UP * 26),
    ("up past the edge", UP * 3),
    ("wide", b"w"),
    ("combining", b"w"),
    ("korean", b"w"),
    ("wide at the end", b"w"),
    ("emoji", b"w"),
    ("narrow again", b"w"),
    ("tick", b"t"),
    ("dialog", b"d"),
    ("typed wide", "ab世c".encode()),
    ("closed", ESCAPE),
    ("end", END),
    ("home", HOME),
    ("sort", b"s"),
    ("reverse", b"S"),
    ("by name again", b"<"),
    ("another tick", b"t"),
    ("mark", b"m"),
    ("repaint", b"\x0c"),
)


@dataclass
class Recorded:
    """Screens after each step, the cursor's place, and how many bytes each took."""

    screens: list[list[list[Cell]]]
    cursors: list[tuple[int, int]]
    sizes: list[int]
    texts: list[str]


def _session(env: dict[str, str], kind: str = "live") -> PtySession:
    return PtySession(sample(kind, 300), columns=110, lines=32, env=env)


def _record(session: PtySession) -> Recorded:
    """Go through all steps, each of which waits until the program is quiet."""
    recorded = Recorded([], [], [], [])

    def note(before: int) -> None:
        recorded.screens.append(session.cells())
        recorded.cursors.append((session.screen.cursor.x, session.screen.cursor.y))
        recorded.sizes.append(session.received - before)
        recorded.texts.append("\n".join(session.screen.display))

    assert session.pump(60, lambda: session.shows("veth000003")), session.screen.display
    session.settle(quiet=0.35)
    note(0)
    for _, keys in STEPS:
        before = session.received
        session.send(keys)
        session.settle(quiet=0.35)
        note(before)
    for size in ((70, 20), (110, 32), (40, 12)):
        before = session.received
        session.resize(*size)
        session.settle(quiet=0.35)
        note(before)
    return recorded


@pytest.fixture(scope="module")
def both() -> tuple[Recorded, Recorded]:
    """Stock output and ours, recorded at the same time: most of it is waiting."""
    with _session(STOCK) as one, _session({}) as other, ThreadPoolExecutor(2) as pool:
        stock, quick = pool.map(_record, (one, other))
    return stock, quick


@pytest.fixture(scope="module")
def stock(both: tuple[Recorded, Recorded]) -> Recorded:
    return both[0]


@pytest.fixture(scope="module")
def quick(both: tuple[Recorded, Recorded]) -> Recorded:
    return both[1]


def test_every_screen_is_the_same_as_with_stock_output(stock: Recorded, quick: Recorded) -> None:
    names = ["start", *(name for name, _ in STEPS), "narrower", "wider", "narrow"]
    for name, expected, shown in zip(names, stock.screens, quick.screens, strict=True):
        different = [
            (y, x, one, other)
            for y, (row, row_shown) in enumerate(zip(expected, shown, strict=True))
            for x, (one, other) in enumerate(zip(row, row_shown, strict=True))
            if one != other
        ]
        assert not different, (name, len(different), different[:5])


def test_each_step_did_what_it_is_there_for(stock: Recorded) -> None:
    texts = dict(zip(("start", *(name for name, _ in STEPS)), stock.texts, strict=False))
    assert "世界" in texts["wide"] and "한국어" in texts["korean"] and "tail 世" in texts["wide at the end"]
    assert "名前" in texts["dialog"] and "ab世c" in texts["typed wide"] and "名前" not in texts["closed"]
    assert texts["tick"] != texts["narrow again"] and texts["end"] != texts["home"] != texts["sort"]
    assert "▸●" not in texts["mark"] and "●" in texts["mark"]


def test_the_terminals_cursor_is_where_stock_output_puts_it(stock: Recorded, quick: Recorded) -> None:
    assert stock.cursors == quick.cursors


def test_bytes_are_a_fraction_of_stock_output(stock: Recorded, quick: Recorded) -> None:
    names = [name for name, _ in STEPS]
    print([(name, *sizes) for name, *sizes in zip(["start", *names], stock.sizes, quick.sizes, strict=False)])
    assert quick.sizes[0] < stock.sizes[0] / 3, (stock.sizes[0], quick.sizes[0])
    for name, share in (("down", 1.0), ("tick", 0.5), ("page", 0.7), ("dialog", 0.6), ("line past the edge", 0.15)):
        step = names.index(name) + 1
        assert quick.sizes[step] <= stock.sizes[step] * share, (name, stock.sizes[step], quick.sizes[step])
    assert sum(quick.sizes) < sum(stock.sizes) / 2


def test_idle_writes_nothing() -> None:
    with PtySession(sample("live", 50)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        before = session.received
        session.pump(3.0)
        assert session.received == before


def test_suspend_and_resume_repaints_everything() -> None:
    with PtySession(sample("live", 50)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        expected = session.cells()
        os.kill(session.pid, signal.SIGTSTP)
        session.settle(3)
        session.screen.reset()
        os.kill(session.pid, signal.SIGCONT)
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        assert session.cells() == expected


def test_no_motion_mouse_and_no_focus_reports_are_asked_for() -> None:
    with PtySession(sample("live", 5)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        session.send(b"q")
        assert session.wait_exit() == 0
        for mode in (b"?1003h", b"?1000h", b"?1004h", b"?1015h"):
            assert mode not in session.output


def test_mouse_can_be_switched_on_and_off_without_motion_reports() -> None:
    with PtySession(sample("live", 5)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        session.send(b"o")
        assert session.pump(60, lambda: b"\x1b[?1000h\x1b[?1002h\x1b[?1006h" in session.output)
        session.send(b"\x1b[<0;5;6M\x1b[<0;5;6m")  # a click on the third row
        assert session.pump(60, lambda: "▸ veth000002" in session.screen.display[5])
        session.send(b"o")
        assert session.pump(60, lambda: b"\x1b[?1000l" in session.output)
        assert b"?1003h" not in session.output


def test_copy_goes_to_the_users_terminal() -> None:
    with PtySession(sample("live", 5), env={"TMUX": "", "STY": ""}) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.send(b"xc")
        assert session.pump(60, lambda: b"\x1b]52;c;ZWNobyAx\x07" in session.output)


def test_after_another_program_had_the_terminal_everything_is_painted_again() -> None:
    with PtySession(sample("live", 50)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.settle()
        expected, before = session.cells(), session.received
        session.send(b"z")
        session.settle()
        assert session.cells() == expected and session.received - before > 1000
        session.send(b"x")
        assert session.pump(60, lambda: session.shows("echo 1"))
