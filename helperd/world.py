"""The state of everything that clients can subscribe to, and what changes in it.

Tables of structs, fed by the monitor's observations and by `put` and `delete` of the engine. The first change after a quiet
while is handed out at once (its reader may be a person who waits for it), those that follow are gathered for 30 ms; what is
handed out then is the difference to what was handed out before, so that whatever flapped back in between, and what no struct
shows, costs nothing. All of it belongs to one thread, the event loop's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

from helperd.departed import Departed
from helperd.event_log import EventLog
from helperd.kernel.observations import (
    EventsLost,
    NamespaceEnded,
    NamespaceLimits,
    NamespaceRead,
    NamespaceSeen,
    Observation,
    PeersKnown,
)
from helperd.kernel.rtnetlink import Inner, Record
from helperd.kernel_news import news
from helperd.link_relations import LinkId, LinkRelations
from protocol.messages import QUERIES, TOPICS
from protocol.model import Container, Endpoint, Link, LogEntry, Model, Namespace, Neighbour, Network
from protocol.names import display_text

GATHER = 0.03  # seconds
WARN_AGAIN = 60.0  # seconds between two lines of the log on one thing that is too much
LOG_SNAPSHOT = 1_000  # entries of the log that a new subscriber gets
INNER = ("links", "vlans", "addresses", "routes", "neighbours", "rules")  # topics whose objects live in a namespace

Change = tuple[str, str, str, Model | None]  # topic, "put" or "del", key, value
Row = tuple[str, str, Model]


class World:
    """`host` is the inode of the own namespace."""

    def __init__(self, host: int) -> None:
        self.host = host
        self.epoch = 1
        self._inner: dict[str, dict[int, dict[str, Inner]]] = {topic: {} for topic in INNER}
        self._flat: dict[str, dict[str, Model]] = {
            topic: {} for topic in TOPICS if topic not in INNER and topic not in ("log", QUERIES)
        }
        self._seen: dict[int, NamespaceSeen] = {}
        self._last_name: dict[int, str] = {}  # of a namespace that has, or had, one
        self._read: set[int] = set()
        self._limits: dict[int, NamespaceLimits] = {}
        self._warned: dict[tuple[int, str], float] = {}  # → when
        self._relations = LinkRelations(host)
        self._log = EventLog()
        self._departed = Departed()
        self._pending: dict[tuple[str, str], tuple[int, Model | None]] = {}  # → namespace, value that was handed out
        self._entries: list[Change] = []
        self._subscribers: list[Callable[[list[Change]], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushed = -math.inf
        self.links_changed = False  # set when a link came, went or has another peer; whoever acts on it resets it

    # Reading

    def get(self, topic: str, key: str) -> Model | None:
        """Return the struct at `key`, None if there is none."""
        if topic in self._flat:
            return self._flat[topic].get(key)
        inode, _, _ = key.partition("/")
        return self._inner[topic].get(int(inode), {}).get(key) if inode.isdecimal() else None

    def rows(self, topic: str, inode: int | None = None) -> Iterator[Model]:
        """Iterate over the structs of a topic, of one namespace if `inode` is given."""
        if topic in self._flat:
            return iter(self._flat[topic].values())
        if inode is not None:
            return iter(self._inner[topic].get(inode, {}).values())
        return chain.from_iterable(table.values() for table in self._inner[topic].values())

    def link(self, inode: int, ifindex: int) -> Link | None:
        """Return a link by its identity."""
        found = self._inner["links"].get(inode, {}).get(f"{inode}/{ifindex}")
        return found if isinstance(found, Link) else None

    def links(self, inode: int | None = None) -> Iterator[Link]:
        """Iterate over all links, or those of a namespace."""
        return (link for link in self.rows("links", inode) if isinstance(link, Link))

    def hanging(self, inode: int, ifindex: int, instance: str) -> list[Link]:
        """The links, of every namespace, that hang on a link and lack the mark of `instance`: VLANs, macvlan, ipvlan and the like."""
        found = (self.link(*this) for this in self._relations.on(ifindex, instance))
        return [link for link in found if link is not None and link.lower_inode == inode]

    def mode(self, link: Link) -> str:
        """The mode of a macvlan or ipvlan, with the flag of the latter."""
        return self._relations.mode(link)

    def links_by_namespace(self) -> Iterator[tuple[int, list[Link]]]:
        """All links, those of a namespace together."""
        for inode, table in self._inner["links"].items():
            yield inode, cast("list[Link]", list(table.values()))

    def owner(self, inode: int, ifindex: int) -> str:
        """Return the ref of the container that has a link, or the other end of it; "" if none has."""
        link = self.link(inode, ifindex)
        if link is None:
            return ""
        return link.container or ("" if link.peer_inode == self.host else self._relations.refs.get(link.peer_inode, ""))

    def snapshot(self, topics: Iterable[str], inodes: Iterable[int] | None = None) -> list[Row]:
        """Return everything in `topics` as (topic, key, struct); of the objects in namespaces only those in `inodes`."""
        wanted = None if inodes is None else set(inodes)
        found: list[Row] = []
        for topic in topics:
            if topic == "log":
                found += [("log", str(entry.seq), entry) for entry in self._log.since(0, LOG_SNAPSHOT)]
            elif topic in self._flat:
                found += [(topic, key, value) for key, value in self._flat[topic].items()]
            elif topic in self._inner:
                for inode, table in self._inner[topic].items():
                    if wanted is None or inode in wanted:
                        found += [(topic, key, value) for key, value in table.items()]
        return found

    def events(self, since: int = 0) -> tuple[LogEntry, ...]:
        """Return the log's entries after number `since`, oldest first."""
        return self._log.since(since)

    # Changes

    def subscribe(self, callback: Callable[[list[Change]], None]) -> Callable[[], None]:
        """Call `callback` with each batch of changes from now on; the function returned ends that.

        A snapshot taken right after `subscribe` and the batches that follow make the whole: what a snapshot has already
        may come again in the next batch.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def put(self, topic: str, key: str, value: Model) -> None:
        """Set a network, endpoint or container."""
        if isinstance(value, Endpoint):
            self._departed.came(value.addresses)
        self._flat_set(topic, key, value)
        self._relate(topic, key, value)

    def delete(self, topic: str, key: str) -> None:
        """Remove a network, endpoint or container; nothing happens where it isn't."""
        if key in self._flat[topic]:
            gone = self._flat[topic][key]
            if isinstance(gone, Endpoint):
                self._departed.left(gone.addresses)
            self._flat_set(topic, key, None)
            self._relate(topic, key, None)

    def log(self, kind: str, action: str, subject: str, where: str = "host", text: str = "", level: str = "info",
            actor: str = "") -> LogEntry:
        """Add an entry to the log; see `LogEntry`."""
        entry = self._log.add(kind, action, subject, where, text, level, actor)
        if self._subscribers:
            self._entries.append(("log", "put", str(entry.seq), entry))
            self._wake()
        return entry

    def flush(self) -> None:
        """Hand out now what has changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._flushed = asyncio.get_running_loop().time()
        pending, self._pending = self._pending, {}
        changes: list[Change] = []
        for (topic, key), (inode, before) in pending.items():
            flat = topic in self._flat
            after = self._flat[topic].get(key) if flat else self._inner[topic].get(inode, {}).get(key)
            if after is None:
                if before is not None:
                    changes.append((topic, "del", key, None))
            elif after != before:
                changes.append((topic, "put", key, after))
        changes += self._entries
        self._entries = []
        if changes:
            for callback in tuple(self._subscribers):
                callback(changes)

    def _wake(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._flushed + GATHER - loop.time()), self.flush)

    def _changed(self, topic: str, key: str, inode: int, before: Model | None) -> None:
        if self._subscribers:
            self._pending.setdefault((topic, key), (inode, before))
            self._wake()

    def _flat_set(self, topic: str, key: str, value: Model | None) -> None:
        table = self._flat[topic]
        before = table.get(key)
        if before == value:
            return
        self._changed(topic, key, 0, before)
        if value is None:
            del table[key]
        else:
            table[key] = value

    def _relate(self, topic: str, key: str, value: Model | None) -> None:
        """Let a network, endpoint or container show on links and namespaces."""
        links: set[LinkId] = set()
        if topic == "containers":
            assert value is None or isinstance(value, Container)
            for inode in self._relations.container(key, value):
                self._show_namespace(inode)
                links |= {(link.inode, link.ifindex) for link in self.links(inode)}
        elif topic == "endpoints":
            assert value is None or isinstance(value, Endpoint)
            links = self._relations.endpoint(key, value)
        elif topic == "networks":
            assert value is None or isinstance(value, Network)
            links = self._relations.network(key, value)
        self._relabel(links)

    # Observations of the monitor

    def apply(self, batch: Sequence[Observation]) -> None:
        """Take in what the monitor tells."""
        for item in batch:
            match item:
                case Record():
                    self._take(item)
                case NamespaceRead():
                    self._take_all(item)
                case NamespaceSeen():
                    self._seen_now(item)
                case NamespaceEnded():
                    self._ended(item.inode)
                case NamespaceLimits():
                    self._limits_now(item)
                case PeersKnown():
                    self._relabel(self._relations.peers_known(item.inode, item.inodes, lambda this: self.link(*this)))
                case EventsLost():
                    self.epoch = item.epoch
                    self.log("helper", "changed", "events", text="the kernel dropped events; everything is read again",
                             level="warning")

    def _take(self, record: Record, *, quiet: bool = False) -> None:
        value = record.value
        inode = value.inode
        if inode not in self._seen:
            return
        table = self._inner[record.topic].setdefault(inode, {})
        before = table.get(record.key)
        if not record.put and before is None:
            return
        after: Inner | None
        if isinstance(value, Link):
            after = self._take_link(value, record, before)
        else:
            after = value if record.put else None
            if after == before:
                return
        if not quiet:
            self._tell(inode, before, after)
        self._set(record.topic, inode, record.key, before, after)
        if record.topic == "links" and after is None:
            self._drop_inside(inode, value.ifindex if isinstance(value, Link) else 0)

    def _take_link(self, value: Link, record: Record, before: Inner | None) -> Link | None:
        known = before if isinstance(before, Link) else None
        if known is None or not record.put:
            self.links_changed = True
        if not record.put:
            self._relabel(self._relations.remove(value if known is None else known))
            return None
        self._relabel(self._relations.add(value, record.link_nsid, known))
        return self._relations.labelled(value)

    def _set(self, topic: str, inode: int, key: str, before: Inner | None, after: Inner | None) -> None:
        if before == after:
            return
        self._changed(topic, key, inode, before)
        table = self._inner[topic].setdefault(inode, {})
        if after is None:
            table.pop(key, None)
        else:
            table[key] = after

    def _drop_inside(self, inode: int, ifindex: int) -> None:
        """Addresses and neighbours of a link that is gone: the kernel tells of most, not of all."""
        start = f"{inode}/{ifindex}"
        if start in self._inner["vlans"].get(inode, {}):
            self._set("vlans", inode, start, self._inner["vlans"][inode][start], None)
        for topic, mark in (("addresses", f"{start}/"), ("neighbours", f"{start} ")):
            table = self._inner[topic].get(inode, {})
            for key in [key for key in table if key.startswith(mark)]:
                self._set(topic, inode, key, table[key], None)

    def _take_all(self, item: NamespaceRead) -> None:
        if item.inode not in self._seen:
            return
        first = item.inode not in self._read
        self._read.add(item.inode)
        present = {(record.topic, record.key) for record in item.records}
        for topic in item.topics:
            for key, value in tuple(self._inner[topic].get(item.inode, {}).items()):
                if (topic, key) not in present:
                    self._take(Record(topic, key, False, value))
        # Links first: the others' lines in the log name them.
        for record in sorted(item.records, key=lambda record: record.topic != "links"):
            self._take(record, quiet=first)

    def _relabel(self, links: Iterable[LinkId]) -> None:
        for inode, ifindex in links:
            before = self.link(inode, ifindex)
            if before is not None:
                after = self._relations.labelled(before)
                if after is not before:
                    self.links_changed = True
                    self._set("links", inode, f"{inode}/{ifindex}", before, after)

    # Namespaces

    def _seen_now(self, item: NamespaceSeen) -> None:
        new = item.inode not in self._seen
        self._seen[item.inode] = item
        if item.names:
            self._last_name[item.inode] = item.names[0]
        self._show_namespace(item.inode)
        if new and not item.host:
            self.log("namespace", "new", self.place(item.inode), self.place(item.inode))

    def _show_namespace(self, inode: int) -> None:
        seen = self._seen.get(inode)
        if seen is not None:
            names = tuple(display_text(name) for name in seen.names)
            container = "" if seen.host else self._relations.refs.get(inode, "")
            limits = self._limits.get(inode, NamespaceLimits(inode, {}, ()))
            self._flat_set("namespaces", str(inode), Namespace(inode, seen.nsid, names, seen.host, container, seen.pid,
                                                               dict(limits.left_out), limits.noisy))

    def _limits_now(self, item: NamespaceLimits) -> None:
        """What of a namespace is too much is shown on it, and told, but not each time that it comes and goes."""
        before = self._limits.get(item.inode, NamespaceLimits(item.inode, {}, ()))
        self._limits[item.inode] = item
        self._show_namespace(item.inode)
        words = [(topic, "crowded", f"{count} or more of its {topic} are left out: there are too many")
                 for topic, count in item.left_out.items() if topic not in before.left_out]
        words += [(topic, "noisy", f"its {topic} change too often to follow each change: they are read about once a second")
                  for topic in item.noisy if topic not in before.noisy]
        now = time.monotonic()
        for topic, action, text in words:
            if now - self._warned.get((item.inode, action + topic), -math.inf) > WARN_AGAIN:
                self._warned[item.inode, action + topic] = now
                self.log("namespace", action, self.place(item.inode), self.place(item.inode), text, "warning")

    def _ended(self, inode: int) -> None:
        if inode not in self._seen:
            return
        name = self._last_name.pop(inode, "")
        if name and not self._seen[inode].names:  # the file that names it goes a moment before it does
            self._seen[inode] = replace(self._seen[inode], names=(name,))
        self.log("namespace", "gone", self.place(inode), self.place(inode))
        for topic in INNER:
            for key, value in tuple(self._inner[topic].get(inode, {}).items()):
                if isinstance(value, Link):
                    self.links_changed = True
                    self._relabel(self._relations.remove(value))
                self._set(topic, inode, key, value, None)
            self._inner[topic].pop(inode, None)
        self._relations.end(inode)
        self._limits.pop(inode, None)
        self._warned = {key: moment for key, moment in self._warned.items() if key[0] != inode}
        self._read.discard(inode)
        del self._seen[inode]
        self._flat_set("namespaces", str(inode), None)

    def place(self, inode: int) -> str:
        """Return what people call a namespace: "host", its container's ref, its name, or its number."""
        if inode == self.host:
            return "host"
        if inode in self._relations.refs:
            return self._relations.refs[inode]
        seen = self._seen.get(inode)
        return f"netns:{display_text(seen.names[0])}" if seen is not None and seen.names else f"namespace {inode}"

    def _tell(self, inode: int, before: Inner | None, after: Inner | None) -> None:
        if isinstance(after, Neighbour) and self._departed.lately(after.address):
            return
        for line in news(before, after, lambda index: self._link_name(inode, index)):
            self.log(line.kind, line.action, line.subject, self.place(inode), line.text, line.level)

    def _link_name(self, inode: int, ifindex: int) -> str:
        link = self.link(inode, ifindex)
        return f"link {ifindex}" if link is None else display_text(link.name)
