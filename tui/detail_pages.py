"""The pages of the details: what is said about one network, container, interface or event. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from protocol.messages import QUERIES
from protocol.model import DHCP, Container, DriverInfo, Link, LogEntry, Neighbour, Network, Port, Query, Route
from protocol.ports import order, port_text
from tui import conflict_words, lease_words, neighbour_page, port_page, vlan_page
from tui.close_look import Look
from tui.cut_off_words import CUT_OFF
from tui.documents import Line, Page, Span, builtins
from tui.feed import Feed
from tui.queries import page_lines
from tui.rates import Rates
from tui.rows import containers, events, interfaces, networks, vlans
from tui.rows.ports import published
from tui.rows.vlans import VlanGroup
from tui.rows.words import bytes_text, duration_text, namespace_label, rate_text
from tui.selection import Model, Selected
from tui.widgets.chart import chart
from tui.widgets.glyphs import Glyphs, state_text, state_tone
from tui.widgets.sparkline import sparkline

CHART_HEIGHT: Final = 4
JSON_PAGE: Final = "JSON"
NEIGHBOURS_PAGE: Final = "Neighbours"  # of an interface: what it has learnt of others, while the page is open
NOTES_PAGE: Final = "Notes"  # of a network: what its driver can't do
PORTS_PAGE: Final = "Ports"
QUERIES_PAGE: Final = "Queries"  # of a container: what it asks for names, while the page is open
_MAIN_TABLE: Final = 254
_LOOPBACK: Final = 0x8  # IFF_LOOPBACK, linux/if.h
_FLAGS: Final = {0x1: "up", 0x2: "broadcast", 0x8: "loopback", 0x10: "pointopoint", 0x80: "noarp", 0x100: "promisc",
                 0x1000: "multicast", 0x10000: "lower-up"}  # IFF_*, linux/if.h
_LEVEL_TONES: Final = {"warning": "warn", "error": "bad"}


@dataclass(frozen=True, slots=True)
class Context:
    """What a page may use. `history`: bytes a second of the last minute, oldest first, () where there is none.

    `inspected`: what the helper answered to the page's `question`; None until it did, a str where it refused. `look`: an interface as it is
    at this moment, where it is looked at so closely. `queries`: what was asked for since the page was opened; `neighbours`: those of
    the interface's namespace, None until they were told; `refused` says why the helper tells none.
    """

    feed: Feed
    glyphs: Glyphs
    width: int
    history: Sequence[float] = ()
    inspected: Any = None
    look: Look | None = None
    queries: Sequence[Query] = ()
    refused: str = ""
    neighbours: Mapping[str, Neighbour] | None = None


def _when(moment: float) -> str:
    if not moment:
        return ""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))} ({duration_text(time.time() - moment)} ago)"


def _traffic(page: Page, context: Context, rx: float, tx: float) -> None:
    if math.isnan(rx):
        return
    page.heading("Traffic", "last minute")
    if any(value > 0 for value in context.history):
        for line in chart(context.history, page.width, CHART_HEIGHT, context.glyphs.bars):
            page.raw(Span(line, "accent"))
    if context.look is not None:
        width = max(1, page.width - 9)
        page.raw(Span("tenths   ", "label"), Span(sparkline(context.look.tenths[-width:], width, context.glyphs.bars), "accent"))
    page.field("receives", rate_text(rx), labels=8)
    page.field("sends", rate_text(tx), labels=8)
    peak = max((value for value in context.history if value == value), default=0.0)
    page.field("peak", f"{rate_text(peak)} both ways" if peak > 0 else "", "muted", labels=8)


def _state(page: Page, context: Context, word: str, labels: int = 12) -> None:
    page.field("state", state_text(word, context.glyphs), state_tone(word), labels)


# Network

def _network_summary(context: Context, key: str, network: Network) -> list[Line]:
    page, feed = Page(context.width), context.feed
    page.field("name", network.name)
    page.field("id", network.id[:12], "muted")
    page.field("driver", network.driver)
    _state(page, context, networks.state_of(feed, network))
    if network.problem:
        page.field("problem", network.problem, "warn")
    page.field("link", network.link + ("" if network.made_link or not network.link else "  (was there before: never changed or deleted)"))
    page.field("host access", ", ".join(network.host_addresses))
    page.field("kind", networks.options_text(network))
    page.field("created", _when(network.created), "muted")
    page.field("given by", "the site's DHCP server" if network.ipam == DHCP else "")
    for subnet in network.subnets:
        page.heading(f"Subnet {subnet.subnet}", "" if subnet.chosen else "from the default pools")
        page.field("gateway", subnet.gateway or "none")
        page.field("ip-range", subnet.ip_range or "")
        for name, address in subnet.aux.items():
            page.field("aux-address", f"{name} {address}")
    _traffic(page, context, *networks.traffic(feed, network))
    for title, values in (("Options", network.options), ("Labels", network.labels)):
        if values:
            page.heading(title)
            _pairs(page, values)
    return page.lines


def _pairs(page: Page, values: Mapping[str, str]) -> None:
    width = min(26, max(map(len, values)))
    for name, value in sorted(values.items()):
        page.field(name, value or '""', labels=width)


def _network_members(context: Context, key: str, network: Network) -> list[Line]:
    page, feed = Page(context.width), context.feed
    endpoints = feed.endpoints_of(network=network.id)
    if not endpoints:
        page.text("No container is attached.", "muted")
    for endpoint in endpoints:
        container = feed.containers.get(endpoint.container)
        page.heading(container.ref if container else endpoint.container[:12], "" if endpoint.state == "ready" else endpoint.state)
        for address in endpoint.addresses:
            page.field("address", address)
        page.field("interface", f"{endpoint.ifname}  ({endpoint.host_link} on the host)" if endpoint.host_link else endpoint.ifname)
        page.field("mac", endpoint.mac, "muted")
        page.field("aliases", " ".join(endpoint.aliases))
        lease_words.put(page, endpoint.lease, time.time())
        conflict_words.put(page, endpoint.conflicts)
        _ports(page, endpoint.ports)
        link = networks.inner_link(feed, endpoint)
        rates = feed.rates.of(link) if link else None
        if rates is not None:
            page.field("receives", rate_text(rates.rx))
            page.field("sends", rate_text(rates.tx))
    return page.lines


def _network_notes(context: Context, key: str, network: Network) -> list[Line]:
    """What its driver can and can't do."""
    page = Page(context.width)
    if not isinstance(context.inspected, list):
        page.text(context.inspected or "asking the helper", "bad" if context.inspected else "muted")
        return page.lines
    for info in msgspec.convert([item for item in context.inspected if item["name"] == network.driver], list[DriverInfo]):
        page.heading(info.name)
        page.text(info.help)
        for text in info.notes_of(network.options):
            page.blank()
            page.text(text)
        for option in info.options:
            page.heading(option.name, network.options.get(option.name, "") or "not set")
            page.text(option.help, "muted")
    return page.lines


