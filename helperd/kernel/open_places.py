"""The namespaces that one batch of work needs, each entered once and let go at its end.

An open descriptor or socket keeps a dead namespace alive: these live for the milliseconds of one batch.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

from drivers.objects import HOST
from helperd.kernel.name_table import NameTables
from helperd.kernel.namespaces import (
    NamespaceGone,
    NamespaceRef,
    in_namespace,
    netlink_socket,
    open_namespace,
    own_namespace,
    require_home,
)
from protocol.errors import Gone

T = TypeVar("T")


class OpenPlaces:
    """Places by id; `HOST`, where it isn't named, is the namespace of the process. A context manager."""

    def __init__(self, refs: Mapping[str, NamespaceRef]) -> None:
        self._refs = refs
        self._descriptors: dict[str, int] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._tables: dict[str, NameTables] = {}

    def __enter__(self) -> OpenPlaces:
        return self

    def __exit__(self, *error: object) -> None:
        for sock in self._sockets.values():
            sock.close()
        for tables in self._tables.values():
            tables.close()
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._sockets.clear()
        self._tables.clear()
        self._descriptors.clear()

    def descriptor(self, place: str) -> int | None:
        """A descriptor of the namespace, None for the process's own. Raises Gone, OSError."""
        require_home()
        if place == HOST and place not in self._refs:
            return None
        if place not in self._descriptors:
            ref = self._refs.get(place)
            if ref is None:
                raise Gone(f"container {place} has no network namespace: it does not run", name=place)
            try:
                self._descriptors[place] = open_namespace(ref)
            except NamespaceGone as gone:
                raise Gone(f"container {place}: {gone.message}", name=place) from gone
        return self._descriptors[place]

    def target(self, place: str) -> int:
        """A descriptor of the namespace, of the process's own too, for a request that names it. Raises Gone."""
        if self.descriptor(place) is None:
            self._descriptors[place] = open_namespace(own_namespace())
        return self._descriptors[place]

    def socket(self, place: str) -> socket.socket:
        """An rtnetlink socket in the namespace. Raises Gone, OSError."""
        if place not in self._sockets:
            self._sockets[place] = netlink_socket(self.descriptor(place))
        return self._sockets[place]

    def tables(self, place: str, *, inside: bool = False) -> NameTables:
        """A container's table of names, through one socket. `inside`: the caller is there already. Raises Gone, OSError."""
        if place not in self._tables:
            self._tables[place] = NameTables() if inside else self.inside(place, NameTables)
        return self._tables[place]

    def without_tables(self, place: str) -> NameTables:
        """The same, and the caller closes it."""
        found = self.tables(place)
        del self._tables[place]
        return found

    def inside(self, place: str, function: Callable[[], T]) -> T:
        """What `function` returns when a thread inside the namespace calls it. Raises Gone, and what it raises."""
        descriptor = self.descriptor(place)
        return function() if descriptor is None else in_namespace(descriptor, function)

    def close(self, place: str) -> None:
        """Let one place go before the end."""
        with contextlib.suppress(KeyError):
            self._sockets.pop(place).close()
        with contextlib.suppress(KeyError):
            self._tables.pop(place).close()
        with contextlib.suppress(KeyError):
            os.close(self._descriptors.pop(place))
