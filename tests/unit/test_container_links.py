"""The variables and names of a link, as docker makes them."""

from __future__ import annotations

import pytest

from helperd.container_links import link_hosts, link_variables, shown_ports
from protocol.model import Container, ContainerLink, Endpoint, Port

pytestmark = pytest.mark.req("B5")


def container(name: str, uid: int = 0, **fields: object) -> Container:
    return Container(id=name.ljust(64, "0"), name=name, ref=name, runtime="netdeck", uid=uid, **fields)  # type: ignore[arg-type]


def test_the_legacy_variables() -> None:
    link = ContainerLink("db", "my-db.x")
    found = link_variables("web", link, "172.17.0.5", [(53, "udp"), (5432, "tcp"), (80, "tcp"), (80, "tcp")], {"A": "1", "HOME": "/"})
    assert found == {
        "MY_DB_X_NAME": "/web/my-db.x", "MY_DB_X_PORT": "tcp://172.17.0.5:80", "MY_DB_X_PORT_80_TCP": "tcp://172.17.0.5:80",
        "MY_DB_X_PORT_80_TCP_ADDR": "172.17.0.5", "MY_DB_X_PORT_80_TCP_PORT": "80", "MY_DB_X_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_X_PORT_5432_TCP": "tcp://172.17.0.5:5432", "MY_DB_X_PORT_5432_TCP_ADDR": "172.17.0.5",
        "MY_DB_X_PORT_5432_TCP_PORT": "5432", "MY_DB_X_PORT_5432_TCP_PROTO": "tcp", "MY_DB_X_PORT_53_UDP": "udp://172.17.0.5:53",
        "MY_DB_X_PORT_53_UDP_ADDR": "172.17.0.5", "MY_DB_X_PORT_53_UDP_PORT": "53", "MY_DB_X_PORT_53_UDP_PROTO": "udp",
        "MY_DB_X_ENV_A": "1"}
    assert link_variables("web", link, "fd00::5", [(80, "tcp")], {})["MY_DB_X_PORT"] == "tcp://[fd00::5]:80"
    assert list(link_variables("web", link, "fd00::5", [], {})) == ["MY_DB_X_NAME"]


def test_names_are_given_on_shared_networks_and_never_for_another_users_container() -> None:
    web = container("web", links=(ContainerLink("db", "store", 7), ContainerLink("gone", "x", 7)))
    mine = [Endpoint("e1", "n1", web.id, addresses=("10.0.0.2/24",))]
    theirs = {container("db").id: [Endpoint("e2", "n1", "", addresses=("10.0.0.3/24", "fd00::3/64")),
                                   Endpoint("e3", "n2", "", addresses=("10.9.0.3/24",))]}
    ident = container("db").id[:12]
    assert link_hosts(web, mine, {"db": container("db", 7)}, theirs) == {
        "10.0.0.3": ["store", ident, "db"], "fd00::3": ["store", ident, "db"]}
    assert link_hosts(web, mine, {"db": container("db", 8)}, theirs) == {}
    assert link_hosts(web, mine, {"db": container("db", 7, status="exited")}, theirs) == {}


def test_ports_are_those_exposed_and_published() -> None:
    assert shown_ports(container("db"), [Endpoint("e1", "n1", "")]) == []
    published = Endpoint("e1", "n1", "", ports=(Port("udp", "0.0.0.0", 8053, 53),))
    assert shown_ports(container("db", exposed=("80/tcp",)), [published]) == [(80, "tcp"), (53, "udp")]
