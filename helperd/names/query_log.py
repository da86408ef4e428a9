"""The query log: what containers ask, told to those who watch it and kept nowhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from helperd.names.frames import Queries
from protocol.model import Container, Query
from protocol.names import display_text

Rows = Iterable[tuple[str, str, str, Any]]


class QueryLog:
    """`send` takes rows of the topic `queries`."""

    def __init__(self, containers: Mapping[str, Container], send: Callable[[Rows], None]) -> None:
        self._containers, self._send = containers, send
        self._numbers = itertools.count(1)

    def tell(self, frame: Queries) -> None:
        """Rows for `frame`. Everything in it was written by containers and name servers."""
        rows: list[tuple[str, str, str, Any]] = []
        for item in frame.rows:
            container = self._containers.get(item.container)
            if container is None:
                continue
            number = next(self._numbers)
            query = Query(
                seq=number, time=item.time, container=container.ref, inode=container.inode, name=display_text(item.name),
                type=display_text(item.type), result=display_text(item.result), by=display_text(item.by),
                answers=tuple(map(display_text, item.answers)), seconds=item.seconds, lost=frame.lost if not rows else 0)
            rows.append(("queries", "put", f"{container.inode}/{number}", query))
        self._send(rows)
