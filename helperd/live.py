"""Everything that moves, in one piece: the monitor and the counters in their threads, the world in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

from helperd.discovery import Sighting
from helperd.kernel.counters import CounterLayout, Counters
from helperd.kernel.event_socket import RECEIVE_BUFFER
from helperd.kernel.firewall_watch import FirewallChange
from helperd.kernel.monitor import Monitor
from helperd.kernel.namespace_watch import DIRECTORIES
from helperd.kernel.namespaces import NamespaceRef, own_inode
from helperd.kernel.observations import Observation
from helperd.world import World

ARRANGE_DELAY = 0.2  # seconds in which further changes of links are waited for


def namespace_refs(sightings: Iterable[Sighting]) -> list[NamespaceRef]:
    """Return the ways to the namespaces that discovery saw: through a process where there is one, and by file."""
    refs = []
    for item in sightings:
        if item.pid is not None:
            refs.append(NamespaceRef(f"/proc/{item.pid}/ns/net", item.inode, item.pid))
        refs += [NamespaceRef(path, item.inode) for path in item.paths]
    return refs


def counter_layout(world: World) -> CounterLayout:
    """Return which links there are, and which the counters of a host link also tell of."""
    host = world.host
    links: set[tuple[int, int]] = set()
    mirrors: dict[int, tuple[int, int]] = {}
    exposed: set[int] = set()
    for inode, rows in world.links_by_namespace():
        links.update((inode, link.ifindex) for link in rows)
        if inode == host:
            mirrors = {link.ifindex: (link.peer_inode, link.peer_ifindex) for link in rows if link.peer_inode not in (0, host)}
        elif any(link.peer_inode != host and link.name != "lo" for link in rows):
            exposed.add(inode)
    return CounterLayout(frozenset(links), mirrors, frozenset(exposed))


class Live:
    """`find` and `firewall_changed` as for `Monitor`, but `firewall_changed` is called in the event loop."""

    def __init__(
        self,
        find: Callable[[], Iterable[NamespaceRef]],
        firewall_changed: Callable[[FirewallChange], None] | None = None,
        *,
        directories: Sequence[str] = DIRECTORIES,
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        self.world = World(own_inode())
        self._firewall_changed = firewall_changed
        self.monitor = Monitor(
            self._from_monitor, find, None if firewall_changed is None else self._from_firewall,
            directories=directories, receive_buffer=receive_buffer,
        )
        self.counters = Counters(self.world.host, self.monitor.ways)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arranging: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin; when this returns the own namespace and all that `find` gave have been read. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        await asyncio.wrap_future(self.monitor.start())
        self._arrange()
        self.counters.start()

    async def stop(self) -> None:
        """End the threads."""
        await asyncio.to_thread(self.counters.stop)
        await asyncio.to_thread(self.monitor.stop)
        if self._arranging is not None:
            self._arranging.cancel()
        self._loop = None

    async def track(self, ref: NamespaceRef) -> None:
        """Follow a namespace that was just made; when this returns it is known. Raises `NamespaceGone`, OSError."""
        await asyncio.wrap_future(self.monitor.track(ref))

    def _from_monitor(self, batch: list[Observation]) -> None:
        self._call(self._apply, batch)

    def _from_firewall(self, change: FirewallChange) -> None:
        if self._firewall_changed is not None:
            self._call(self._firewall_changed, change)

    def _call(self, function: Callable[..., None], argument: object) -> None:
        # The loop may be closed while the monitor still has something to say.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, argument)

    def _apply(self, batch: list[Observation]) -> None:
        self.world.apply(batch)
        if self.world.links_changed and self._arranging is None and self._loop is not None:
            self._arranging = self._loop.call_later(ARRANGE_DELAY, self._arrange)

    def _arrange(self) -> None:
        self._arranging = None
        self.world.links_changed = False
        self.counters.arrange(counter_layout(self.world))
