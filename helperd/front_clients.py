"""What the front remembers of a client: its calls, subscriptions, what waits for it and what it may still send. No sockets."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from helperd.frames import Caller, CountersFrame, RawChanges
from helperd.front_config import Limits
from helperd.roles import Role
from helperd.zap import Peer
from protocol.codec import encode
from protocol.errors import NetdeckError, to_wire
from protocol.messages import QUEUE_LIMIT, CallId, Counters, ErrorMessage, Event, Resync, Snapshot, Subscribe

ClientKey = tuple[int, bytes]  # which socket, and the routing id that libzmq made there

# Their keys begin with the inode of a namespace and a slash, and `inodes` of a subscription applies to them.
NAMESPACED = frozenset(("links", "vlans", "addresses", "routes", "neighbours", "rules", "queries"))
MAX_CREDIT_HELD = 4_096


class Phase(enum.Enum):
    """Of a subscription."""

    WAITING = "waiting"  # no row of its snapshot has come
    LOADING = "loading"  # some have; changes are held back until the last
    ACTIVE = "active"
    ENDED = "ended"  # only its `resync` or `error` is still to be sent


@dataclass(slots=True, eq=False)
class Subscription:
    """`number` names it to the core, `id` to the client. `queue` holds (message, whether it costs a credit)."""

    number: int
    id: CallId
    client: int
    topics: frozenset[str]
    inodes: frozenset[str] | None
    credit: int
    phase: Phase = Phase.WAITING
    seq: int = 0
    held: list[RawChanges] = field(default_factory=list)
    queue: deque[tuple[bytes, bool]] = field(default_factory=deque)
    events: int = 0  # of `queue`, those that cost a credit
    latest: CountersFrame | None = None

    @classmethod
    def of(cls, number: int, client: int, message: Subscribe) -> Subscription:
        """The subscription that `message` asks for."""
        inodes = None if message.inodes is None else frozenset(map(str, message.inodes))
        return cls(number, message.id, client, frozenset(message.topics), inodes, message.credit)

    def snapshot(self, epoch: str, rows: tuple[tuple[str, str, object], ...], more: bool) -> None:
        """Queue a part of the state; after the last, what was held back."""
        self.queue.append((encode(Snapshot(self.id, epoch, self.seq, rows, more)), False))
        if more:
            self.phase = Phase.LOADING
            return
        self.phase = Phase.ACTIVE
        held, self.held = self.held, []
        for changes in held:
            self.changes(changes)

    def changes(self, changes: RawChanges) -> bool:
        """Queue what concerns this subscription. False where there is no room: it must end."""
        if self.phase is Phase.LOADING:
            self.held.append(changes)
            return len(self.held) <= QUEUE_LIMIT
        if self.phase is not Phase.ACTIVE:
            return True
        rows = tuple(row for row in changes.rows if row[0] in self.topics and self._wants(row[0], row[2]))
        if not rows:
            return True
        if self.events >= QUEUE_LIMIT:
            return False
        self.seq += 1
        self.queue.append((encode(Event(self.id, self.seq, rows)), True))
        self.events += 1
        return True

    def _wants(self, topic: str, key: str) -> bool:
        return self.inodes is None or topic not in NAMESPACED or key.partition("/")[0] in self.inodes

    def end(self, message: Resync | ErrorMessage) -> None:
        """Forget what waits; `message` is the last that the client hears of this subscription."""
        self.phase = Phase.ENDED
        self.held.clear()
        self.queue.clear()
        self.events = 0
        self.latest = None
        self.queue.append((encode(message), False))

    def next(self) -> bytes | None:
        """The message to send now, or None. `sent` must follow once it has gone."""
        if self.queue:
            body, costs = self.queue[0]
            if not costs or self.credit > 0:
                return body
        elif self.latest is not None and self.credit > 0:
            frame = self.latest
            return encode(Counters(self.id, frame.time, frame.ns, frame.ifindex, frame.columns))
        return None

    def sent(self) -> bool:
        """What `next` gave has gone. True where it was counters."""
        if self.queue:
            _body, costs = self.queue.popleft()
            if costs:
                self.credit -= 1
                self.events -= 1
            return False
        self.latest = None
        self.credit -= 1
        return True

    def add_credit(self, count: int) -> None:
        """More may be sent."""
        self.credit = min(self.credit + count, MAX_CREDIT_HELD)

    def waiting_bytes(self) -> int:
        """Bytes of the messages that wait."""
        return sum(len(body) for body, _costs in self.queue)


@dataclass(slots=True, eq=False)
class Client:
    """One connection. `role` is NONE until it has said hello."""

    key: ClientKey
    number: int
    peer: Peer
    descriptor: int  # of the connection in this process; libzmq may use the number again after it
    seen: float
    tokens: float
    greeted: bool = False
    role: Role = Role.NONE
    name: str = ""
    calls: set[CallId] = field(default_factory=set)
    subscriptions: dict[CallId, Subscription] = field(default_factory=dict)
    answers: deque[bytes] = field(default_factory=deque)
    refilled: float = 0.0
    warned: float = 0.0

    def caller(self) -> Caller:
        """As the core knows it."""
        return Caller(self.number, self.peer.uid, self.peer.gid, self.peer.pid)

    def spend(self, cost: float, now: float, limits: Limits) -> bool:
        """Take `cost` tokens; False where the client has sent more than its rate allows."""
        self.tokens = min(limits.burst, self.tokens + (now - self.refilled) * limits.rate)
        self.refilled = now
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def refuse(self, error: NetdeckError, ident: CallId | None = None) -> None:
        """Queue an error for it."""
        self.answers.append(encode(ErrorMessage(ident, to_wire(error))))

    def waiting_bytes(self) -> int:
        """Bytes of all that waits for it."""
        return sum(map(len, self.answers)) + sum(item.waiting_bytes() for item in self.subscriptions.values())
