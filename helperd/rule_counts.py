"""What each rule of our firewall table has counted, over every reload of the table."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from drivers.objects import Chain
from helperd.changes import CallContext
from helperd.kernel.firewall import Firewall
from helperd.records import Records
from helperd.streams import Stream
from protocol.errors import NetdeckError
from protocol.requests import FirewallRules

log = logging.getLogger("netdeck.rules")
# Between two readings, while packets are counted and while none are: what is counted after the last one is lost when somebody flushes the
# table. The kernel tells of that when it is done, and the rules are gone with their counts.
BUSY_SECONDS, QUIET_SECONDS = 1.0, 5.0
_SHARE = 200  # of the time, one part in so many may be spent reading


class RuleCounts:
    """Reads the counts now and then, so that they outlive the table."""

    def __init__(self, firewall: Firewall, records: Records) -> None:
        self._firewall, self._records = firewall, records

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        spent, packets, pause = 0.0, 0, QUIET_SECONDS
        while True:
            await asyncio.sleep(max(pause, _SHARE * spent))
            begun = loop.time()
            try:
                before, packets = packets, sum(rule.packets for rule in await self._firewall.counters())
                pause = QUIET_SECONDS if packets == before else BUSY_SECONDS
            except NetdeckError as error:
                log.warning("reading the rules' counts: %s", error.message)
            spent = loop.time() - begun

    async def rules(self, request: FirewallRules, call: CallContext, stream: Stream) -> list[dict[str, Any]]:
        """Operation `firewall.rules`."""
        wanted = [self._records.network(request.network)] if request.network is not None else list(self._records.networks.values())
        owner = {item.name: network.name for network in wanted for item in self._records.network_objects(network)
                 if isinstance(item, Chain)}
        return [{"chain": rule.chain, "network": owner.get(rule.chain, ""), "comment": rule.comment, "packets": rule.packets,
                 "bytes": rule.bytes} for rule in await self._firewall.counters() if request.network is None or rule.chain in owner]
