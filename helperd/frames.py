"""What core and front say to each other over their pipe. Each frame is a u32 little-endian length and that many bytes of msgpack.

The core takes nothing from the front on trust: every frame is decoded into one of `FromFront`, bounded and checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from protocol.codec import encode
from protocol.messages import Call, CallId, ErrorMessage, Input, Progress, Result

MAX_TO_CORE = 524_288  # bytes of one frame
MAX_TO_FRONT = 16_777_216
PART_BYTES = 65_536  # about what one State or Changes frame holds
PART_ROWS = 512

Rows = tuple[tuple[str, str, Any], ...]
ChangeRows = tuple[tuple[str, str, str, Any], ...]
Links = tuple[tuple[int, int], ...]


class FrameError(Exception):
    """The other side sent what is not a frame. Where the front did, it is replaced."""


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who sent a message: the front's number for the connection, and the kernel's word on the process at its other end."""

    client: int
    uid: int
    gid: int
    pid: int


class _FromFront(msgspec.Struct, tag_field="frame", frozen=True, forbid_unknown_fields=True):
    pass


class ReadyFrame(_FromFront, frozen=True, tag="ready"):
    """The front listens."""

    pid: int


class CallFrame(_FromFront, frozen=True, tag="call"):
    """A call. Wants exactly one ReplyFrame with `final`."""

    caller: Caller
    call: Call


class InputFrame(_FromFront, frozen=True, tag="input"):
    """Input for a call that may already be over."""

    caller: Caller
    input: Input


class CancelFrame(_FromFront, frozen=True, tag="cancel"):
    caller: Caller
    id: CallId


class SubscribeFrame(_FromFront, frozen=True, tag="subscribe"):
    """Wants StateFrames, the last with `more` false. `sub` is the front's number and never comes again."""

    caller: Caller
    sub: int
    topics: tuple[str, ...]
    inodes: tuple[int, ...] | None
    period: float
    links: Links | None


class UnsubscribeFrame(_FromFront, frozen=True, tag="unsubscribe"):
    client: int
    sub: int


class WatchFrame(_FromFront, frozen=True, tag="watch"):
    caller: Caller
    sub: int
    links: Links
    period: float


class CountersSentFrame(_FromFront, frozen=True, tag="counters_sent"):
    """The last CountersFrame of `sub` is on its way; the next may come."""

    client: int
    sub: int


class GoneFrame(_FromFront, frozen=True, tag="gone"):
    """The client is no more, and with it its subscriptions."""

    client: int


class StatsFrame(_FromFront, frozen=True, tag="stats"):
    """Answer to QueryFrame."""

    values: dict[str, int]


FromFront = (
    ReadyFrame
    | CallFrame
    | InputFrame
    | CancelFrame
    | SubscribeFrame
    | UnsubscribeFrame
    | WatchFrame
    | CountersSentFrame
    | GoneFrame
    | StatsFrame
)


class _FromCore(msgspec.Struct, tag_field="frame", frozen=True, forbid_unknown_fields=True):
    pass


class ReplyFrame(_FromCore, frozen=True, tag="reply"):
    """`body` is a whole message of the wire. `final` says that call `id` is over."""

    client: int
    id: CallId
    body: bytes
    final: bool


class StateFrame(_FromCore, frozen=True, tag="state"):
    """Rows of (topic, key, value) for one subscription."""

    client: int
    sub: int
    rows: Rows
    more: bool


class ChangesFrame(_FromCore, frozen=True, tag="changes"):
    """Rows of (topic, "put" or "del", key, value or None), once for all subscriptions."""

    rows: ChangeRows


class CountersFrame(_FromCore, frozen=True, tag="counters"):
    """Packed as `protocol.messages.Counters` says."""

    client: int
    sub: int
    time: float
    ns: bytes
    ifindex: bytes
    columns: bytes


class EndFrame(_FromCore, frozen=True, tag="end"):
    """The subscription is refused or over; `error` is ``{code, message, details}``."""

    client: int
    sub: int
    error: dict[str, Any]


class EpochFrame(_FromCore, frozen=True, tag="epoch"):
    """Everything sent so far is void: everyone gets a resync."""

    epoch: str


class QueryFrame(_FromCore, frozen=True, tag="query"):
    """Ask for a StatsFrame; also what shows that the front lives."""


FromCore = ReplyFrame | StateFrame | ChangesFrame | CountersFrame | EndFrame | EpochFrame | QueryFrame


class RawState(_FromCore, frozen=True, tag="state"):
    """StateFrame as the front reads it: values stay undecoded, they only pass through."""

    client: int
    sub: int
    rows: tuple[tuple[str, str, msgspec.Raw], ...]
    more: bool


class RawChanges(_FromCore, frozen=True, tag="changes"):
    """ChangesFrame as the front reads it."""

    rows: tuple[tuple[str, str, str, msgspec.Raw], ...]


FromCoreRaw = ReplyFrame | RawState | RawChanges | CountersFrame | EndFrame | EpochFrame | QueryFrame

_ENCODER = msgspec.msgpack.Encoder()


def pack(frame: FromFront | FromCore, limit: int) -> bytes:
    """`frame` with its length in front. Raises FrameError above `limit` bytes or where a value has no msgpack form."""
    try:
        body = _ENCODER.encode(frame)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, TypeError, RecursionError) as error:
        raise FrameError(f"{type(frame).__name__} can't be encoded: {error}") from error
    if len(body) > limit:
        raise FrameError(f"{type(frame).__name__} of {len(body)} bytes, at most {limit}")
    return len(body).to_bytes(4, "little") + body


def reply(caller: Caller, message: Progress | Result | ErrorMessage, call: CallId | None = None) -> ReplyFrame:
    """The frame that carries `message` to the caller; a result or an error ends the call. `call` names it where `message` does not."""
    ident = message.id if message.id is not None else call
    assert ident is not None
    return ReplyFrame(caller.client, ident, encode(message), not isinstance(message, Progress))


def state_frames(client: int, sub: int, rows: Iterable[tuple[str, str, Any]]) -> Iterator[StateFrame]:
    """A whole snapshot as frames of bounded size; the last, which may be empty, has `more` false."""
    for part, last in _parts(rows):
        yield StateFrame(client, sub, tuple(part), not last)


def change_frames(rows: Iterable[tuple[str, str, str, Any]]) -> Iterator[ChangesFrame]:
    """Changes as frames of bounded size; none where there are no rows."""
    for part, _last in _parts(rows):
        if part:
            yield ChangesFrame(tuple(part))


def _parts(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[list[tuple[Any, ...]], bool]]:
    part: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        value = msgspec.Raw(_ENCODER.encode(row[-1]))  # encoded once: its size is wanted, then its bytes
        length = len(memoryview(value)) + 48
        if part and (size + length > PART_BYTES or len(part) == PART_ROWS):
            yield part, False
            part, size = [], 0
        part.append((*row[:-1], value))
        size += length
    yield part, True
