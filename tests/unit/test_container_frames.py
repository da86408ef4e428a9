"""The frames between core and shim: whatever is sent comes out whole, however the stream is cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.containers import frames
from helperd.containers.endings import ExitStatus, exit_status
from helperd.containers.outlets import Ring, last_lines
from helperd.containers.sandbox import signal_number
from helperd.containers.spec import ExecTarget, Join, SandboxSpec, Terminal, to_wire


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300))), st.lists(st.integers(1, 50), min_size=1))
def test_frames_survive_any_cut(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frames.encode(kind, payload) for kind, payload in sent)
    buffer, received, position = bytearray(), [], 0
    while position < len(stream):
        size = cuts[position % len(cuts)]
        buffer += stream[position : position + size]
        position += size
        received += frames.decode(buffer)
    assert received == sent
    assert not buffer


def test_a_length_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(frames.FrameError, match="above"):
        frames.decode(bytearray(frames.HEADER.pack(frames.OUT, frames.MAX_PAYLOAD + 1)))
    with pytest.raises(frames.FrameError, match="above"):
        frames.encode(frames.OUT, bytes(frames.MAX_PAYLOAD + 1))


@given(st.lists(st.tuples(st.sampled_from([frames.OUT, frames.ERR]), st.binary(min_size=1, max_size=30000)), max_size=12))
def test_the_ring_keeps_the_last_bytes(pieces: list[tuple[int, bytes]]) -> None:
    ring = Ring()
    for kind, data in pieces:
        ring.add(kind, data)
    everything = [(kind, byte) for kind, data in pieces for byte in data]
    kept = [(kind, byte) for kind, data in ring.pieces() for byte in data]
    assert kept == everything[-frames.RING :]


def test_a_specification_keeps_any_bytes() -> None:
    hostile = b"\xff\x1b[31m\n".decode("utf-8", "surrogateescape")
    spec = SandboxSpec("id", "/run/x", ("a", hostile), env={"A": hostile}, terminal=Terminal(2, 3), network=Join(5, path="/p"),
                       exec_in=ExecTarget(7, 8))  # fmt: skip
    wire = json.loads(to_wire(spec))
    assert wire["argv"] == ["a", hostile]
    assert wire["env"] == {"A": hostile}
    assert (wire["terminal"], wire["network"]) == ([2, 3], {"pid": None, "path": "/p", "inode": 5})
    assert wire["exec_in"] == {"pid": 7, "starttime": 8}


def test_a_status_as_a_shell_shows_it() -> None:
    assert ExitStatus(3).shell_code == 3
    assert ExitStatus(None, 9).shell_code == 137
    assert ExitStatus(None, None, "lost").shell_code == 125
    assert exit_status({"code": "x", "signal": [], "error": 3}) == ExitStatus(None, None, None)


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("15", 15), (9, 9)])
def test_signals_have_names_and_numbers(name: str | int, number: int) -> None:
    assert signal_number(name) == number


def test_the_shim_needs_the_standard_library_alone() -> None:
    script = (
        "import sys; sys.path.append(sys.argv[1]); before = set(sys.modules); import helperd.containers.shim; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}), "
        "*sorted(name for name in sys.modules if name.startswith('helperd')))"
    )
    root = str(Path(frames.__file__).parents[2])
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", script, root], check=True, capture_output=True, text=True).stdout.split()
    assert {name for name in loaded if "." not in name} - sys.stdlib_module_names == {"helperd"}
    assert {name.rpartition(".")[0] for name in loaded if name.count(".") == 2} == {"helperd.containers"}
    # Each container pays for these.
    assert not {"typing", "dataclasses", "inspect", "asyncio", "subprocess", "logging", "pathlib"} & set(loaded)


@given(st.lists(st.tuples(st.sampled_from([frames.OUT, frames.ERR]), st.text("ab\n", min_size=1)), max_size=12), st.integers(0, 9))
def test_the_last_lines_are_those_that_tail_shows(pieces: list[tuple[int, str]], count: int) -> None:
    found = last_lines([(kind, data.encode()) for kind, data in pieces], count)
    whole = "".join(data for _, data in pieces)
    lines = whole.splitlines(keepends=True)
    assert b"".join(data for _, data in found).decode() == "".join(lines[len(lines) - min(count, len(lines)):])
    kinds = [kind for kind, data in pieces for _ in data]
    assert [kind for kind, data in found for _ in data] == kinds[len(kinds) - sum(len(data) for _, data in found):]
