"""Counters of links in columns: a row a link, kept by its identity, and stamped when it changes."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter

from helperd.kernel.link_statistics import STATISTICS
from protocol.messages import COUNTER_COLUMNS

LinkId = tuple[int, int]  # inode, ifindex
_NOTHING = bytes(STATISTICS.size)
_unpack = STATISTICS.unpack


@dataclass(frozen=True, slots=True)
class CounterBatch:
    """Counters of some links, packed little-endian as `protocol.messages.Counters` says; `time` in monotonic seconds."""

    time: float
    ns: bytes
    ifindex: bytes
    columns: bytes


class CounterTable:
    """Rows are re-used; `tick` is any number that grows, and a row bears the one of its last change."""

    def __init__(self) -> None:
        self._row: dict[LinkId, int] = {}
        self._free: list[int] = []
        self._raw: list[bytes] = []  # as the kernel gave it, in the link's own direction
        self._ns = array("Q")
        self._ifindex = array("I")
        self._stamp = array("Q")  # 0: the row is free
        self._columns = tuple(array("Q") for _ in COUNTER_COLUMNS)

    def __len__(self) -> int:
        return len(self._row)

    def record(self, link: LinkId, raw: bytes, tick: int) -> bool:
        """Set what was read of a link; returns whether that is something new."""
        row = self._row.get(link)
        if row is None:
            row = self._add(link)
        elif self._raw[row] == raw:
            return False
        mirrored = not self._raw[row] and self._stamp[row]
        self._raw[row] = raw
        # Written out: this is what the reading of ten thousand busy links spends its time with.
        rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = _unpack(raw)
        c0, c1, c2, c3, c4, c5, c6, c7 = self._columns
        if mirrored and (c0[row], c1[row], c2[row], c3[row], c4[row], c5[row], c6[row], c7[row]) == (
            rx_bytes, tx_bytes, rx_packets, tx_packets, rx_errors, tx_errors, rx_dropped, tx_dropped
        ):
            return False
        c0[row], c1[row], c2[row], c3[row] = rx_bytes, tx_bytes, rx_packets, tx_packets
        c4[row], c5[row], c6[row], c7[row] = rx_errors, tx_errors, rx_dropped, tx_dropped
        self._stamp[row] = tick
        return True

    def mirror(self, link: LinkId, raw: bytes, tick: int) -> None:
        """Set bytes and packets of the link whose other end was read: what one end sent the other received.

        Errors and drops are each end's own; they stay as they were read there.
        """
        row = self._row.get(link)
        if row is None:
            row = self._add(link)
        rx_packets, tx_packets, rx_bytes, tx_bytes = _unpack(raw)[:4]
        columns = self._columns
        columns[0][row], columns[1][row], columns[2][row], columns[3][row] = tx_bytes, rx_bytes, tx_packets, rx_packets
        self._raw[row] = b""
        self._stamp[row] = tick

    def _add(self, link: LinkId) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row = len(self._stamp)
            self._raw.append(_NOTHING)
            for column in (self._ns, self._ifindex, self._stamp, *self._columns):
                column.append(0)
        for column in self._columns:
            column[row] = 0
        self._ns[row], self._ifindex[row] = link
        self._row[link] = row
        self._raw[row] = b""
        return row

    def keep(self, links: Collection[LinkId]) -> set[LinkId]:
        """Remove all rows but those of `links`; returns what was removed."""
        gone = self._row.keys() - links
        for link in gone:
            row = self._row.pop(link)
            self._stamp[row] = 0
            self._raw[row] = b""
            self._free.append(row)
        return gone

    def rows(self, links: Iterable[LinkId]) -> list[int]:
        """Return the rows of those of `links` that have one."""
        return [row for row in map(self._row.get, links) if row is not None]

    def changed(self, since: int, rows: Iterable[int] | None = None, inodes: Collection[int] | None = None) -> list[int]:
        """Return the rows (of `rows`, in the namespaces `inodes`) that changed after tick `since`."""
        stamp = self._stamp
        found = [row for row in (range(len(stamp)) if rows is None else rows) if stamp[row] > since]
        return found if inodes is None else [row for row in found if self._ns[row] in inodes]

    def pack(self, rows: list[int], time: float) -> CounterBatch:
        """Return the counters in `rows`."""
        pick = itemgetter(*rows, rows[0]) if rows else _none  # never one alone: that it would give bare
        count = len(rows)
        return CounterBatch(
            time,
            _packed(array("Q", pick(self._ns)[:count])),
            _packed(array("I", pick(self._ifindex)[:count])),
            b"".join([_packed(array("Q", pick(column)[:count])) for column in self._columns]),
        )


def _none(column: array[int]) -> tuple[int, ...]:
    return ()


def _swapped(values: array[int]) -> bytes:
    values.byteswap()
    return values.tobytes()


_packed: Callable[[array[int]], bytes] = array.tobytes if sys.byteorder == "little" else _swapped
