"""The envelope: every message of the wire as a struct. `protocol/SPEC.md` is the same for people.

A message is one msgpack map in one ZeroMQ frame, with the key ``type``. Unknown fields are refused, so a typing error in a
script is told and not ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1
SOCKET_ENV = "NETDECK_SOCKET"
DEFAULT_SOCKET = "/run/netdeck/helper.sock"

MAX_MESSAGE = 262_144  # bytes from a client; libzmq drops the connection above it
MAX_DEPTH = 16
MAX_ITEMS = 4_096  # of any one array or map
MAX_TEXT = 65_536  # bytes of any one string
MAX_DATA = 131_072  # bytes of any one binary
QUEUE_LIMIT = 256  # messages held for a subscription that doesn't read

TOPICS = (
    "namespaces", "links", "vlans", "addresses", "routes", "neighbours", "rules", "networks", "endpoints", "containers", "log", "queries",
)
QUERIES = "queries"  # what containers ask the name server; told only while somebody subscribes, who must be allowed to operate
COUNTERS = "counters"
COUNTER_COLUMNS = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")

CallId = int | str


class ClientMessage(msgspec.Struct, tag_field="type", frozen=True, forbid_unknown_fields=True):
    """Base of what a client sends."""


class Hello(ClientMessage, frozen=True, tag="hello"):
    """First message of a client. Answered by `welcome`."""

    version: int
    client: str = ""


class Call(ClientMessage, frozen=True, tag="call"):
    """Do `op`. With `key`, the same key is carried out once, however often it is sent. `deadline` is in seconds from now."""

    id: CallId
    op: str
    args: dict[str, Any] = {}
    key: str | None = None
    deadline: float | None = None


class Input(ClientMessage, frozen=True, tag="input"):
    """To a running streaming call: bytes for its standard input, the end of them, a window size (rows, columns), a signal's
    name (``INT``), or the number of output bytes that were consumed (`ack`)."""

    id: CallId
    data: bytes | None = None
    eof: bool = False
    resize: tuple[int, int] | None = None
    signal: str | None = None
    ack: int | None = None


class Cancel(ClientMessage, frozen=True, tag="cancel"):
    """Ask that call `id` be given up; after its commit it is too late and its result comes all the same."""

    id: CallId


class Subscribe(ClientMessage, frozen=True, tag="subscribe"):
    """Snapshot, then changes, of `topics`; `counters` among them starts counters too.

    `inodes` limits links, addresses, routes, neighbours, rules and counters to these namespaces. `credit` is how many `event`
    and `counters` messages may come before more credit is given. `period` is the counters' pace in seconds; `links` limits counters to
    (inode, ifindex) pairs.
    """

    id: CallId
    topics: tuple[str, ...]
    credit: int = 64
    inodes: tuple[int, ...] | None = None
    period: float = 1.0
    links: tuple[tuple[int, int], ...] | None = None


class Unsubscribe(ClientMessage, frozen=True, tag="unsubscribe"):
    id: CallId


class Credit(ClientMessage, frozen=True, tag="credit"):
    """`n` more `event` or `counters` messages may come on subscription `id`."""

    id: CallId
    n: int


class Watch(ClientMessage, frozen=True, tag="watch"):
    """Counters of `links` every `period` seconds (0.1 at the least) on top of what the subscription has; () ends it."""

    id: CallId
    links: tuple[tuple[int, int], ...]
    period: float = 0.1


class Ping(ClientMessage, frozen=True, tag="ping"):
    """Answered by `pong` at once; also what keeps a silent client from being forgotten."""


FromClient = Hello | Call | Input | Cancel | Subscribe | Unsubscribe | Credit | Watch | Ping


class HelperMessage(msgspec.Struct, tag_field="type", frozen=True):
    """Clients ignore fields they don't know: later versions may add some."""


class Welcome(HelperMessage, frozen=True, tag="welcome"):
    """`role` is what the caller may do. A change of `epoch` means that the helper's memory began anew."""

    version: int
    epoch: str
    role: str
    uid: int
    user: str = ""
    instance: str = ""
    host: str = ""
    lab: bool = False
    program: str = ""


class Progress(HelperMessage, frozen=True, tag="progress"):
    """What a call is doing; for streaming calls, output: `stream` is ``stdout`` or ``stderr``. `taken` is how many bytes of the
    client's input were taken since the last such message."""

    id: CallId
    text: str = ""
    step: int = 0
    steps: int = 0
    stream: str = ""
    data: bytes = b""
    taken: int = 0


class Result(HelperMessage, frozen=True, tag="result"):
    id: CallId
    value: Any = None


class ErrorMessage(HelperMessage, frozen=True, tag="error"):
    """`error` is ``{code, message, details}``; `id` is None where the fault is not one call's."""

    id: CallId | None
    error: dict[str, Any]


class Snapshot(HelperMessage, frozen=True, tag="snapshot"):
    """State at `seq`: rows of [topic, key, value]. Comes in parts: the last has `more` false."""

    id: CallId
    epoch: str
    seq: int
    state: tuple[tuple[str, str, Any], ...]
    more: bool = False


class Event(HelperMessage, frozen=True, tag="event"):
    """Changes since the last message: rows of [topic, "put" or "del", key, value or None]. `seq` counts one up each time."""

    id: CallId
    seq: int
    changes: tuple[tuple[str, str, str, Any], ...]


class Counters(HelperMessage, frozen=True, tag="counters"):
    """Numbers that changed since the last such message, packed little-endian.

    `ns` is u64[n], `ifindex` u32[n], `columns` 8·n u64: n of each of `COUNTER_COLUMNS` in turn. `time` is monotonic seconds of
    the reading, for rates. Never queued: what was not sent in time is contained in the next.
    """

    id: CallId
    time: float
    ns: bytes
    ifindex: bytes
    columns: bytes


class Resync(HelperMessage, frozen=True, tag="resync"):
    """The subscription ended because the client fell behind or the epoch changed: subscribe again."""

    id: CallId
    reason: str = ""


class Pong(HelperMessage, frozen=True, tag="pong"):
    pass


FromHelper = Welcome | Progress | Result | ErrorMessage | Snapshot | Event | Counters | Resync | Pong