def _ports(page: Page, ports: Sequence[Port]) -> None:
    for port in sorted(ports, key=order):
        page.field("port", port_text(port))


def inspected_object(answer: Any) -> Any:
    """The one object that an answer to ``inspect`` is about."""
    return answer[0] if isinstance(answer, list) and answer else answer


def _inspected(context: Context, key: str, model: Model) -> list[Line]:
    page = Page(context.width)
    if context.inspected is None:
        page.text("asking the helper", "muted")
    elif isinstance(context.inspected, str):
        page.text(context.inspected, "bad")
    else:
        page.json(inspected_object(context.inspected))
    return page.lines


# Container

def _container_summary(context: Context, key: str, container: Container) -> list[Line]:
    page, feed = Page(context.width), context.feed
    page.field("name", container.ref)
    page.field("id", container.id[:12], "muted")
    page.field("runtime", container.runtime)
    _state(page, context, containers.status_word(container))
    page.field("networks", containers.networks_text(container) or "none of ours")
    for endpoint in feed.endpoints_of(container=container.id):
        if endpoint.state in CUT_OFF and endpoint.network in feed.networks:
            page.field("cut off", f"from {feed.networks[endpoint.network].name}: {CUT_OFF[endpoint.state]}", "bad")
    page.field("pid", str(container.pid or ""))
    page.field("user", str(container.uid) if container.pid else "")
    page.field("hostname", container.hostname)
    page.field("namespace", f"{namespace_label(feed, container.inode)}  ({container.inode})" if container.inode else "")
    page.field("path", container.path)
    page.field("created", _when(container.created), "muted")
    page.field("command", " ".join(container.command))
    for endpoint in feed.endpoints_of(container=container.id):
        lease_words.put(page, endpoint.lease, time.time())
        conflict_words.put(page, endpoint.conflicts)
    _ports(page, published(feed, container))
    _traffic(page, context, *containers.traffic(feed, container))
    if container.labels:
        page.heading("Labels")
        _pairs(page, container.labels)
    return page.lines


