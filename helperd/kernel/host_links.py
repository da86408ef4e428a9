"""One link of the host, asked for now: what the monitor tells of it may be a few milliseconds old."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass

from helperd.kernel.link_state import LinkState, all_addresses, read_link
from helperd.kernel.namespaces import netlink_socket

_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1  # netdevice(7)


@dataclass(frozen=True, slots=True)
class HostLinkNow:
    """As `LinkState`, with the link's addresses. `ours`: of our group."""

    index: int
    kind: str
    up: bool
    mtu: int
    mac: str
    alias: str
    ours: bool
    master: int
    lower: int
    loopback: bool
    vlan: int
    filters: bool
    addresses: tuple[str, ...]


def look_up(name: str) -> HostLinkNow | None:
    """The link `name` of the process's own namespace, or None. About 0.2 ms. Raises OSError."""
    with netlink_socket() as sock:
        state: LinkState | None = read_link(sock, name) if len(name.encode()) < 16 else None
        if state is None:
            return None
        addresses = tuple(item.prefix for item in all_addresses(sock, state.index) if item.index == state.index)
    lower = state.peer if state.peer_nsid is None else 0
    return HostLinkNow(state.index, state.kind, state.up, state.mtu, state.mac, state.alias, state.ours, state.master, lower,
                       state.loopback, state.vlan, state.filters, addresses)


def hanging(name: str) -> dict[str, HostLinkNow]:
    """The links of the process's own namespace that hang on `name` now, by their names; those of other namespaces are not shown there
    (net/core/dev.c, netdev_adjacent_sysfs_add)."""
    try:
        entries = os.listdir(f"/sys/class/net/{name}") if len(name.encode()) < 16 else []
        index = socket.if_nametoindex(name)
        found = {entry[6:]: look_up(entry[6:]) for entry in entries if entry.startswith("upper_")}
    except OSError:
        return {}
    return {upper: now for upper, now in found.items() if now is not None and now.lower == index}


def carries(name: str) -> tuple[bool, bool]:
    """Whether the link `name` of the process's own namespace is switched on, and whether it has a carrier then; of one that is not there
    nothing is known, and both are true. Every attach asks: 30 µs, where `look_up` takes far more with many addresses."""
    if len(name.encode()) >= 16:
        return True, True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, struct.pack("=16s24x", name.encode()))
        except OSError:
            return True, True
    if not struct.unpack_from("=H", answer, 16)[0] & _IFF_UP:
        return False, False
    try:
        with open(f"/sys/class/net/{name}/carrier", "rb") as file:
            return True, file.read(1) != b"0"
    except OSError:
        return True, True
