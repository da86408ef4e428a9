"""Paced frames and quick keys, on a real pseudo-terminal that answers in time, late, partly, or never; and a thin link."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.tui.pty_session import Answers, PtySession, sample

pytestmark = [pytest.mark.req("W6"), pytest.mark.timed, pytest.mark.timeout(180)]

LATE = 1.5
"""Seconds after which a late terminal answers; a slow machine takes less for a frame."""


def _run(tmp_path: Path, answers: Answers, seconds: float = 4.0) -> tuple[PtySession, dict[str, str]]:
    """The sample with ten ticks a second; returns the ended session, and what the application counted."""
    counts = tmp_path / "counts"
    with PtySession(
        sample("live", 200, 0.1), columns=120, lines=40, answers=answers, env={"SAMPLE_COUNTS": str(counts)}
    ) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.pump(2.0)
        before = session.questions
        session.pump(seconds)
        session.frames = session.questions - before
        if session.frames:
            session.pump(5.0, lambda: session.questions > before + session.frames)  # a frame begins to wait for its answer
        session.send(b"x")
        asked = time.monotonic()
        assert session.pump(60, lambda: session.shows("echo 1"))
        session.echo = time.monotonic() - asked
        session.send(b"q")
        assert session.wait_exit() == 0
    paced, round_trip, ticks, frames = counts.read_text().split()
    return session, {"paced": paced, "round_trip": round_trip, "ticks": ticks, "frames": frames}


def test_a_terminal_that_answers_is_asked_after_each_frame(tmp_path: Path) -> None:
    session, counted = _run(tmp_path, Answers())
    assert counted["paced"] == "True" and 0 <= float(counted["round_trip"]) < LATE
    assert 8 <= session.frames <= 45
    assert b"\x1b[?2026h" in session.output


def test_a_late_terminal_gets_a_frame_for_each_answer_and_keys_are_not_held(tmp_path: Path) -> None:
    session, counted = _run(tmp_path, Answers(delay=LATE))
    assert 1 <= session.frames <= 4
    assert float(counted["round_trip"]) >= 0.9 * LATE
    assert session.echo < 0.8 * LATE


def test_a_terminal_later_than_the_first_patience_is_paced_after_all(tmp_path: Path) -> None:
    session, _ = _run(tmp_path, Answers(delay=2.2), seconds=6.0)
    assert 1 <= session.frames <= 5
    assert session.echo < 0.8 * 2.2


def test_a_terminal_without_mode_2026_is_asked_for_its_cursor(tmp_path: Path) -> None:
    session, counted = _run(tmp_path, Answers(synchronized=False))
    assert 8 <= session.frames <= 45
    assert session.output.count(b"\x1b[?2026$p") == 1 and session.output.count(b"\x1b[6n") > 8
    assert b"\x1b[?2026h" not in session.output
    assert float(counted["round_trip"]) < LATE


def test_a_terminal_that_answers_nothing_is_not_paced(tmp_path: Path) -> None:
    session, counted = _run(tmp_path, Answers(synchronized=False, cursor=False))
    assert session.frames == 0 and session.questions == 2
    assert counted["round_trip"] == "None"
    assert int(counted["frames"]) > 8  # painted all the same
    assert session.echo < 0.8 * LATE


def _echo_times(kind: str, rate: float, tries: int, patience: float, settling: float) -> list[float]:
    """Seconds from key to echo while every second 30 % of 1000 rows change; `patience` where none came."""
    times: list[float] = []
    with PtySession(sample(kind, 1000, 1.0), columns=120, lines=40, rate=rate) as session:
        assert session.pump(60, lambda: session.shows("veth000003")), session.screen.display
        session.pump(settling)
        for number in range(1, tries + 1):
            start = time.monotonic()
            session.send(b"x")
            session.pump(patience, partial(session.shows, f"echo {number}"))
            times.append(time.monotonic() - start)
            session.pump(1.3)
    return times


def test_a_key_is_answered_at_once_on_a_thin_link() -> None:
    quick = _echo_times("live", 8000, 4, 10.0, 3.0)
    stock = _echo_times("stock", 8000, 1, 10.0, 8.0)  # what it has not sent grows with every second
    print("echo seconds, live:", quick, "stock:", stock)
    assert sorted(quick)[len(quick) // 2] < min(stock) / 5, (quick, stock)


def _bytes_of(session: PtySession) -> int:
    """What five seconds of a table bring that has come up."""
    assert session.pump(60, partial(session.shows, "veth000003"))
    session.pump(2.0)
    before = session.received
    session.pump(5.0)
    return session.received - before


def test_bytes_of_a_live_table_are_a_fraction_of_a_stock_one() -> None:
    one, other = (PtySession(sample(kind, 1000, 1.0), columns=120, lines=40) for kind in ("live", "stock"))
    with one, other, ThreadPoolExecutor(2) as pool:
        live, stock = pool.map(_bytes_of, (one, other))
    print("bytes in 5 s:", live, stock)
    assert live < stock / 5, (live, stock)


def test_a_terminal_that_takes_nothing_does_not_stop_the_program(tmp_path: Path) -> None:
    """Output stopped (as by ctrl+s on the way): ticks go on, and afterwards the newest state is shown at once."""
    counts = tmp_path / "counts"
    env = {"SAMPLE_COUNTS": str(counts)}
    with PtySession(sample("live", 1000, 0.05), columns=120, lines=40, env=env, answers=Answers(False, False)) as session:
        assert session.pump(60, lambda: session.shows("veth000003"))
        session.pump(2.0)
        time.sleep(4.0)
        session.send(b"x")
        before = session.received
        assert session.pump(60, lambda: session.shows("echo 1"))
        # What the terminal had taken when it stopped, and the newest screen; those between them are left out.
        assert session.received - before < 10 * 120 * 40, session.received - before
        session.send(b"q")
        assert session.wait_exit() == 0
    ticks = int(counts.read_text().split()[2])
    assert ticks > 40, ticks
    assert os.path.exists(counts)
