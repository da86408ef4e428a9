"""Steps on addresses, routes and the up state of links."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from drivers.objects import PROTOCOL, Address, AnyObject, Route, Up
from helperd.kernel.link_messages import delete_address, delete_route, new_address, new_route, set_link
from helperd.kernel.link_state import all_addresses, all_routes, index_of, read_link
from helperd.kernel.netlink_batch import Refusal, exchange, one
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import RunFailed, doing, in_the_way, refused
from helperd.plan import Step
from protocol.errors import Gone, NetdeckError, NotFound

DEFAULT_METRIC6 = 1024  # IP6_RT_PRIO_USER, what the kernel gives a v6 route without one
_GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL})


def create_ip(places: OpenPlaces, run: Sequence[Step]) -> None:
    """Carry out creations in one place in one sendmsg. Only the first may be an `Up`: to take that back would cost the link its
    v6 addresses, whereas an address or a route that was added behind a failure is taken back without a trace."""
    sock = places.socket(run[0].object.place)
    requests: list[bytes] = []
    failure: tuple[int, NetdeckError] | None = None
    for number, step in enumerate(run):
        try:
            requests.append(_new(step, _index(sock, step)))
        except NetdeckError as error:
            failure = (number, error)
            break
    outcomes = exchange(sock, requests)
    for number, refusal in enumerate(outcomes):
        try:
            if refusal is not None:
                _exists(sock, run[number], refusal)
        except NetdeckError as error:
            failure = (number, error)
            break
    if failure is not None:
        for number in range(len(outcomes) - 1, failure[0], -1):
            if outcomes[number] is None:
                with contextlib.suppress(Refusal):
                    one(sock, _gone(run[number].object, _index(sock, run[number])))
        raise RunFailed(*failure)


def _index(sock: socket.socket, step: Step) -> int:
    link = _link_name(step.object)
    index = index_of(sock, link)
    if not index:
        raise NotFound(f"{doing(step)}: there is no link {link}", name=link)
    return index


def _link_name(item: AnyObject) -> str:
    assert isinstance(item, Address | Up | Route)
    return item.link


def _new(step: Step, index: int) -> bytes:
    match step.object:
        case Address(prefix=prefix):
            return new_address(index, prefix)
        case Route() as route:
            return new_route(route, index)
        case _:
            return set_link(index, up=True)


def _gone(item: AnyObject, index: int) -> bytes:
    match item:
        case Address(prefix=prefix):
            return delete_address(index, prefix)
        case Route() as route:
            return delete_route(route, index)
        case _:
            return set_link(index, up=False)


def _exists(sock: socket.socket, step: Step, refusal: Refusal) -> None:
    """Put up with what exists, if it is ours; else raise."""
    if refusal.number != errno.EEXIST:
        raise refused(step, refusal)
    match step.object:
        case Address() as address:
            state = next(
                (
                    found
                    for found in all_addresses(sock, _index(sock, step))
                    if found.prefix == canonical(address.prefix)
                ),
                None,
            )
            if state is None:
                raise in_the_way(step, "the link has that address with another prefix length", address.prefix)
            if not state.marked and not _link_ours(sock, address.link):
                raise in_the_way(step, "the link has that address, and netdeck did not give it", address.prefix)
        case Route() as route:
            _replace_route(sock, step, route)
        case _:
            raise refused(step, refusal)


def _link_ours(sock: socket.socket, name: str) -> bool:
    link = read_link(sock, name)
    return link is not None and link.ours


def _replace_route(sock: socket.socket, step: Step, route: Route) -> None:
    """Put `route` in the place of ours with its destination and metric; never in that of another's."""
    rivals = [
        found
        for found in all_routes(sock, 0)
        if found.destination == canonical_network(route.destination) and found.metric == metric_of(route)
    ]
    if any(found.protocol != PROTOCOL for found in rivals):
        raise in_the_way(step, "there is such a route, and netdeck did not make it", route.destination)
    index = _index(sock, step)
    if any(found.index == index and found.gateway == canonical_gateway(route) for found in rivals):
        return
    try:
        one(sock, new_route(route, index, replace=True))
    except Refusal as refusal:
        raise refused(step, refusal) from refusal


def change_route(places: OpenPlaces, step: Step) -> None:
    """Give a route of ours another gateway or link."""
    assert isinstance(step.object, Route)
    _replace_route(places.socket(step.object.place), step, step.object)


def delete_ip(places: OpenPlaces, step: Step) -> None:
    """Take away an address, a route or the up state; what is gone, or isn't ours, is left as it is."""
    item = step.object
    try:
        sock = places.socket(item.place)
    except Gone:
        return
    index = index_of(sock, _link_name(item))
    if not index:
        return
    if isinstance(item, Up) and not _link_ours(sock, item.link):
        return
    if isinstance(item, Address):
        state = next((found for found in all_addresses(sock, index) if found.prefix == canonical(item.prefix)), None)
        if state is None or not (state.marked or _link_ours(sock, item.link)):
            return
    # A link that goes down loses its v6 addresses (unless keep_addr_on_down is set); only the up state was to go.
    kept = (
        [found.prefix for found in all_addresses(sock, index) if found.marked and ":" in found.prefix]
        if isinstance(item, Up)
        else []
    )
    try:
        one(sock, _gone(item, index))
    except Refusal as refusal:
        if refusal.number not in _GONE:
            raise refused(step, refusal) from refusal
    if isinstance(item, Up):
        exchange(sock, [new_address(index, prefix) for prefix in kept])


def canonical(prefix: str) -> str:
    """An address, with or without a prefix length, as `link_state` writes it. Raises OSError for what is none."""
    bare, slash, length = prefix.partition("/")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    return socket.inet_ntop(family, socket.inet_pton(family, bare)) + slash + length


def canonical_network(destination: str) -> str:
    """A destination, as `link_state` writes it."""
    return canonical(destination)


def canonical_gateway(route: Route) -> str:
    """The gateway, as `link_state` writes it, or ""."""
    return canonical(route.gateway) if route.gateway else ""


def metric_of(route: Route) -> int:
    """The metric that the kernel shows for `route`."""
    return route.metric or (DEFAULT_METRIC6 if ":" in route.destination else 0)
