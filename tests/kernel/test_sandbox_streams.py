"""Standard streams and terminals of containers of our own."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from helperd.containers import frames
from helperd.containers.sandbox import ExitStatus, Sandbox
from helperd.containers.spec import ExecTarget, Terminal
from tests.kernel.sandbox_runs import NOBODY, Place, a_place, gone, read_until, started
from tests.waiting import LONGEST_SECONDS, comes


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


async def test_ten_megabytes_each_way_arrive_as_they_were_sent(place: Place) -> None:
    sent = random.Random(1).randbytes(10 << 20)
    async with started(place.spec("cat", interactive=True, uid=NOBODY, gid=NOBODY)) as sandbox:
        output = sandbox.attach()
        await sandbox.go()

        async def write() -> None:
            await sandbox.write_stdin(sent)
            sandbox.eof()

        writer = asyncio.create_task(write())
        received = hashlib.sha256()
        size = 0
        async for chunk in output:
            received.update(chunk.data)
            size += len(chunk.data)
        await writer
        assert await sandbox.wait() == ExitStatus(0)
    assert size == len(sent)
    assert received.digest() == hashlib.sha256(sent).digest()


async def test_stdout_and_stderr_stay_apart(place: Place) -> None:
    finished = await place.run("sh", "-c", "echo out; echo err >&2; echo again > /dev/stdout", uid=NOBODY, gid=NOBODY)
    assert (finished.stdout, finished.stderr) == ("out\nagain\n", "err\n")


async def test_without_input_it_is_empty(place: Place) -> None:
    assert (await place.run("cat")).stdout == ""


async def test_who_does_not_read_makes_the_container_wait(place: Place) -> None:
    spec = place.spec("sh", "-c", "echo up; exec yes")
    async with started(spec) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        await read_until(output, "up")
        written = [0]
        for _ in range(50):
            await asyncio.sleep(0.1)
            written.append(_bytes_written(sandbox.pid))
            if written[-1] == written[-2]:
                break
        assert written[-1] == written[-2], "the container went on writing"
        # The window, a pipe's 64 KiB, and what was read before.
        assert written[-1] < frames.WINDOW + 3 * frames.CHUNK
        # What is not output passes by.
        sandbox.signal("STOP")
        sandbox.signal("CONT")
        total = 0
        async with asyncio.timeout(LONGEST_SECONDS):
            async for chunk in output:
                total += len(chunk.data)
                if total > 4 << 20:
                    break
        # Who detaches holds nothing up any more.
        output.close()
        before = _bytes_written(sandbox.pid)
        await comes(lambda: _bytes_written(sandbox.pid) > before)
        assert await sandbox.stop(0) == ExitStatus(None, signal.SIGKILL)


def _bytes_written(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split("wchar:")[1].split()[0])


async def test_the_end_is_told_while_output_is_still_unread(place: Place) -> None:
    async with started(place.spec("sh", "-c", "head -c 300000 /dev/zero; exit 4")) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        assert await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS) == ExitStatus(4)
        # As a core does that gives the network back at once: the reader gets it all nevertheless.
        closing = asyncio.create_task(sandbox.close())
        await asyncio.sleep(0.3)
        assert sum([len(chunk.data) async for chunk in output]) == 300000
        await asyncio.wait_for(closing, LONGEST_SECONDS)
        assert await gone(sandbox.shim_pid)


async def test_a_processor_that_is_away_for_a_while_takes_no_output_along(place: Place) -> None:
    async with started(place.spec("sh", "-c", "head -c 300000 /dev/zero; exit 4")) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        assert await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS) == ExitStatus(4)
        shim = psutil.Process(sandbox.shim_pid)
        shim.suspend()  # the rest is in the pipe: nobody has read of what came first
        first = len((await anext(output)).data) + len((await anext(output)).data)
        await asyncio.sleep(0.5)
        shim.resume()
        assert first + sum([len(chunk.data) async for chunk in output]) == 300000


async def test_output_of_the_past_is_kept_to_a_limit(place: Place) -> None:
    script = "seq 1 50000; echo last; read x"
    async with started(place.spec("sh", "-c", script, interactive=True)) as sandbox:
        await sandbox.go()
        await comes(lambda: _bytes_written(sandbox.pid) >= sum(len(f"{number}\n") for number in range(1, 50001)) + len("last\n"))
        await asyncio.sleep(0.5)  # what is in the pipe still is read
        second = await Sandbox.reconnect(sandbox.run_dir)
        text = await read_until(second.attach(frames.KEPT), "last\n")
        assert frames.RING - 100 < len(text) <= frames.RING
        assert "49999\n50000\nlast\n" in text
        third = await Sandbox.reconnect(sandbox.run_dir)
        output = third.attach()
        await third.write_stdin(b"\n")
        assert [chunk async for chunk in output] == []
        assert await third.wait() == ExitStatus(0)
        await second.close()
        await third.close()


async def test_input_that_nobody_reads_waits_and_signals_pass_it(place: Place) -> None:
    async with started(place.spec("sleep", "60", interactive=True)) as sandbox:
        await sandbox.go()
        writing = asyncio.create_task(sandbox.write_stdin(bytes(2 << 20)))
        done, _ = await asyncio.wait({writing}, timeout=0.5)
        assert not done
        sandbox.signal("KILL")
        assert await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS) == ExitStatus(None, signal.SIGKILL)
        await asyncio.wait_for(writing, LONGEST_SECONDS)


async def test_a_terminal_is_one(place: Place) -> None:
    script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM; ls -ln $(tty)"
    finished = await place.run("sh", "-c", script, terminal=Terminal(33, 101), uid=NOBODY, gid=NOBODY)
    lines = finished.stdout.split("\r\n")
    assert lines[:4] == ["/dev/pts/0", "33 101", "all", "xterm"]
    assert lines[4].split()[2] == str(NOBODY)
    assert finished.stderr == ""


async def test_a_new_size_is_told_by_a_signal(place: Place) -> None:
    script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"
    async with started(place.spec("sh", "-c", script, terminal=Terminal(), interactive=True)) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        await read_until(output, "up")
        sandbox.resize(50, 200)
        await read_until(output, "50 200")
        with pytest.raises(ValueError, match="no terminal has"):
            sandbox.resize(70000, 1)


async def test_keys_of_a_terminal(place: Place) -> None:
    spec = place.spec("sh", "-i", terminal=Terminal(), interactive=True, env={"PS1": "ready> "}, uid=NOBODY, gid=NOBODY)
    async with started(spec) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        await read_until(output, "ready> ")
        await sandbox.write_stdin(b"sleep 60\n")
        await comes(lambda: any(child.name() == "sleep" for child in psutil.Process(sandbox.pid).children()))
        await sandbox.write_stdin(b"\x03")
        await read_until(output, "ready> ")
        await sandbox.write_stdin(b"echo code=$?\n")
        await read_until(output, "code=130")
        await sandbox.write_stdin(b"\x04")
        assert (await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS)).code is not None


async def test_the_end_of_input_reaches_a_terminal(place: Place) -> None:
    async with started(place.spec("cat", terminal=Terminal(), interactive=True)) as sandbox:
        output = sandbox.attach()
        await sandbox.go()
        await sandbox.write_stdin(b"line\n")
        await read_until(output, "line\r\nline\r\n")
        sandbox.eof()
        assert await asyncio.wait_for(sandbox.wait(), LONGEST_SECONDS) == ExitStatus(0)


async def test_a_terminal_for_an_executed_command(place: Place) -> None:
    async with started(place.spec("sleep", "60")) as sandbox:
        await sandbox.go()
        target = ExecTarget(sandbox.pid, sandbox.starttime)
        finished = await place.run("sh", "-c", "tty; stty size", exec_in=target, run_dir="", terminal=Terminal(20, 70))
        assert finished.stdout == "/dev/pts/0\r\n20 70\r\n"


async def test_a_stranger_that_sends_nonsense_is_dropped(place: Place) -> None:
    async with started(place.spec("sleep", "60")) as sandbox:
        await sandbox.go()
        for nonsense in (b"\xff" * 100, frames.HEADER.pack(3, 1 << 31), frames.encode(99), frames.encode(frames.RESIZE, b"x")):
            reader, writer = await asyncio.open_unix_connection(f"{sandbox.run_dir}/shim.sock")
            writer.write(nonsense)
            await asyncio.wait_for(reader.read(), LONGEST_SECONDS)
            writer.close()
        assert not await gone(sandbox.pid, 0.1)
        assert await sandbox.stop(0) == ExitStatus(None, signal.SIGKILL)
