"""What a client's message may hold beyond its types: lengths, ranges, known topics. Checked by the front and again by the core.

The bounds are part of the wire and stand in SPEC.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from protocol.errors import BadRequest, TooMuch
from protocol.messages import (
    COUNTERS,
    TOPICS,
    Call,
    CallId,
    Cancel,
    Credit,
    FromClient,
    Hello,
    Input,
    Ping,
    Subscribe,
    Unsubscribe,
    Watch,
)

MAX_ID_TEXT = 64
MAX_OP_TEXT = 64
MAX_KEY_TEXT = 128
MAX_CLIENT_TEXT = 128
MAX_CREDIT = 1024
MAX_INODES = 4096
MAX_WATCHED = 1024
MAX_PERIOD = 3600.0
MIN_PERIOD = 0.1
MAX_DEADLINE = 86_400.0
MAX_TERMINAL = 10_000
MAX_SIGNAL_TEXT = 16
U32 = 2**32 - 1
U64 = 2**64 - 1

_KNOWN_TOPICS = frozenset((*TOPICS, COUNTERS))


def _text(value: str, limit: int, field: str, least: int = 0) -> None:
    if not least <= len(value) <= limit:
        raise BadRequest(f"`{field}` has {len(value)} characters, expected {least} to {limit}", field=field)


def _number(value: float, low: float, high: float, field: str) -> None:
    # Written so that NaN fails too.
    if not low <= value <= high:
        raise BadRequest(f"`{field}` is {value}, expected {low} to {high}", field=field)


def check_id(value: CallId) -> None:
    """Raises BadRequest unless `value` may name a call or a subscription."""
    if isinstance(value, str):
        _text(value, MAX_ID_TEXT, "id", 1)
    else:
        _number(value, 0, U64, "id")


def check_links(links: tuple[tuple[int, int], ...]) -> None:
    """Raises unless each is (namespace inode, ifindex)."""
    if len(links) > MAX_WATCHED:
        raise TooMuch(f"{len(links)} links, at most {MAX_WATCHED}", limit=MAX_WATCHED)
    for inode, ifindex in links:
        _number(inode, 0, U64, "links.inode")
        _number(ifindex, 1, U32, "links.ifindex")


def check_interest(
    topics: tuple[str, ...], inodes: tuple[int, ...] | None, period: float, links: tuple[tuple[int, int], ...] | None
) -> None:
    """Raises unless this may be subscribed to."""
    if not topics:
        raise BadRequest("`topics` is empty", field="topics", expected=sorted(_KNOWN_TOPICS))
    unknown = sorted(set(topics) - _KNOWN_TOPICS)
    if unknown:
        raise BadRequest(f"unknown topic {unknown[0][:64]!r}", field="topics", expected=sorted(_KNOWN_TOPICS))
    if inodes is not None:
        if len(inodes) > MAX_INODES:
            raise TooMuch(f"{len(inodes)} namespaces, at most {MAX_INODES}", limit=MAX_INODES)
        for inode in inodes:
            _number(inode, 0, U64, "inodes")
    _number(period, MIN_PERIOD, MAX_PERIOD, "period")
    if links is not None:
        check_links(links)


def _hello(message: Hello) -> None:
    _number(message.version, 0, U32, "version")
    _text(message.client, MAX_CLIENT_TEXT, "client")


def _call(message: Call) -> None:
    check_id(message.id)
    _text(message.op, MAX_OP_TEXT, "op", 1)
    if message.key is not None:
        _text(message.key, MAX_KEY_TEXT, "key", 1)
    if message.deadline is not None:
        _number(message.deadline, 0.001, MAX_DEADLINE, "deadline")


def _input(message: Input) -> None:
    check_id(message.id)
    if message.resize is not None:
        for size in message.resize:
            _number(size, 1, MAX_TERMINAL, "resize")
    if message.signal is not None:
        _text(message.signal, MAX_SIGNAL_TEXT, "signal", 1)
    if message.ack is not None:
        _number(message.ack, 0, U32, "ack")


def _named(message: Cancel | Unsubscribe) -> None:
    check_id(message.id)


def _subscribe(message: Subscribe) -> None:
    check_id(message.id)
    _number(message.credit, 0, MAX_CREDIT, "credit")
    check_interest(message.topics, message.inodes, message.period, message.links)


def _credit(message: Credit) -> None:
    check_id(message.id)
    _number(message.n, 1, MAX_CREDIT, "n")


def _watch(message: Watch) -> None:
    check_id(message.id)
    _number(message.period, MIN_PERIOD, MAX_PERIOD, "period")
    check_links(message.links)


def _ping(_message: Ping) -> None:
    return


_CHECKS: Mapping[type, Callable[[Any], None]] = {
    Hello: _hello,
    Call: _call,
    Input: _input,
    Cancel: _named,
    Unsubscribe: _named,
    Subscribe: _subscribe,
    Credit: _credit,
    Watch: _watch,
    Ping: _ping,
}


def check(message: FromClient) -> None:
    """Raises BadRequest or TooMuch where a well-typed message holds a value that the wire does not allow."""
    _CHECKS[type(message)](message)
