"""What the tests of the live half share. All of it runs inside a simulated host (`host.call`)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterable

from helperd.kernel import namespace_dump
from helperd.kernel.firewall_watch import FirewallChange
from helperd.kernel.namespaces import NamespaceRef, identify, identify_process
from helperd.live import Live
from helperd.world import Change, World
from protocol.model import Link, LogEntry


def sh(command: str, netns: str = "") -> str:
    """Run a shell line, in a named namespace if one is given; returns its output."""
    words = ["ip", "netns", "exec", netns, "sh", "-ec", command] if netns else ["sh", "-ec", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def anonymous() -> subprocess.Popen[bytes]:
    """A process in a network namespace that has no file."""
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up; echo; exec sleep 120"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process of the test's own."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Watcher:
    """A live world with a subscriber that keeps its own copy by the deltas."""

    def __init__(self, live: Live, firewall: list[FirewallChange]) -> None:
        self.live, self.world, self._firewall = live, live.world, firewall
        self.changes: list[Change] = []
        self.copy = {(topic, key): value for topic, key, value in self.world.snapshot(TOPICS)}
        self.world.subscribe(self._changed)

    def _changed(self, changes: list[Change]) -> None:
        self.changes += changes
        for topic, what, key, value in changes:
            if what == "del":
                del self.copy[topic, key]
            elif topic != "log":
                assert value is not None
                self.copy[topic, key] = value

    @property
    def firewall(self) -> list[FirewallChange]:
        """What others did to our table."""
        return [change for change in self._firewall if change.ours]

    @property
    def elsewhere(self) -> int:
        """How often it was told that others changed tables of theirs."""
        return sum(not change.ours for change in self._firewall)

    def whole(self) -> bool:
        """Whether the copy by deltas is what a new subscriber would get."""
        self.world.flush()
        return self.copy == {(topic, key): value for topic, key, value in self.world.snapshot(TOPICS)}

    def keys(self, topic: str, inode: int) -> set[object]:
        return {getattr(row, _TEXT[topic]) for row in self.world.rows(topic, inode)}

    def named(self, inode: int, name: str) -> Link | None:
        return next((link for link in self.world.links(inode) if link.name == name), None)

    def log(self, kind: str) -> list[LogEntry]:
        return [entry for entry in self.world.events() if entry.kind == kind]


TOPICS = ("links", "addresses", "routes", "neighbours", "rules", "namespaces", "networks", "endpoints", "containers")
_TEXT = {"links": "name", "addresses": "address", "routes": "destination", "neighbours": "address", "rules": "priority"}


@contextlib.asynccontextmanager
async def watching(
    processes: Iterable[subprocess.Popen[bytes]] = (), receive_buffer: int = 8 << 20
) -> AsyncIterator[Watcher]:
    """A live world in this host, which finds named namespaces and those of `processes`."""

    def find() -> list[NamespaceRef]:
        return [identify_process(process.pid) for process in processes if process.returncode is None]

    firewall: list[FirewallChange] = []
    live = Live(find, firewall.append, receive_buffer=receive_buffer)
    await live.start()
    try:
        yield Watcher(live, firewall)
    finally:
        await live.stop()


def inode(name: str) -> int:
    """Inode of a named namespace."""
    return identify(f"/run/netns/{name}").inode


def fresh(world: World, refs: Iterable[NamespaceRef]) -> dict[tuple[str, str], tuple[object, ...]]:
    """What the kernel holds now, read directly; comparable with `held`."""
    found = {}
    for ref in refs:
        with namespace_dump.dump_socket(None if ref.inode == world.host else ref) as sock:
            for record in namespace_dump.read(sock, ref.inode, TOPICS[:5]):
                found[record.topic, record.key] = _facts(record.value)
    return found


def held(world: World) -> dict[tuple[str, str], tuple[object, ...]]:
    """What the world holds of the kernel's objects."""
    return {(topic, key): _facts(value) for topic, key, value in world.snapshot(TOPICS[:5])}


def _facts(value: object) -> tuple[object, ...]:
    """An object without what the world adds, and without the state of neighbours, which changes by itself."""
    skipped = {"peer_inode", "peer_ifindex", "container", "network", "lower_inode"}
    if type(value).__name__ == "Neighbour":
        skipped.add("state")
    fields: tuple[str, ...] = getattr(value, "__struct_fields__", ())
    return tuple(getattr(value, name) for name in fields if name not in skipped)
