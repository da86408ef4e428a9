"""Sockets for the DHCP process, one for each wire that leases come by: a network's link, and a VLAN of it where that is a trunk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set

from drivers.vlans import site_vlan
from helperd.child_service import ChildService
from helperd.cut_off import wire_of
from helperd.dhcp.frames import Wire, WireGone
from helperd.kernel.dhcp_socket import open_on
from helperd.records import Records
from protocol.model import Endpoint, Network

RETRY_SECONDS = 1.0  # until a link that is down or gone is tried again


def wire_id(network: Network, endpoint: Endpoint) -> str:
    """What the wire is called on which the endpoint's DHCP server is."""
    vlan = site_vlan(network, endpoint)
    return f"{network.id}.{vlan}" if vlan else network.id


class Wires:
    """`back` is called with the id of a network when a link of it that was away can be used again."""

    def __init__(self, process: ChildService, records: Records, back: Callable[[str], None]) -> None:
        self._process, self._records, self._back = process, records, back
        self._open: set[str] = set()  # those that the process has been told of
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def forget(self) -> None:
        """The process is another one: it has no sockets."""
        self._open.clear()

    def need(self, ident: str) -> None:
        """Open a wire, unless it is or waits for its link."""
        if ident not in self._open and ident not in self._waiting:
            self.open(ident)

    def open(self, ident: str) -> None:
        """Give the process a new socket on a wire; where its link is not there now, later."""
        self._stop_waiting(ident)
        network, _, vlan = ident.partition(".")
        known = self._records.networks.get(network)
        if known is None:
            return
        try:
            sock = open_on(wire_of(known), int(vlan or 0))
        except OSError:
            self.open_later(ident)
            return
        self._open.add(ident)
        self._process.post(Wire(ident, int(vlan or 0)), (sock.detach(),))

    def open_later(self, ident: str) -> None:
        """Try again in a while."""
        def again() -> None:
            self.open(ident)
            if ident not in self._waiting:
                self._back(ident.partition(".")[0])

        self._open.discard(ident)
        self._stop_waiting(ident)
        self._waiting[ident] = asyncio.get_running_loop().call_later(RETRY_SECONDS, again)

    def only(self, needed: Set[str]) -> None:
        """Close those by which no lease comes any more."""
        for ident in {*self._open, *self._waiting} - needed:
            self._stop_waiting(ident)
            self._open.discard(ident)
            self._process.post(WireGone(ident))

    def _stop_waiting(self, ident: str) -> None:
        timer = self._waiting.pop(ident, None)
        if timer is not None:
            timer.cancel()
