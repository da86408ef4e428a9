"""What packet sockets of the host's own hear on a link: frames of one VLAN, answers to questions, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from helperd.kernel.dhcp_socket import open_on
from helperd.kernel.packet_filter import tagged
from helperd.kernel.site_probe import MOST, Question
from tests.simulated_host import SimulatedHost

US, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("0200000000aa")


def datagram(port: int, fragment: int = 0, protocol: int = socket.IPPROTO_UDP) -> bytes:
    """An Ethernet frame with IPv4 and UDP from port 67."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 0, fragment, 64, protocol, 0, bytes(4), b"\xff" * 4)
    return b"\xff" * 6 + OTHER + b"\x08\x00" + ip + struct.pack("!HHHH", 67, port, 12, 0) + b"body"


def arp(address: str, sender: bytes = OTHER, hardware: int = 1) -> bytes:
    return b"\xff" * 6 + sender + b"\x08\x06" + struct.pack("!HHBBH6s4s6s4s", hardware, 0x0800, 6, 4, 2, sender, socket.inet_aton(address),
                                                            US, bytes(4))


def heard(sock: socket.socket) -> list[bytes]:
    found = []
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            found.append(sock.recv(2000))
        except BlockingIOError:
            time.sleep(0.01)
    return found


@pytest.mark.req("X7", "X20")
def test_a_socket_hears_its_own_vlan_and_only_dhcp(host: SimulatedHost) -> None:
    host.run("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up")

    def inside() -> list[list[bytes]]:
        socks = [open_on("v0", vlan) for vlan in (0, 10, 20)]
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("v1", 0))
        good = datagram(68)
        for vlan in (0, 10, 20, 30):
            wire.send(tagged(good, vlan))
        wire.send(good[:12] + struct.pack("!HH", 0x8100, 0xE000) + good[12:])  # a priority, and no VLAN
        for bad in (datagram(67), datagram(68, fragment=5), datagram(68, protocol=socket.IPPROTO_TCP), arp("192.0.2.1"), good[:30]):
            wire.send(bad)
        return [heard(sock) for sock in socks]

    assert host.call(inside) == [[datagram(68)] * 2, [datagram(68)], [datagram(68)]]


@pytest.mark.req("X8")
def test_a_question_takes_answers_of_its_vlan_and_a_flood_ends(host: SimulatedHost) -> None:
    host.run("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up")

    async def inside() -> tuple[set[str], set[str], list[str]]:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("v1", 0))
        told: list[str] = []

        def answered(address: str, mac: str, asks: bool) -> bool:
            told.append(mac)
            return not asks

        plain, in_ten = (Question("v0", ["192.0.2.1", "192.0.2.2"], vlan, answered) for vlan in (0, 10))
        asking = [asyncio.ensure_future(item.ask((0.5,))) for item in (plain, in_ten)]
        await asyncio.gather(plain.sent.wait(), in_ten.sent.wait())
        cut, strange = arp("192.0.2.2")[:41], arp("192.0.2.1", hardware=6)
        for frame in (tagged(arp("192.0.2.1"), 10), strange, arp("192.0.2.9"), cut, arp("192.0.2.2")):
            wire.send(frame)
        plain.listen()
        in_ten.listen()
        for _ in range(MOST):
            wire.send(arp("192.0.2.9"))
        await asyncio.sleep(0)
        wire.send(arp("192.0.2.1"))
        await asyncio.gather(*asking)
        return plain.found, in_ten.found, told

    plain, in_ten, told = host.call(inside)
    assert plain == {"192.0.2.2"} and in_ten == {"192.0.2.1"} and told == ["02:00:00:00:00:aa"] * 2
