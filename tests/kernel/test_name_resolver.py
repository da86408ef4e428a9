"""The resolver's process: without privilege, and replaced when it ends, hangs or sends rubbish. And containers that flood it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from helperd.child_frames import Limits
from helperd.child_service import ChildService, Patience
from helperd.names.frames import AnyFromResolver, NetworkPut, from_resolver
from tests.kernel.names_host import NamesHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.name_fixtures",)


def resolver(names: NamesHost) -> int:
    """The pid of the resolver, as this machine sees it."""
    inside = names.helper.call("info")["names"]["pid"]
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
            same = os.stat(path.parent / "ns/pid").st_ino == os.stat(f"/proc/{names.host.pid}/ns/pid").st_ino
        except OSError:
            continue
        if same and lines["NSpid"].split()[-1] == str(inside):
            return int(path.parent.name)
    raise AssertionError("there is no resolver")


@pytest.mark.req("B4")
def test_it_has_no_privilege(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.attach("web", "c1")
    names.dig("c1", "c1")
    pid = resolver(names)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split() and status["Groups"].strip() == ""
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert str(Limits().memory) in next(line for line in limits.splitlines() if line.startswith("Max data size"))
    assert os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(f"/proc/{names.host.pid}/ns/net").st_ino
    opened = {os.readlink(item).partition(":")[0] for item in Path(f"/proc/{pid}/fd").iterdir()}
    assert opened <= {"/dev/null", "socket", "anon_inode", "pipe"} | {os.readlink(f"/proc/{pid}/fd/2")}
    assert int(status["VmRSS"].split()[0]) < 80_000  # kB


@pytest.mark.req("B4")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_killed_it_is_back_and_knows_everything(names: NamesHost, number: int) -> None:
    names.helper.call("network.create", name="web")
    first = names.attach("web", "c1")
    names.attach("web", "c2")
    assert names.dig("c2", "c1").data == (first,)
    os.kill(resolver(names), number)
    names.until("c2", "c1", (first,))
    assert names.dig("c1", "-x", first).data == ("c1.web.",)
    assert names.dig("c2", "+tcp", "c1").data == (first,)
    assert names.helper.call("info")["names"]["starts"] == 2


@pytest.mark.req("B4")
def test_names_are_back_after_the_helper_was_killed(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    first = names.attach("web", "c1")
    names.attach("web", "c2")
    names.helper.command("run", "-d", "--name", "c3", "--network", "web", "sleep", "300")
    before = names.table("c2")
    names.helper.kill()
    until(lambda: names.at_name_address("c2") == [])  # the resolver ends with the helper
    assert names.table("c2") == before and names.dig("c2", "c1", seconds=1).status == ""
    names.helper.start()
    names.until("c2", "c1", (first,))
    third = names.dig("c2", "c3").data
    assert len(third) == 1 and names.helper.command("exec", "c3", "dig", "+short", "c3").split() == list(third)
    assert len(names.at_name_address("c2")) == 2 and len(names.table("c2")) == len(before)
    names.helper.restart()
    names.until("c2", "c1", (first,))
    names.helper.command("rm", "-f", "c3")
    names.until("c2", "c3", ())


@pytest.mark.req("B4")
def test_a_table_that_is_flushed_is_put_back_by_the_next_start(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    first = names.attach("web", "c1")
    names.host.run("nft flush ruleset", netns="c1")
    assert names.dig("c1", "c1", seconds=1).status == ""
    names.helper.restart()
    names.until("c1", "c1", (first,))


@pytest.mark.req("B4")
async def test_what_hangs_or_sends_rubbish_is_replaced() -> None:
    told: list[AnyFromResolver] = []
    begun: asyncio.Queue[None] = asyncio.Queue()

    def begin() -> None:
        begun.put_nowait(None)
        process.post(NetworkPut("n", "web", ("10.0.0.0/24",)))

    process = ChildService("helperd.names", "resolver", from_resolver, begin, told.append,
                           patience=Patience(ready=30.0, check=0.1, hung=3.0))
    task = asyncio.create_task(process.run())
    try:
        async with asyncio.timeout(60):
            await begun.get()
            await process.ready.wait()
            assert (await process.stats())["starts"] == 1
            os.kill(process.pid, signal.SIGSTOP)
            await begun.get()
            await process.ready.wait()
            with _end_of(process.pid) as theirs:
                theirs.send(b"\xc1 rubbish")
            await begun.get()
            await process.ready.wait()
            assert (await process.stats())["starts"] == 3 and told == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _end_of(pid: int) -> socket.socket:
    """The end of the pair to the core that a resolver holds, borrowed as if it had been taken over (pidfd_getfd(2))."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    pidfd = os.pidfd_open(pid)
    try:
        fd = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, int(words[words.index("--core-fd") + 1]), 0)
        return socket.socket(fileno=fd)
    finally:
        os.close(pidfd)