def _container_interfaces(context: Context, key: str, container: Container) -> list[Line]:
    page, feed = Page(context.width), context.feed
    links = feed.links_in(container.inode) if container.inode else ()
    if not links:
        page.text("It has no network namespace of its own now.", "muted")
    if container.inode == feed.host_inode and links:
        page.text("It shares the network of the host: see Interfaces, filter ns:host.", "muted")
        return page.lines
    for link in sorted(links, key=lambda link: link.flags & _LOOPBACK):
        page.heading(link.name, link.network)
        _link_facts(page, context, link)
    _routes(page, feed, container.inode)
    return page.lines


def _container_ports(context: Context, key: str, container: Container) -> list[Line]:
    return port_page.page_lines(context.feed, container, context.inspected, context.width)


def _container_queries(context: Context, key: str, container: Container) -> list[Line]:
    return page_lines(context.queries, context.refused, context.width)


# Interface

def _link_facts(page: Page, context: Context, link: Link) -> None:
    feed, key = context.feed, f"{link.inode}/{link.ifindex}"
    _state(page, context, interfaces.state_word(link))
    page.field("addresses", " ".join(address.address for address in feed.addresses_of(key)))
    page.field("mac", link.mac, "muted")
    page.field("peer", interfaces.peer_text(feed, link))
    rates = feed.rates.of(key)
    if rates is not None:
        page.field("receives", rate_text(rates.rx))
        page.field("sends", rate_text(rates.tx))


def _interface_summary(context: Context, key: str, link: Link) -> list[Line]:
    page, feed = Page(context.width), context.feed
    page.field("name", link.name)
    page.field("kind", " ".join(filter(None, (link.kind, link.detail, f"vlan {link.vlan}" if link.vlan else ""))))
    _state(page, context, interfaces.state_word(link))
    page.field("container", link.container)
    page.field("network", interfaces.network_text(feed, link))
    master = feed.links.get(f"{link.inode}/{link.master}")
    page.field("master", master.name if master else str(link.master or ""))
    page.field("peer", interfaces.peer_text(feed, link))
    _interface_traffic(page, context, key)
    page.heading("More")
    page.field("namespace", f"{namespace_label(feed, link.inode)}  ({link.inode})")
    page.field("index", str(link.ifindex), "muted")
    page.field("mac", link.mac)
    page.field("mtu", str(link.mtu or ""))
    page.field("flags", " ".join(word for bit, word in _FLAGS.items() if link.flags & bit), "muted")
    page.field("alias", link.alias, "muted")
    return page.lines


def _interface_neighbours(context: Context, key: str, link: Link) -> list[Line]:
    return neighbour_page.page_lines(context.feed, link, context.neighbours, context.refused, context.glyphs, context.width)


def _interface_traffic(page: Page, context: Context, key: str) -> None:
    rates = context.feed.rates.of(key)
    if rates is None:
        return
    if (look := context.look) is not None:
        all_rx, all_tx, _, _, *others = look.counts
        rates = Rates(look.rx, look.tx, look.rx_packets, look.tx_packets, sum(others[:2]), sum(others[2:]), all_rx, all_tx)
    _traffic(page, context, rates.rx, rates.tx)
    page.field("packets", f"{rates.rx_packets:.0f} in, {rates.tx_packets:.0f} out a second", labels=8)
    page.field("in all", f"{bytes_text(rates.rx_total)} in, {bytes_text(rates.tx_total)} out", labels=8)
    page.field("errors", str(rates.errors), "bad" if rates.errors else "muted", labels=8)
    page.field("drops", str(rates.drops), "warn" if rates.drops else "muted", labels=8)


def _interface_addresses(context: Context, key: str, link: Link) -> list[Line]:
    page, feed = Page(context.width), context.feed
    addresses = feed.addresses_of(key)
    page.heading("Addresses", link.name)
    if addresses:
        for address in addresses:
            page.text(f"{address.address} {address.scope}")
    else:
        page.text("none", "muted")
    _routes(page, feed, link.inode)
    return page.lines


def _routes(page: Page, feed: Feed, inode: int) -> None:
    routes = sorted(feed.routes_in(inode), key=_route_order)
    page.heading("Routes", f"of {namespace_label(feed, inode)}")
    if not routes:
        page.text("none", "muted")
        return
    for route in routes:
        page.text(_route(feed, route))


