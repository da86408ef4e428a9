"""Which ports a container gets and which network they lead through; the store's leases of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from drivers.driver import builtin
from drivers.objects import HOST, Masked, PortSocket, Published, Relayed, Sysctl, Veth
from helperd.port_choice import Pairs, chosen, leads_through, placed
from helperd.records import Records
from helperd.store import Change, Store
from protocol.errors import Conflict, Exhausted, InvalidValue
from protocol.model import Container, Endpoint, Network, Port, Subnet
from protocol.ports import parse_publish

pytestmark = pytest.mark.req("B9")
WEB = Container(id="c" * 64, name="web", ref="web", runtime="netdeck", inode=7)
V4, V6 = "10.1.0.2/24", "fd00:1::2/64"


def pair(name: str, *addresses: str, order: int = 0, internal: bool = False, kept: tuple[int, ...] = (), ports: Sequence[Port] = (),
         **options: str) -> tuple[Network, Endpoint]:
    subnets = {V4: Subnet("10.1.0.0/24", gateway="10.1.0.1"), V6: Subnet("fd00:1::/64", gateway="fd00:1::1")}
    network = Network(id=name * 8, name=name, driver="bridge", created=0.0, subnets=tuple(subnets[item] for item in addresses),
                      options=dict(options), internal=internal, ipv4=V4 in addresses, ipv6=V6 in addresses, link=f"br-{name}")
    return network, Endpoint(id=name * 4, network=network.id, container=WEB.id, ifname=f"eth{order}", host_link=f"veth{name}",
                             addresses=addresses, order=order, kept_defaults=kept, ports=tuple(ports))


def choose(spec: str, pairs: Pairs, taken: Sequence[int] = (), automatic: Sequence[int] = range(40000, 40005),
           six: bool = True) -> list[tuple[str, int]]:
    def free(ports: Sequence[Port], named: bool) -> None:
        for port in ports:
            if port.host_port in taken:
                raise Conflict(f"port {port.host_port} is taken", field="publish")

    found = chosen(parse_publish(spec), WEB, pairs, builtin(), iter(automatic), free, six)
    return [(port.host, port.host_port) for port in found]


def test_families_and_default_addresses() -> None:
    assert choose("8080:80", [pair("a", V4)]) == [("0.0.0.0", 8080), ("::", 8080)]
    assert choose("8080:80", [pair("a", V4)], six=False) == choose("8080:80/sctp", [pair("a", V4)]) == [("0.0.0.0", 8080)]
    assert choose("8080:80", [pair("a", V6)]) == [("::", 8080)]
    assert choose("127.0.0.1:8080:80/udp", [pair("a", V6)]) == [("127.0.0.1", 8080)]
    assert choose("[::1]:8080:80", [pair("a", V4)]) == [("::1", 8080)]
    assert choose("8080:80", [pair("a", V4, V6)]) == [("0.0.0.0", 8080), ("::", 8080)]
    assert choose("0.0.0.0:8080:80", [pair("a", V4, V6)]) == [("0.0.0.0", 8080)]
    assert choose("8080:80", [pair("a", V4, V6, host_binding_ipv4="127.0.0.1")]) == [("127.0.0.1", 8080)]
    assert choose("[::1]:8080:80", [pair("a", V4, V6, host_binding_ipv4="127.0.0.1")]) == [("::1", 8080)]
    with pytest.raises(InvalidValue, match=r"no IPv6 address on a bridge network .* only tcp and udp are carried"):
        choose("[::1]:8080:80/sctp", [pair("a", V4)])
    with pytest.raises(InvalidValue, match="on no network of netdeck's"):
        choose("8080:80", [])
    for pairs in ([pair("a", V4, internal=True)], [pair("a", V4, inhibit_ipv4="true")]):
        with pytest.raises(InvalidValue, match="can't be published"):
            choose("8080:80", pairs)


def test_automatic_ports_are_the_next_that_are_free_and_the_same_for_both_families() -> None:
    both = [pair("a", V4, V6)]
    assert choose("80-81", both, taken=[40000, 40002]) == [("0.0.0.0", 40001), ("::", 40001), ("0.0.0.0", 40003), ("::", 40003)]
    assert choose("8000-8002:80", both[:1], taken=[8000]) == [("0.0.0.0", 8001), ("::", 8001)]
    assert choose("80", [pair("a", V4)], taken=[40000]) == [("0.0.0.0", 40001), ("::", 40001)]
    with pytest.raises(Exhausted, match="no port of the host is free for 85/tcp"):
        choose("80-85", both)
    with pytest.raises(Exhausted, match="from 8000 to 8001"):
        choose("8000-8001:80", both, taken=[8000, 8001])


def test_ports_lead_through_the_network_that_gives_the_default_route() -> None:
    drivers = builtin()

    def ways(*pairs: tuple[Network, Endpoint]) -> dict[int, str]:
        return {version: way[0].name for version, way in leads_through(pairs, drivers).items()}

    assert ways(pair("m", V4), pair("a", V4, order=1)) == {4: "a"}
    assert ways(pair("m", V4, V6), pair("a", V4, order=1)) == {4: "m", 6: "m"}
    assert ways(pair("m", V4), pair("a", V6, order=1)) == {4: "m", 6: "a"}
    assert ways(pair("m", V4, internal=True), pair("z", V4, order=1)) == {4: "z"}
    # Somebody else gives the default route: the first that was attached.
    assert ways(pair("m", V4, kept=(4,)), pair("a", V4, order=1, kept=(4,))) == {4: "m"}
    assert ways() == ways(pair("m", V4, internal=True)) == {}


def test_ports_move_and_what_no_network_is_left_for_is_told() -> None:
    four, six = Port("tcp", "0.0.0.0", 80, 80), Port("tcp", "::", 80, 80)
    old, new = pair("m", V4, ports=[four, six]), pair("a", V4, V6, order=1)
    changed, lost = placed([four, six], [old, new], builtin())
    assert {item.id: item.ports for item in changed} == {old[1].id: (), new[1].id: (four, six)} and not lost
    # One without a network of its own family is carried into the other, unless it is SCTP's.
    other = msgspec.structs.replace(six, protocol="sctp")
    assert placed([four, six, other], [old], builtin()) == ((), (other,))
    assert placed([four, six], [(old[0], msgspec.structs.replace(old[1], ports=()))], builtin()) == ((old[1],), ())


def test_the_objects_of_published_ports() -> None:
    driver = builtin()["bridge"]
    network, endpoint = pair("a", V4, V6, ports=[Port("tcp", "0.0.0.0", 8080, 80), Port("udp", "::1", 53, 53)])
    objects = driver.endpoint_objects(network, endpoint, "0a1b2c3d")
    assert {item for item in objects if isinstance(item, PortSocket | Published | Masked)} == {
        PortSocket(HOST, "tcp", "0.0.0.0", 8080), Published(HOST, "tcp", "0.0.0.0", 8080, "10.1.0.2", 80),
        PortSocket(HOST, "udp", "::1", 53, "fd00:1::2", 53)}  # the kernel never sends from ::1: it is relayed
    assert Sysctl(HOST, "net.ipv4.conf.*.route_localnet", "1", "br-a") in objects
    assert next(item for item in objects if isinstance(item, Veth)).hairpin
    # A gateway that is not the bridge would get the answers; a bridge of somebody else's keeps its settings.
    aux = Subnet("10.1.0.0/24", gateway="10.1.0.1", aux={"DefaultGatewayIPv4": "10.1.0.9"})
    other = msgspec.structs.replace(network, subnets=(aux,), made_link=False)
    objects = driver.endpoint_objects(other, msgspec.structs.replace(endpoint, ports=endpoint.ports[:1]), "0a1b2c3d")
    assert Masked(HOST, "10.1.0.2") in objects
    assert not any(isinstance(item, Sysctl) and "localnet" in item.name for item in objects)
    assert PortSocket(HOST, "tcp", "0.0.0.0", 8080, "10.1.0.2", 80) in objects
    assert Published(HOST, "tcp", "127.0.0.1", 8080, "127.0.0.1", 8080) in objects


def test_the_objects_of_ports_that_lead_into_the_other_family() -> None:
    driver = builtin()["bridge"]
    ports = [Port("tcp", "0.0.0.0", 8080, 80), Port("tcp", "::", 8080, 80), Port("udp", "2001:db8::1", 53, 53)]
    kinds = PortSocket | Published | Masked | Relayed
    network, endpoint = pair("a", V4, ports=ports)
    found = [item for item in driver.endpoint_objects(network, endpoint, "0a1b2c3d") if isinstance(item, kinds)]
    assert set(found) == {
        PortSocket(HOST, "tcp", "0.0.0.0", 8080), Published(HOST, "tcp", "0.0.0.0", 8080, "10.1.0.2", 80),
        PortSocket(HOST, "tcp", "::", 8080, "10.1.0.2", 80), Relayed(HOST, "tcp", "::", 8080),
        PortSocket(HOST, "udp", "2001:db8::1", 53, "10.1.0.2", 53), Relayed(HOST, "udp", "2001:db8::1", 53)}
    assert all(item.crosses == (":" in item.address) for item in found if isinstance(item, PortSocket))
    # And where the host has no IPv4 address on the network.
    network, endpoint = pair("a", V4, V6, inhibit_ipv4="true", ports=[Port("tcp", "127.0.0.1", 8080, 80)])
    assert {item for item in driver.endpoint_objects(network, endpoint, "0a1b2c3d") if isinstance(item, kinds)} == {
        PortSocket(HOST, "tcp", "127.0.0.1", 8080, "fd00:1::2", 80), Relayed(HOST, "tcp", "127.0.0.1", 8080)}


def test_a_lease_of_a_port_is_unique_with_all_addresses_meeting_each(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [pair(name, V4, order=0) for name in ("a", "b")]
    rows = [(network, msgspec.structs.replace(endpoint, addresses=(f"10.1.0.{number}/24",), container=number * "c"))
            for number, (network, endpoint) in enumerate(rows, 2)]
    containers = [msgspec.structs.replace(WEB, id=item.container, name=item.id, ref=item.id) for _, item in rows]
    first, second = (item for _, item in rows)
    store.put(Change("x", 0, networks=tuple(item for item, _ in rows), containers=tuple(containers), endpoints=(first, second)))

    def have(endpoint: Endpoint, *ports: Port) -> Endpoint:
        return msgspec.structs.replace(endpoint, ports=ports)

    tcp = Port("tcp", "0.0.0.0", 80, 80)
    store.put(Change("port.publish", 0, endpoints=(have(first, tcp),)))
    for port in (tcp, Port("tcp", "192.0.2.1", 80, 81)):
        with pytest.raises(Conflict, match="published already"):
            store.begin(Change("port.publish", 0, endpoints=(have(second, port),)))
        assert Records(store, builtin()).port_owner(port) == first.id
    for port in (Port("udp", "0.0.0.0", 80, 80), Port("tcp", "::", 80, 80), Port("tcp", "0.0.0.0", 81, 80)):
        assert Records(store, builtin()).port_owner(port) is None
        entry = store.begin(Change("port.publish", 0, endpoints=(have(second, port),)))
        store.abort(entry)
    # What is taken back is free again, what was kept is not; a move from one endpoint to another is one change.
    entry = store.begin(Change("move", 0, endpoints=(have(second, tcp), have(first))))
    store.abort(entry)
    with pytest.raises(Conflict):
        store.begin(Change("port.publish", 0, endpoints=(have(second, tcp),)))
    store.put(Change("move", 0, endpoints=(have(second, tcp), have(first))))
    records = Records(store, builtin())
    assert records.port_owner(tcp) == second.id
    # Cut off in its middle, a change of leases is as if it had not been.
    store.begin(Change("move", 0, endpoints=(have(first, tcp), have(second))))
    store.close()
    store = Store(tmp_path)
    assert len(store.recover()) == 1
    with pytest.raises(Conflict):
        store.begin(Change("port.publish", 0, endpoints=(have(first, tcp),)))
    store.put(Change("gone", 0, drop_endpoints=(second.id,)))
    store.put(Change("port.publish", 0, endpoints=(have(first, tcp),)))
    assert Records(store, builtin()).port_owner(tcp) == first.id
