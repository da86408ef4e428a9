"""Which links of the host can be the parent or uplink of a network, and why the others can't: asked of the driver itself, link by link."""

from __future__ import annotations

from typing import Any

from drivers.bridge_uplink import UPLINK
from drivers.driver import HostLink, find, parse_options
from drivers.unusable import require_usable
from helperd.changes import CallContext
from helperd.host_facts import HostFacts
from helperd.kernel.host_links import carries
from helperd.records import Records
from helperd.streams import Stream
from protocol.errors import InvalidValue, NetdeckError
from protocol.model import Network, ParentLink
from protocol.names import display_text, network_name
from protocol.requests import DriverParents

_MOST = 512  # links told of


class ParentLinks:
    """The operation ``driver.parents``."""

    def __init__(self, records: Records, facts: HostFacts) -> None:
        self._records, self._facts = records, facts

    async def listing(self, request: DriverParents, call: CallContext, stream: Stream) -> Any:
        """Those that can serve first. The host's ends of containers of ours are left out: nobody looks for them here."""
        driver = find(self._records.drivers, request.driver)
        require_usable(driver)
        option = "parent" if driver.info.parents else UPLINK.name
        if not any(item.name == option for item in driver.info.options):
            raise InvalidValue(f"networks of driver {driver.name} hang on no link of the host", field="driver", value=driver.name)
        name = network_name(request.name)
        asked = {key: value for key, value in request.options.items() if key != "name"}  # of a bridge, which is not what is asked about
        view = self._facts.view(self._records.instance)
        others = [item for item in self._records.networks.values() if item.name != name]
        found = []
        for link in view.links.values():
            if link.ours and link.kind == "veth":
                continue
            why = ""
            try:
                options = {**parse_options(driver.info, asked), option: link.name}
                driver.check(Network("0" * 64, name, driver.name, 0.0, options=options), view, others)
            except NetdeckError as error:
                why = error.message
            found.append(_told(link, why))
        return sorted(found, key=lambda item: (bool(item.why), item.name))[:_MOST]


def _told(link: HostLink, why: str) -> ParentLink:
    return ParentLink(display_text(link.name), link.kind, link.up, link.addresses, why, not link.up or carries(link.name)[1])
