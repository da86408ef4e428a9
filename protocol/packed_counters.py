"""The packed numbers of a `Counters` message."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from protocol.errors import BadRequest
from protocol.messages import Counters


def unpack_counters(message: Counters) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(namespace inode, ifindex, the 8 numbers in the order of COUNTER_COLUMNS) of each link. Raises BadRequest where the
    lengths don't fit together."""
    count = len(message.ifindex) // 4
    if len(message.ns) != count * 8 or len(message.columns) != count * 64 or len(message.ifindex) != count * 4:
        raise BadRequest("packed counters have lengths that don't fit together")
    spaces = struct.unpack(f"<{count}Q", message.ns)
    indices = struct.unpack(f"<{count}I", message.ifindex)
    flat = struct.unpack(f"<{count * 8}Q", message.columns)
    for row in range(count):
        yield spaces[row], indices[row], flat[row::count]