def _route_order(route: Route) -> tuple[object, ...]:
    """The main table first, and in each the default route."""
    return route.table != _MAIN_TABLE, route.table, route.family, route.destination != "default", route.destination


def _route(feed: Feed, route: Route) -> str:
    """A route in the words of `ip route`."""
    device = feed.links.get(f"{route.inode}/{route.ifindex}")
    words = [route.kind if route.kind != "unicast" else "", route.destination]
    words.append(f"via {route.gateway}" if route.gateway else "")
    words.append(f"dev {device.name if device else route.ifindex}" if route.ifindex else "")
    words.append(f"table {route.table}" if route.table != _MAIN_TABLE else "")
    words.append(f"metric {route.metric}" if route.metric else "")
    return " ".join(filter(None, words))


def _model_json(context: Context, key: str, model: Model) -> list[Line]:
    page = Page(context.width)
    page.json(builtins(model))
    return page.lines


# VLAN

def _vlan_summary(context: Context, key: str, group: VlanGroup) -> list[Line]:
    page = vlan_page.summary(context.feed, group, context.glyphs, context.width)
    _traffic(page, context, *vlans.traffic(context.feed, group))
    return page.lines


def _vlan_members(context: Context, key: str, group: VlanGroup) -> list[Line]:
    return vlan_page.members(context.feed, group, context.glyphs, context.width)


# Event

def _event_summary(context: Context, key: str, entry: LogEntry) -> list[Line]:
    page = Page(context.width)
    page.field("time", f"{time.strftime('%Y-%m-%d', time.localtime(entry.time))} {events.clock_text(entry.time)}")
    page.field("level", entry.level, _LEVEL_TONES.get(entry.level, ""))
    page.field("what", f"{entry.kind} {entry.action}")
    page.field("subject", entry.subject)
    page.field("where", entry.where)
    page.field("by", entry.actor or "the kernel")
    if entry.text:
        page.blank()
        page.text(entry.text)
    return page.lines


Maker = Callable[[Context, str, Any], "list[Line]"]

PAGES: Final[dict[str, tuple[tuple[str, Maker], ...]]] = {
    "network": (("Summary", _network_summary), ("Containers", _network_members), (JSON_PAGE, _inspected),
                (NOTES_PAGE, _network_notes)),
    "container": (("Summary", _container_summary), ("Interfaces", _container_interfaces), (PORTS_PAGE, _container_ports),
                  (QUERIES_PAGE, _container_queries), (JSON_PAGE, _inspected)),
    "interface": (("Summary", _interface_summary), ("Addresses", _interface_addresses),
                  (NEIGHBOURS_PAGE, _interface_neighbours), (JSON_PAGE, _model_json)),
    "vlan": (("Summary", _vlan_summary), ("Members", _vlan_members), (JSON_PAGE, _model_json)),
    "event": (("Summary", _event_summary), (JSON_PAGE, _model_json)),
}

#: Operations that give the JSON page of a kind.
INSPECT: Final = {"network": "network.inspect", "container": "container.inspect"}


def question(feed: Feed, selected: Selected, page: int) -> tuple[str, dict[str, Any]] | None:
    """The operation, with its arguments, whose answer a page shows; None where it needs none."""
    name = PAGES[selected.kind][page][0]
    if name == JSON_PAGE and selected.kind in INSPECT:
        return INSPECT[selected.kind], {"names": (selected.key,)}
    if name == NOTES_PAGE:
        return "driver.list", {}
    if name == PORTS_PAGE and isinstance(selected.model, Container) and published(feed, selected.model):
        return "port.list", {"container": selected.key}
    return None


def watched(selected: Selected, page: int) -> tuple[str, int] | None:
    """The topic, and the namespace, that a page follows live beside what the feed has; None where it needs none."""
    name, model = PAGES[selected.kind][page][0], selected.model
    if name == QUERIES_PAGE and isinstance(model, Container) and model.inode:
        return QUERIES, model.inode
    if name == NEIGHBOURS_PAGE and isinstance(model, Link):
        return "neighbours", model.inode
    return None


def lines(context: Context, selected: Selected, page: int) -> list[Line]:
    """The lines of one page."""
    _, make = PAGES[selected.kind][page]
    return make(context, selected.key, selected.model)
