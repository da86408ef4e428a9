"""Announcements as they arrive at the other end of the link."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from helperd.kernel.announce import Announcer
from helperd.kernel.namespaces import NamespaceRef, identify, identify_process, in_namespace
from protocol.errors import InvalidValue
from tests.simulated_host import SimulatedHost
from tests.waiting import LONGEST_SECONDS, comes

Announce = Callable[..., Coroutine[None, None, int]]
MAC = "02:00:00:00:00:07"
ADDRESSES = ("10.0.0.2/24", "fd00::2/64")


@pytest.fixture
def ears(host: SimulatedHost) -> Iterator[tuple[NamespaceRef, socket.socket]]:
    """A container `c1` with a link eth0 to a bridge on the host, and a packet socket on the bridge."""
    host.run(
        "ip netns add c1; ip link add br0 type bridge; sysctl -qw net.ipv6.conf.br0.disable_ipv6=1; ip link set br0 up;"
        f"ip link add v0 up master br0 type veth peer name eth0 address {MAC} netns c1"
    )
    host.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1; ip link set eth0 up", netns="c1")

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        sock.bind(("br0", 3))
        sock.settimeout(LONGEST_SECONDS)
        return sock

    with in_namespace(identify_process(host.pid), listen) as sock:
        yield identify(host.path("c1")), sock


@pytest.fixture
async def announce() -> AsyncIterator[Announce]:
    announcer = Announcer()
    yield announcer.announce
    announcer.close()


@pytest.mark.req("X13")
async def test_many_at_once_go_together_and_one_that_fails_hurts_none(
    announce: Announce, ears: tuple[NamespaceRef, socket.socket]
) -> None:
    place, sock = ears
    heard = asyncio.create_task(asyncio.to_thread(hear, sock, 60))
    work = [announce(place, "nosuch" if number == 7 else "eth0", MAC, (f"10.0.0.{number}",), count=2, interval=0.1)
            for number in range(31)]
    assert await asyncio.gather(*work) == [0 if number == 7 else 2 for number in range(31)]
    told = [frame[28:32] for _, frame in await heard]
    assert sorted(told) == sorted(bytes((10, 0, 0, number)) for number in range(31) if number != 7 for _ in range(2))


def hear(sock: socket.socket, count: int) -> list[tuple[float, bytes]]:
    found: list[tuple[float, bytes]] = []
    while len(found) < count:
        frame = sock.recv(2048)
        if frame[12:14] in (b"\x08\x06", b"\x86\xdd") and frame[6:12] == bytes.fromhex(MAC.replace(":", "")):
            found.append((time.monotonic(), frame))
    return found


@pytest.mark.req("X13")
async def test_three_rounds_for_both_families(announce: Announce, ears: tuple[NamespaceRef, socket.socket]) -> None:
    place, sock = ears
    heard = asyncio.create_task(asyncio.to_thread(hear, sock, 6))
    start = time.monotonic()
    assert await announce(place, "eth0", MAC.upper(), ADDRESSES, interval=0.2) == 3
    frames = await heard
    for number, (moment, _) in enumerate(frames):
        assert moment - start >= 0.2 * (number // 2) - 0.12, "no sooner, but for what puts several together"
    arp, advertisement = frames[0][1], frames[1][1]
    mac = bytes.fromhex(MAC.replace(":", ""))
    assert arp[:6] == b"\xff" * 6
    assert struct.unpack("!HHBBH6s4s6s4s", arp[14:42]) == (
        1,
        0x0800,
        6,
        4,
        1,
        mac,
        bytes((10, 0, 0, 2)),
        b"\0" * 6,
        bytes((10, 0, 0, 2)),
    )
    assert advertisement[:6] == bytes.fromhex("333300000001")
    header, body = advertisement[14:54], advertisement[54:]
    assert header[6:8] == b"\x3a\xff" and header[8:24] == socket.inet_pton(socket.AF_INET6, "fd00::2")
    assert (
        header[24:] == socket.inet_pton(socket.AF_INET6, "ff02::1")
        and int.from_bytes(header[4:6], "big") == len(body) == 32
    )
    assert (
        body[:2] == b"\x88\0"
        and body[4:8] == b"\x20\0\0\0"
        and body[8:24] == header[8:24]
        and body[24:] == b"\x02\x01" + mac
    )


@pytest.mark.req("X13")
async def test_tcpdump_finds_the_frames_right(
    announce: Announce, host: SimulatedHost, tmp_path: Path, ears: tuple[NamespaceRef, socket.socket]
) -> None:
    place, _ = ears
    capture = host.popen("exec tcpdump -i br0 -c 2 -Z root -U -w /run/frames arp or icmp6")
    await comes(lambda: "frames" in host.run("ls /run"))
    await asyncio.sleep(0.2)
    assert await announce(place, "eth0", MAC, ADDRESSES, count=1) == 1
    await asyncio.to_thread(capture.wait, LONGEST_SECONDS)
    shown = host.run("tcpdump -nn -e -vv -r /run/frames 2>/dev/null")
    assert (
        "Request who-has 10.0.0.2 (ff:ff:ff:ff:ff:ff) tell 10.0.0.2" in shown
        or "who-has 10.0.0.2 tell 10.0.0.2" in shown
    )
    assert "[icmp6 sum ok] ICMP6, neighbor advertisement" in shown and "tgt is fd00::2, Flags [override]" in shown
    assert "destination link-address option (2), length 8 (1): " + MAC in shown


async def test_neighbours_learn_from_it(
    announce: Announce, host: SimulatedHost, ears: tuple[NamespaceRef, socket.socket]
) -> None:
    place, _ = ears
    host.run(
        "sysctl -qw net.ipv6.conf.br0.disable_ipv6=0; ip addr add 10.0.0.1/24 dev br0; ip addr add fd00::1/64 dev br0 nodad;"
        "ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:99 dev br0 nud stale;"
        "ip neigh add fd00::2 lladdr 02:00:00:00:00:99 dev br0 nud stale"
    )
    await asyncio.sleep(1.1)  # net.ipv4.neigh.*.locktime: a fresh entry is not overwritten
    await announce(place, "eth0", MAC, ADDRESSES, count=1)
    assert host.run("ip neigh show dev br0").count(MAC) == 2


async def test_it_stops_when_cancelled_or_when_the_container_is_gone(
    announce: Announce, host: SimulatedHost, ears: tuple[NamespaceRef, socket.socket]
) -> None:
    place, sock = ears
    task = asyncio.create_task(announce(place, "eth0", MAC, ADDRESSES, interval=2.0))
    await asyncio.to_thread(hear, sock, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await announce(place, "nosuch", MAC, ADDRESSES) == 0
    assert await announce(place, "eth0", MAC, ADDRESSES, count=0) == 0
    assert await announce(place, "eth0", MAC, ()) == 0
    task = asyncio.create_task(announce(place, "eth0", MAC, ADDRESSES, interval=2.0))
    await asyncio.to_thread(hear, sock, 2)
    host.run("ip netns del c1")
    assert await task == 1
    await comes(lambda: "v0" not in host.run("ip -br link"), "something holds the namespace")


async def test_the_address_of_all_is_nobody_s(announce: Announce) -> None:
    here = NamespaceRef("/proc/self/ns/net", 0)
    with pytest.raises(InvalidValue):
        await announce(here, "eth0", "ff:ff:ff:ff:ff:ff", ADDRESSES)
