"""What is stored, in memory and indexed: networks, containers, endpoints, and the desired kernel objects that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from drivers.default_route import choose_default_routes, masked
from drivers.driver import Driver, builtin, find
from drivers.name_server import name_server
from drivers.objects import HOST, AnyObject, Bridge, Veth
from drivers.unusable import settle
from helperd.link_openings import opened
from helperd.store import Change, Store, lease_address
from protocol.errors import Conflict, NotFound
from protocol.model import SHARES, Container, Endpoint, Network, Port
from protocol.names import display_text, suggestion

_Named = TypeVar("_Named", Network, Container)
_HEX = frozenset("0123456789abcdef")


class Records:
    """The stored state. Changes only through `apply`, after the store has them."""

    def __init__(self, store: Store, drivers: Mapping[str, Driver]) -> None:
        self.instance = store.instance
        self.networks: dict[str, Network] = {item.id: item for item in store.networks()}
        endpoints = store.endpoints()
        self.drivers = settle(drivers, builtin(), self.networks.values(), endpoints, store.instance)
        self.containers: dict[str, Container] = {}
        self._by_name: dict[str, str] = {}  # name or ref → id of the container; names are unique, and refs with them
        self._in_namespace: dict[int, dict[str, Container]] = {}
        self.linking: dict[str, Container] = {}  # those that have links
        self._sharing: dict[str, Container] = {}  # those that share another's network
        for container in store.containers():
            self._put_container(container)
        self.endpoints: dict[str, Endpoint] = {}
        self._last: dict[str, dict[str, str]] = {}
        for (network, subnet), address in store.last_addresses().items():
            self._last.setdefault(network, {})[subnet] = address
        self._of_network: dict[str, dict[str, Endpoint]] = {}
        self._of_container: dict[str, dict[str, Endpoint]] = {}
        self._leases: dict[str, dict[str, str]] = {}
        self._ports: dict[tuple[str, int], dict[str, str]] = {}  # (protocol, port of the host) → address of the host → endpoint
        self._carriers: dict[str, Bridge | Veth | None] = {}
        for endpoint in endpoints:
            self._put_endpoint(endpoint)
        for network, leases in store.leases().items():  # one that no endpoint has is not handed out either: the store would refuse it
            self._leases[network] = {**leases, **self._leases.get(network, {})}

    def apply(self, change: Change, last: Mapping[tuple[str, str], str]) -> None:
        """Bring the memory to what the store holds after `change`."""
        for ident in change.drop_endpoints:
            self._drop_endpoint(ident)
        for ident in change.drop_containers:
            self._drop_container(ident)
        for ident in change.drop_networks:
            self.networks.pop(ident, None)
            self._of_network.pop(ident, None)
            self._leases.pop(ident, None)
            self._last.pop(ident, None)
        for ident, address in change.drop_leases:
            self._leases.get(ident, {}).pop(address, None)
        for ident in (*change.drop_networks, *(item.id for item in change.networks)):
            self._carriers.pop(ident, None)
        self.networks.update((item.id, item) for item in change.networks)
        for container in change.containers:
            self._put_container(container)
        for endpoint in change.endpoints:
            self._put_endpoint(endpoint)
        for (network, subnet), address in last.items():
            self._last.setdefault(network, {})[subnet] = address

    def _put_container(self, container: Container) -> None:
        if container.id in self.containers:
            self._unlist(self.containers[container.id])
        self.containers[container.id] = container
        self._by_name[container.name] = self._by_name[container.ref] = container.id
        if container.links:
            self.linking[container.id] = container
        if container.mode.startswith(SHARES):
            self._sharing[container.id] = container
        if container.inode:
            self._in_namespace.setdefault(container.inode, {})[container.id] = container

    def _drop_container(self, ident: str) -> None:
        container = self.containers.pop(ident, None)
        if container is not None:
            self._unlist(container)

    def _unlist(self, container: Container) -> None:
        self.linking.pop(container.id, None)
        self._sharing.pop(container.id, None)
        for name in (container.name, container.ref):
            if self._by_name.get(name) == container.id:
                del self._by_name[name]
        others = self._in_namespace.get(container.inode, {})
        others.pop(container.id, None)
        if not others:
            self._in_namespace.pop(container.inode, None)

    def _put_endpoint(self, endpoint: Endpoint) -> None:
        self._drop_endpoint(endpoint.id)
        self.endpoints[endpoint.id] = endpoint
        self._of_network.setdefault(endpoint.network, {})[endpoint.id] = endpoint
        self._of_container.setdefault(endpoint.container, {})[endpoint.id] = endpoint
        leases = self._leases.setdefault(endpoint.network, {})
        leases.update((lease_address(prefix), endpoint.id) for prefix in endpoint.addresses)
        for port in endpoint.ports:
            self._ports.setdefault((port.protocol, port.host_port), {})[port.host] = endpoint.id

    def _drop_endpoint(self, ident: str) -> None:
        endpoint = self.endpoints.pop(ident, None)
        if endpoint is None:
            return
        self._of_network.get(endpoint.network, {}).pop(ident, None)
        self._of_container.get(endpoint.container, {}).pop(ident, None)
        if not self._of_container.get(endpoint.container):
            self._of_container.pop(endpoint.container, None)
        for prefix in endpoint.addresses:
            self._leases.get(endpoint.network, {}).pop(lease_address(prefix), None)
        for port in endpoint.ports:
            hosts = self._ports.get((port.protocol, port.host_port), {})
            if hosts.get(port.host) == ident:  # by now it may be another endpoint's of the same container
                del hosts[port.host]
            if not hosts:
                self._ports.pop((port.protocol, port.host_port), None)

    def leases(self, network: str) -> Mapping[str, str]:
        """Bare address → endpoint id, of one network."""
        return self._leases.setdefault(network, {})

    def port_owner(self, port: Port) -> str | None:
        """The endpoint through which a port of the host is published that `port` would meet, None if there is none."""
        for host, endpoint in self._ports.get((port.protocol, port.host_port), {}).items():
            if (":" in host) == (":" in port.host) and (host == port.host or {host, port.host} & {"0.0.0.0", "::"}):
                return endpoint
        return None

    def handed_out(self, network: str) -> Mapping[str, str]:
        """Subnet → the address handed out last, of one network."""
        return self._last.get(network, {})

    def owner(self, endpoint: str) -> str:
        """What people call the container of an endpoint."""
        found = self.endpoints.get(endpoint)
        container = self.containers.get(found.container) if found else None
        return container.ref if container else endpoint[:12]

    def endpoints_of(self, *, network: str = "", container: str = "") -> list[Endpoint]:
        """The endpoints of a network, of a container, or of both, in order of attachment."""
        found = self._of_container.get(container, {}) if container else self._of_network.get(network, {})
        return sorted((item for item in found.values() if not network or item.network == network),
                      key=lambda item: item.order)

    def endpoint_count(self, network: str) -> int:
        return len(self._of_network.get(network, {}))

    def all_lost(self, network: str) -> bool:
        """Whether the leases of all endpoints of a network were lost, of which there is one at least."""
        endpoints = self._of_network.get(network, {}).values()
        return bool(endpoints) and all(item.lease is not None and item.lease.lost for item in endpoints)

    def network(self, name: str) -> Network:
        """By name, id, or unambiguous prefix of an id. Raises NotFound, Conflict."""
        return _find(self.networks.values(), name, "network")

    def container(self, name: str) -> Container | None:
        """Stored container by name, ref, id, or unambiguous prefix of an id; None if there is none. Raises Conflict."""
        found = self.containers.get(self._by_name.get(name, name))
        if found is not None or not set(name) <= _HEX:
            return found
        return _match(self.containers.values(), name, "container")

    def named(self, name: str) -> Container | None:
        """Stored container by its very name or ref."""
        return self.containers.get(self._by_name.get(name, ""))

    def containers_in(self, inode: int) -> list[Container]:
        """The stored containers that live in a namespace; of a pod there are several."""
        return list(self._in_namespace.get(inode, {}).values())

    def sharers(self, ident: str) -> list[Container]:
        """The containers that run in the network namespace of another, which keep it alive when that one ends."""
        return [item for item in self._sharing.values() if item.mode == SHARES + ident and item.status == "running"]

    def network_objects(self, network: Network) -> tuple[AnyObject, ...]:
        return find(self.drivers, network.driver).network_objects(network, self.instance)

    def carrier(self, network: Network) -> Bridge | Veth | None:
        """The link of `network` on the host as netdeck makes it, None where it has none of ours."""
        if network.id not in self._carriers:
            self._carriers[network.id] = next((item for item in self.network_objects(network) if isinstance(item, Bridge | Veth)
                                               and (item.place, item.name) == (HOST, network.link)), None)
        return self._carriers[network.id]

    def container_objects(self, endpoints: Iterable[Endpoint], networks: Mapping[str, Network]) -> list[AnyObject]:
        """All objects of one container's `endpoints`, default routes and the name server among them."""
        pairs = [(networks[item.network], item) for item in endpoints]
        objects: list[AnyObject] = []
        for network, endpoint in pairs:
            objects.extend(find(self.drivers, network.driver).endpoint_objects(network, endpoint, self.instance))
        routes = choose_default_routes(pairs, self.drivers)
        return [*objects, *routes, *masked(pairs, routes), *name_server(pairs, self.instance)]

    def desired(self) -> list[AnyObject]:
        """Every object that the kernel should hold for this instance."""
        objects: list[AnyObject] = []
        for network in self.networks.values():
            objects.extend(self.network_objects(network))
        for container in self._of_container:
            objects.extend(self.container_objects(self.endpoints_of(container=container), self.networks))
        return [*objects, *opened(self)]


def _find(items: Iterable[_Named], name: str, what: str) -> _Named:
    known = list(items)
    found = _match(known, name, what)
    if found is None:
        shown = display_text(name)
        near = suggestion(name, (item.name for item in known))
        raise NotFound(f"no {what} {shown!r}{near or f': netdeck {what} ls shows what there is'}", name=shown)
    return found


def _match(items: Iterable[_Named], name: str, what: str) -> _Named | None:
    """By name, id, or unambiguous prefix of an id. A near miss is only looked for by those who tell of it: it takes long."""
    known = list(items)
    for item in known:
        if name in (item.name, item.id):
            return item
    found = [item for item in known if len(name) >= 2 and item.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        shown = display_text(name)
        names = ", ".join(sorted(item.name for item in found))
        raise Conflict(f"{what} id {shown!r} is ambiguous: it begins the ids of {names}. Give more of it, or the name",
                       name=shown, candidates=names)
    return None
