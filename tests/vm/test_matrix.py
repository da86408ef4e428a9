"""Driver × mode × kind of parent × family, with packets: who reaches whom. All networks on a kind of parent stand at the same time, and all
is asked at once: in a virtual machine, each new program costs."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.vm.site import Site

PARENTS = ("plain", "made", "hand", "dummy")
"""A link of the host; a VLAN that netdeck makes; one made by hand, of any name; none, so that netdeck makes a dummy link."""
FLAGS = ("bridge", "private", "vepa")
MODES = (*(("macvlan", {"macvlan_mode": mode}) for mode in ("bridge", "vepa", "private", "passthru")),
         *(("ipvlan", {"ipvlan_mode": mode, "ipvlan_flag": flag}) for mode in ("l2", "l3", "l3s") for flag in FLAGS))


class Case(NamedTuple):
    """One network. Its subnets are 10.NUMBER.1.0/24 and fd00:NUMBER:1::/64; where the parent routes, the router is in 10.NUMBER.2.0/24."""

    number: int
    driver: str
    options: dict[str, str]
    kind: str

    @property
    def parent(self) -> str:
        return {"plain": f"m{self.number}", "made": f"eth0.{self.vid}", "hand": f"hand{self.number}", "dummy": ""}[self.kind]

    @property
    def far(self) -> str:
        """The router's link in `outside`."""
        return f"n{self.number}" if self.kind == "plain" else f"lan0.{self.vid}"

    @property
    def vid(self) -> int:
        return 1000 + self.number

    @property
    def routed(self) -> bool:
        return self.options.get("ipvlan_mode", "l2") != "l2"

    @property
    def alone(self) -> bool:
        return self.options.get("macvlan_mode") == "passthru"

    def meets(self, address: str) -> bool:
        """Whether its containers reach each other at an address.

        With vepa what they send leaves the parent, and whoever is there may send it back. In IPv6 the host's routes are asked even where
        they lead over another link, here to the router, which knows the way back; in IPv4 what none of the parent's leads to is taken for a
        neighbour on it, which is not there (ip_route_output_key_hash_rcu in net/ipv4/route.c).
        """
        sent_back = ":" in address and self.routed and self.kind != "dummy" and "vepa" in self.options.values()
        return "bridge" in self.options.values() or sent_back

    @property
    def router(self) -> tuple[str, str]:
        net = 2 if self.routed else 1
        return f"10.{self.number}.{net}.1", f"fd00:{self.number}:{net}::1"

    def members(self) -> tuple[str, ...]:
        return (f"a{self.kind}",) if self.alone else (f"a{self.kind}", f"b{self.kind}")


def batch(site: Site, lines: list[str], netns: str = "") -> None:
    site.sh("ip -batch - <<END\n" + "\n".join(lines) + "\nEND", netns)


def cables(site: Site, cases: list[Case]) -> None:
    """What leads from each parent to the router, and the router's addresses."""
    here: list[str] = []
    there: list[str] = []
    for case in cases:
        if case.kind == "plain":
            here += [f"link add {case.parent} type veth peer name {case.far} netns outside", f"link set {case.parent} up"]
        elif case.kind != "dummy":
            there.append(f"link add link lan0 name {case.far} type vlan id {case.vid}")
        if case.kind == "hand":
            here += [f"link add link eth0 name {case.parent} type vlan id {case.vid}", f"link set {case.parent} up"]
        if case.kind != "dummy":
            there += [f"link set {case.far} up", f"addr add {case.router[0]}/24 dev {case.far}",
                      f"addr add {case.router[1]}/64 dev {case.far} nodad"]
            if case.routed:
                there += [f"route add 10.{case.number}.1.0/24 via 10.{case.number}.2.250",
                          f"route add fd00:{case.number}:1::/64 via fd00:{case.number}:2::250"]
    batch(site, here)
    batch(site, there, "outside")


def networks(site: Site, cases: list[Case]) -> None:
    for case in cases:
        options: dict[str, Any] = {**case.options, **({"parent": case.parent} if case.parent else {})}
        net6 = f"fd00:{case.number}:1::"
        site.create(f"n{case.number}", case.driver, f"10.{case.number}.1.0/24", f"{net6}/64,{net6}1", ipv6=True, **options)
    batch(site, [line for case in cases if case.routed and case.parent for line in (
        f"addr add 10.{case.number}.2.250/24 dev {case.parent}", f"addr add fd00:{case.number}:2::250/64 dev {case.parent} nodad")])


def members(site: Site, cases: list[Case]) -> dict[tuple[int, str], list[str]]:
    """The containers of all networks: those on one kind of parent share two. Returns their addresses."""
    names = sorted({name for case in cases for name in case.members()})
    site.sh(f"for name in {' '.join(names)}; do ip netns add $name || exit; done")
    found: dict[tuple[int, str], list[str]] = {}
    for case in cases:
        for name in case.members():
            endpoint = site.call("network.connect", network=f"n{case.number}", container=f"netns:{name}")["endpoint"]
            found[case.number, name] = [prefix.partition("/")[0] for prefix in endpoint["addresses"]]
            assert len(found[case.number, name]) == 2
            if case.routed and case.parent:
                batch(site, [f"route add 10.{case.number}.2.0/24 dev {endpoint['ifname']}",
                             f"route add fd00:{case.number}:2::/64 dev {endpoint['ifname']}"], name)
    return found


@pytest.mark.req("M1", "M2", "I1", "I5", "I7", "I8", "I13")
@pytest.mark.parametrize("kind", PARENTS)
@pytest.mark.timeout(600)
def test_who_reaches_whom(site: Site, kind: str) -> None:
    cases = [Case(60 + number, driver, options, kind) for number, (driver, options) in enumerate(MODES)]
    cables(site, cases)
    try:
        networks(site, cases)
        addresses = members(site, cases)
        expected: list[tuple[str, str, bool]] = []
        for case in cases:
            first, *second = case.members()
            for name in second:
                expected += [(first, address, case.meets(address)) for address in addresses[case.number, name]]
            if case.parent:
                expected += [(first, address, True) for address in case.router]
        site.meet(*expected)
        shown = " ".join(site.sh("ip -d -o link", f"a{kind}").split())
        for case in cases:
            assert " ".join((case.driver, "mode", *case.options.values())) in shown, case
        # The ends of the containers give all back; then no network has members.
        site.sh(f"ip netns del a{kind} && ip netns del b{kind}")
        site.until(lambda: not any(row["containers"] for row in site.call("network.list")), "all containers are let go")
        assert len(site.call("network.prune")["removed"]) == len(cases)
        assert {case.parent for case in cases if case.kind in ("made", "dummy")} & site.links() == set()
    finally:
        site.clear()
        batch(site, [f"link del {case.parent}" for case in cases if case.kind in ("plain", "hand")])
        batch(site, [f"link del {case.far}" for case in cases if case.kind in ("made", "hand")], "outside")