FLOOD = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("127.0.0.11", 53))
sock.setblocking(False)
end = time.monotonic() + float(sys.argv[1])
number = 0
while time.monotonic() < end:
    number += 1
    name = b"%06d" % (number % 1000000)
    try:
        sock.send(number.to_bytes(3, "big")[1:] + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6" + name + b"\\7example\\0\\0\\1\\0\\1")
        sock.recv(512)
    except OSError:
        pass
print(number)
"""


@pytest.mark.req("B4")
def test_a_flood_from_one_container_hurts_no_other(names: NamesHost) -> None:
    names.serve("127.0.0.53", "silent")
    names.helper.call("network.create", name="web")
    names.attach("web", "flood")
    names.attach("web", "c1")
    address = names.attach("web", "c2")
    start = time.monotonic()
    flood = names.host.popen(["python3", "-c", FLOOD, "6"], netns="flood")
    time.sleep(1)
    for _ in range(20):
        assert names.dig("c1", "c2").data == (address,)
    out, _ = flood.communicate(timeout=60)
    assert int(out) > 3_000
    counts = names.helper.call("info")["names"]
    assert counts["refused"] > 100 and counts["waiting"] <= Limits().waiting and counts["starts"] == 1
    assert counts["forwarded"] <= Limits().forwarded * (time.monotonic() - start + 2)


def processor_seconds(pid: int) -> float:
    """What a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


EXPENSIVE = """
import socket, struct, sys, time
size, count, seconds = map(int, sys.argv[1:])
name = b"".join(b"\\1" + bytes([97 + number % 26]) for number in range(120)) + b"\\0"
if size < 0:  # as long as a question may be: many options
    records = 1
    options = struct.pack("!2H", 65001, 0) * ((-size - 12 - len(name) - 4 - 11) // 4)
    body = b"\\0" + struct.pack("!2HIH", 41, 4096, 0, len(options)) + options
else:  # every record has the long name of the question
    records = (size - 12 - len(name) - 4) // 16
    body = b"".join(b"\\xc0\\x0c" + struct.pack("!2HIHI", 1, 1, 0, 4, number) for number in range(records))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("127.0.0.11", 53))
udp.setblocking(False)
began = time.monotonic()
sent = 0
while sent < count and (now := time.monotonic()) < began + seconds:
    try:
        sent += udp.send(struct.pack("!6H", sent & 65535, 0x100, 1, 0, 0, records) + name + struct.pack("!2H", 1, 1) + body) > 0
        udp.recv(512)
    except OSError:
        pass
    time.sleep(max(0.0, began + sent * seconds / count - now))
print(sent)
"""


@pytest.mark.req("B4")
@pytest.mark.parametrize(("size", "count"), [(512, 1_500), (60_000, 300), (-1_020, 6_000)])
def test_a_flood_of_messages_that_are_expensive_to_parse_hurts_no_other(names: NamesHost, size: int, count: int) -> None:
    names.serve("127.0.0.53", "silent")
    names.helper.call("network.create", name="web")
    names.helper.call("network.create", name="other")
    names.attach("other", "flood")
    names.attach("web", "c1")
    address = names.attach("web", "c2")
    pid = resolver(names)
    began, used = time.monotonic(), processor_seconds(pid)
    flood = names.host.popen(["python3", "-c", EXPENSIVE, str(size), str(count), "6"], netns="flood")
    time.sleep(1)
    for _ in range(12):
        assert names.dig("c1", "c2", seconds=6).data == (address,)
        time.sleep(0.2)
    out, _ = flood.communicate(timeout=60)
    assert int(out) > count / 6  # of a busy machine it gets less
    assert processor_seconds(pid) - used < 0.6 * (time.monotonic() - began)  # there is enough left for all others
    assert names.dig("flood", "flood", tries=10, seconds=1).status == "NOERROR"  # what it owes is forgiven soon
    counts = names.helper.call("info")["names"]
    assert counts["questions"] > 50 and counts["starts"] == 1


@pytest.mark.req("B4")
def test_rubbish_and_oversized_messages(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    address = names.attach("web", "c1")
    script = (
        "import os, random, socket\n"
        "rnd = random.Random(7)\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(('127.0.0.11', 53))\n"
        "for size in [0, 1, 11, 12, 13, 512, 4096, 65507] + [rnd.randrange(600) for _ in range(200)]:\n"
        "    udp.send(rnd.randbytes(size))\n"
        "for head in (b'', b'\\0', b'\\xff\\xff', b'\\0\\5ab', b'\\0\\0', b'\\0\\x0c' + bytes(12)):\n"
        "    tcp = socket.create_connection(('127.0.0.11', 53)); tcp.send(head); tcp.close()\n"
        "held = [socket.create_connection(('127.0.0.11', 53)) for _ in range(40)]\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect(('127.0.0.11', 53)); udp.settimeout(3)\n"
        "for query in (b'\\x12\\x34' + bytes(10), b'\\x12\\x34\\0\\0\\0\\5' + bytes(6)):\n"
        "    for _ in range(10):\n"  # what came before may have filled the buffer
        "        udp.send(query)\n"
        "        try:\n"
        "            print(udp.recv(512).hex())\n"
        "            break\n"
        "        except TimeoutError:\n"
        "            pass\n")
    out = names.host.run(["python3", "-c", script], netns="c1").split()
    assert [(line[:4], int(line[6:8], 16) & 15) for line in out] == [("1234", 1)] * 2  # FORMERR
    assert names.dig("c1", "c1").data == (address,)
    assert names.helper.call("info")["names"]["starts"] == 1


@pytest.mark.req("B4")
def test_the_query_log_is_told_while_somebody_watches(names: NamesHost) -> None:
    helper = names.helper
    names.serve()
    helper.call("network.create", name="web")
    address = names.attach("web", "c1")
    names.attach("web", "c2")
    names.dig("c1", "before")
    watch = names.popen("dns", "log", "netns:c1", "-n", "4", "--format", "json")
    until(lambda: names.dig("c2", "c1").data and names.dig("c1", "c1").data and watch.poll() is not None)
    rows = [json.loads(line) for line in watch.communicate()[0].splitlines()]
    assert len(rows) == 4 and {row["container"] for row in rows} == {"netns:c1"}
    assert (rows[0]["name"], rows[0]["type"], rows[0]["result"], rows[0]["by"], rows[0]["answers"]) == (
        "c1.", "A", "NOERROR", "names", [address])
    watch = names.popen("dns", "log", "-n", "1")
    until(lambda: names.dig("c2", r"a\027[31mb.example").status and watch.poll() is not None)
    line = watch.communicate()[0]
    assert "netns:c2 A" in line and "203.0.113.7 by 127.0.0.53 in" in line and "\x1b" not in line and line.count("\n") == 1
