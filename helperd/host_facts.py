"""What a change must know of the host: its links, routes, addresses, nameservers, and what would stop its packets."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from drivers.driver import HostLink, HostView, Hung
from drivers.objects import parse_mark
from helperd import way_out
from helperd.hung import hung, strangers
from helperd.kernel.host_links import look_up
from helperd.kernel.rtnetlink import VLAN_AWARE
from helperd.subnets import HostAddress, HostRanges, HostRoute
from helperd.world import World
from protocol.model import Address, Link, Network, Route
from protocol.names import display_text

RESOLV_CONF = Path("/etc/resolv.conf")
_SYSTEMD_UPSTREAM = Path("/run/systemd/resolve/resolv.conf")
_LOCAL_PORTS, _RESERVED_PORTS = "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/net/ipv4/ip_local_reserved_ports"
_COARSE = 100_000_000  # nanoseconds, many times what the clock of a file system counts in
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8  # linux/if.h
_FORWARDING = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}
_FORWARDING_SYSCTL = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


class HostFacts:
    """Reads the live state of the host's own namespace. `dns` are the name servers that the configuration file gives containers."""

    def __init__(self, world: World, inode: int, dns: Sequence[str] = ()) -> None:
        self._world, self._inode, self._dns = world, inode, tuple(dns)
        self._resolv: tuple[tuple[tuple[int, ...], ...], str] = ((), "")  # what the files were when they were read, and the text
        self.hindrances: Callable[[Network], list[str]] = lambda network: []  # what of others stops a network, in words
        self.look_again: Callable[[], Awaitable[None]] = _nothing  # reads anew what that is known by

    def _links(self) -> dict[int, Link]:
        return {row.ifindex: row for row in self._world.rows("links") if isinstance(row, Link) and row.inode == self._inode}

    def _addresses(self) -> list[Address]:
        return [row for row in self._world.rows("addresses", self._inode) if isinstance(row, Address)]

    def own_on(self, link: str) -> dict[str, str]:
        """The bare addresses that the host has on a link of its own by now, and what each is in words."""
        try:
            index = socket.if_nametoindex(link)
        except OSError:
            return {}
        return {row.address.partition("/")[0]: f"the host's own address on {display_text(link)}" for row in self._addresses()
                if row.ifindex == index}

    def view(self, instance: str, names: Iterable[str] = ()) -> HostView:
        """The host as drivers see it. Links called `names` are looked up anew: what was made a moment ago may not be told of yet.
        Raises OSError."""
        links = self._links()
        by_link: dict[int, list[str]] = {}
        for row in self._addresses():
            by_link.setdefault(row.ifindex, []).append(row.address)
        routed = {_link_name(row.ifindex) for row in self._world.rows("routes", self._inode)
                  if isinstance(row, Route) and row.kind == "unicast" and not _automatic(row.destination)}
        found = {}
        for link in links.values():
            mark = parse_mark(link.alias)
            master = links.get(link.master)
            found[link.name] = HostLink(name=link.name, kind=link.kind, mtu=link.mtu,
                                        ours=mark is not None and mark[0] == instance, master=master.name if master else "",
                                        addresses=tuple(by_link.get(link.ifindex, ())), up=bool(link.flags & _IFF_UP),
                                        loopback=bool(link.flags & _IFF_LOOPBACK), mac=link.mac, vlan=link.vlan,
                                        filters=VLAN_AWARE in link.detail.split(),
                                        routed=link.name in routed, lower=links[link.lower].name if link.lower in links else "",
                                        hung=self._hung(link.ifindex, instance))
        for name in names:
            found.pop(name, None)
            now = look_up(name)
            if now is not None:
                mark = parse_mark(now.alias)
                # Of our group without an alias: a helper was killed while it made it.
                ours = now.ours and (mark is None or mark[0] == instance)
                found[name] = HostLink(name=name, kind=now.kind, mtu=now.mtu, ours=ours, master=_link_name(now.master),
                                       addresses=now.addresses, up=now.up, loopback=now.loopback, mac=now.mac, vlan=now.vlan,
                                       filters=now.filters, routed=name in routed, lower=_link_name(now.lower),
                                       hung=self._hung(now.index, instance))
        return HostView(instance=instance, links=found)

    def _hung(self, ifindex: int, instance: str) -> tuple[Hung, ...]:
        return hung(self._world, strangers(self._world, instance, ifindex))

    def ranges(self, ours: frozenset[str]) -> HostRanges:
        """All routes and addresses of the host but those on the links `ours`, and its nameservers.

        The kernel does not tell of IPv4 routes that go with their link (fib_frontend.c), so each link is looked up again.
        """
        names: dict[int, str] = {0: ""}

        def counts(ifindex: int) -> bool:
            if ifindex not in names:
                names[ifindex] = _link_name(ifindex)
            return ifindex == 0 or names[ifindex] not in ("", *ours)

        routes = tuple(HostRoute(row.destination, names[row.ifindex], row.gateway) for row in self._world.rows("routes")
                       if isinstance(row, Route) and row.inode == self._inode and row.kind == "unicast"
                       and not _automatic(row.destination) and counts(row.ifindex))
        addresses = tuple(HostAddress(row.address, names[row.ifindex]) for row in self._addresses() if counts(row.ifindex))
        return HostRanges(routes, addresses, self.nameservers())

    def resolv_conf(self) -> str:
        """What containers take over: the host's resolv.conf, with the name servers of the configuration file in place of its own
        where that has any."""
        now = tuple(map(_state, (RESOLV_CONF, _SYSTEMD_UPSTREAM)))
        known, text = self._resolv
        if known != now:
            text = self._host_resolv_conf()
            # What was written a moment ago can be written again without a trace: clocks of files are coarse.
            settled = all(state[-1] < time.time_ns() - _COARSE for state in now if state)
            self._resolv = now if settled else (), text
        if not self._dns:
            return text
        rest = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
        return "".join(f"{line}\n" for line in (*(f"nameserver {server}" for server in self._dns), *rest))

    @staticmethod
    def _host_resolv_conf() -> str:
        """The host's resolv.conf; where systemd-resolved stands in front, that of its upstream servers (a loopback address would
        mean nothing inside a container)."""
        for path in (_SYSTEMD_UPSTREAM, RESOLV_CONF) if _loopback_only(RESOLV_CONF) else (RESOLV_CONF,):
            try:
                return path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
        return ""

    @staticmethod
    def automatic_ports() -> Iterator[int]:
        """The ports that may be chosen where none is asked for, as docker's allocator has it: the kernel's own range for that,
        without those that are reserved (ip(7), ip_local_port_range). Nothing is read before the first is taken."""
        first, last = _numbers(_LOCAL_PORTS, "49153 65535")[:2]
        reserved: set[int] = set()
        for part in _read(_RESERVED_PORTS, "").strip().split(","):
            low, _, high = part.partition("-")
            if low:
                reserved.update(range(int(low), int(high or low) + 1))
        yield from (number for number in range(first, last + 1) if number not in reserved)

    @staticmethod
    def has_ipv6() -> bool:
        """Whether ports can be held on addresses of IPv6: not where the kernel was started without it."""
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
                sock.bind(("::", 0))
        except OSError:
            return False
        return True

    def nameservers(self) -> tuple[str, ...]:
        return _nameservers(self.resolv_conf())

    def uplinks(self, family: int) -> tuple[str, ...]:
        """The links by which the host reaches what is not on a link of its own, that of the default route first."""
        found: dict[str, tuple[bool, int]] = {}
        for row in self._world.rows("routes", self._inode):
            if isinstance(row, Route) and row.family == family and row.kind == "unicast" and row.ifindex \
                    and (row.gateway or row.destination == "default"):
                link = self._world.link(self._inode, row.ifindex)
                if link is not None and parse_mark(link.alias) is None:
                    rank = (row.destination != "default", row.metric)
                    found[link.name] = min(found.get(link.name, rank), rank)
        return tuple(sorted(found, key=lambda name: found[name]))

    async def warnings_now(self, *networks: Network, new: bool = False) -> list[str]:
        """`warnings` of all of them. Before one is told it is made sure that its cause is still there. `new` ones are not made yet."""
        if any(self.hindrances(network) for network in networks):
            await self.look_again()
        return list(dict.fromkeys(text for network in networks for text in self._warnings(network, new)))

    def _warnings(self, network: Network, new: bool) -> list[str]:
        """What of the host stops traffic of `network`, each with its remedy."""
        told = way_out.hindrances(network, new=new)
        if network.driver != "bridge":
            return told
        for family, wanted in ((4, network.ipv4), (6, network.ipv6)):
            if wanted and not network.internal and not network.uplink and not _is_on(_FORWARDING[family]):
                told.append(f"IPv{family} forwarding is off on this host: containers on {network.name} reach each other and the "
                            f"host, but nothing outside. Switch it on with: netdeck doctor --fix forwarding-ipv{family} (which sets "
                            f"{_FORWARDING_SYSCTL[family]}=1, and keeps it over a restart)")
        return told + self.hindrances(network)


async def _nothing() -> None:
    return None


def _state(path: Path) -> tuple[int, ...]:
    """What differs when a file is written or replaced; nothing where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: str, default: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return default


def _numbers(path: str, default: str) -> list[int]:
    return [int(word) for word in _read(path, default).split()]


def _link_name(ifindex: int) -> str:
    """The name of a link of the host now, "" if it is gone, and for 0."""
    try:
        return socket.if_indextoname(ifindex) if ifindex else ""
    except OSError:
        return ""


def _automatic(destination: str) -> bool:
    """Prefixes that every host has on every link: link-local and multicast ones."""
    return destination.startswith(("fe80:", "ff00:", "169.254."))


def _is_on(path: str) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # every attach looks
    except OSError:
        return True  # a kernel without the family has nothing to switch on
    try:
        return os.read(file, 16).strip() not in (b"0", b"")
    finally:
        os.close(file)


def _nameservers(text: str) -> tuple[str, ...]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append(str(ipaddress.ip_address(words[1].partition("%")[0])))
            except ValueError:
                continue
    return tuple(found)


def _loopback_only(path: Path) -> bool:
    try:
        servers = _nameservers(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return True
    return all(ipaddress.ip_address(item).is_loopback for item in servers)
