"""Links that others hung on the parents of our networks: seen, never changed, and named where ours can't be beside them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from protocol.errors import Conflict
from tests.vm.site import Site

# Parents and links made by hand, and such as another helper would have made: its mark, with its instance. In the host and in two
# namespaces.
HAND = """
link add p0 type dummy
link add p1 type dummy
link add p2 type dummy
link add link eth0 name site77 type vlan id 77
link set p0 up
link set p1 up
link set p2 up
link set site77 up
link add link p0 name t0 netns x1 type ipvlan mode l3 private
link add link p0 name t1 netns x2 type ipvlan mode l3 private
link add link p1 name t2 netns x1 type macvlan mode private
link add link p1 name t3 group 28260 type macvlan mode bridge
link set t3 up alias netdeck:1:0badcafe:endpoint:1
link add link p2 name t4 netns x2 type macvlan mode passthru
link add link site77 name t5 netns x1 group 28260 type ipvlan mode l2 vepa
link add link eth0 name t6 netns x2 group 28260 type macvlan mode bridge
link add link eth0 name t7 type vlan id 79
"""
VOLATILE = ("promiscuity", "allmulti", "operstate", "flags")


def theirs(site: Site) -> list[Any]:
    """All links that are not this helper's, with all that was set on them."""
    rows: list[Any] = []
    for netns in ("", "x1", "x2"):
        found = json.loads(site.sh("ip -d -j addr", netns))
        rows += [row for row in found if re.fullmatch(r"[pt]\d|site77|eth\d", row["ifname"])]
    for row in rows:
        for key in VOLATILE:
            row.pop(key, None)
        row["addr_info"] = [item["local"] for item in row["addr_info"] if item["scope"] == "global"]
    return rows


def seen(site: Site, *names: str) -> bool:
    """Whether the helper knows what these links hang on, and whose they are."""
    links = {row["link"]["name"]: row["link"] for row in site.call("interface.list")}
    known = {name for name, link in links.items() if link["lower_inode"] and (link["alias"] or not link["group"])}
    return known >= set(names)


def mode(site: Site, link: str, netns: str) -> str:
    data = json.loads(site.sh(f"ip -d -j link show {link}", netns))[0]["linkinfo"]["info_data"]
    return f"{data['mode']} {next(name for name in ('bridge', 'private', 'vepa') if data.get(name) or name in data.get('flags', [name]))}"


@pytest.mark.req("I8", "I1", "M1", "I15", "W3")
@pytest.mark.timeout(600)
def test_nothing_of_others_is_changed_and_what_is_in_the_way_is_named(site: Site) -> None:
    site.sh("ip netns add x1 && ip netns add x2 && ip -batch - <<END" + HAND + "END")
    # The kernel tells of a new mode or alias only of links that are up (netdev_state_change in net/core/dev.c).
    site.sh("ip -n x1 link set t0 up && ip -n x1 link set t5 up alias netdeck:1:0badcafe:endpoint:2 && "
            "ip -n x2 link set t6 up alias netdeck:1:0badcafe:endpoint:3")
    try:
        site.until(lambda: seen(site, *(f"t{number}" for number in range(8))), "the links of others are seen")
        before = theirs(site)
        assert len(before) == 14
        refused(site)
        assert theirs(site) == before
        beside(site)
        assert theirs(site) == before
        left_behind(site)
        another_mode_behind_our_back(site)
        assert theirs(site) == before
        gone_with_the_last_of_others(site)
        site.detach("same", "c1")
        site.detach("mac", "c1", "c2")
        site.remove("same", "mac", "lan")
        on_a_link_that_must_be_made_anew(site)
        by_the_operators_word(site)
        assert theirs(site) == before
    finally:
        site.clear()
        site.sh("ip netns del x1; ip netns del x2; for link in t3 t7 site77 p0 p1 p2; do ip link del $link; done", check=False)


def refused(site: Site) -> None:
    for name, words in (
        ("ipvlan p0", "network n can't hang on p0 in mode l2: the ipvlan link t0 in netns:x1, in mode l3 private, hangs there.*its mode"),
        ("ipvlan site77", "the ipvlan link t5 in netns:x1, in mode l2 vepa"), ("macvlan p0", "t0 in netns:x1.*either macvlan or ipvlan"),
        ("ipvlan p1", "the macvlan link t3 on the host, in mode bridge"), ("macvlan p1 passthru", "t3 on the host.*only one.*delete"),
        ("macvlan p2", "the macvlan link t4 in netns:x2, in mode passthru"), ("ipvlan eth0", "the macvlan link t6 in netns:x2"),
    ):
        driver, parent, *more = name.split()
        options: dict[str, Any] = {"macvlan_mode": more[0]} if more else {}
        with pytest.raises(Conflict, match=words):
            pytest.fail(f"{name} was made: {site.create('n', driver, '10.5.0.0/24', parent=parent, **options)}")
    why = {row["name"]: row["why"] for row in site.call("driver.parents", driver="ipvlan")}
    assert "t6 in netns:x2" in why["eth0"] and "t0 in netns:x1" in why["p0"]


def beside(site: Site) -> None:
    """What goes with theirs: the same mode, modes of macvlan but passthru, a VLAN beside a macvlan."""
    site.create("same", "ipvlan", "10.5.0.0/24", parent="p0", ipvlan_mode="l3", ipvlan_flag="private")
    site.create("mac", "macvlan", "10.6.0.0/24", parent="p1", macvlan_mode="vepa")
    site.create("vlan", "ipvlan", "10.7.0.0/24", parent="eth0.78")
    site.create("lan", "macvlan", "192.168.1.0/24", parent="eth0")
    site.attach("same", "c1", "c2")
    site.attach("mac", "c1", "c2")
    site.attach("vlan", "c2")
    site.detach("same", "c2")
    site.attach("lan", "c2")
    site.detach("lan", "c2")


def another_mode_behind_our_back(site: Site) -> None:
    """Somebody gives his ipvlan, and so all on that parent, another mode: that is told, and not turned back, also when the helper was
    killed and makes again what is missing."""
    document = site.inspect("same")
    site.sh("ip link set t0 type ipvlan mode l2 bridge", "x1")
    site.until(lambda: "t0 in netns:x1, in mode l2," in site.inspect("same")["Netdeck"]["Problem"], "the network says what is in the way")
    with pytest.raises(Conflict, match=r"damaged: the ipvlan link t0 in netns:x1, in mode l2, hangs on p0 too.*would change that one"):
        site.attach("same", "c2")
    site.lose_helper()
    assert mode(site, "t0", "x1") == "l2 bridge" and site.links("c2") == {"eth1"}
    told = [row["text"] for row in site.call("event.list") if row["action"] == "repair failed"]
    assert any("links on p0 can't be made again: the ipvlan link t0 in netns:x1" in text for text in told), told
    site.sh("ip link set t0 type ipvlan mode l3 private", "x1")
    site.until(lambda: site.inspect("same") == document, "the network is well again")
    site.attach("same", "c2")
    site.detach("same", "c2")


def left_behind(site: Site) -> None:
    """A container hangs a link of its own on the VLAN that netdeck made, by the one that it got: that does not keep the network from going,
    and does not go with it."""
    link = site.attach("vlan", "c1")["ifname"]
    site.sh(f"ip link add link {link} name own type ipvlan mode l2", "c1")
    site.detach("vlan", "c1", "c2")
    site.until(lambda: seen(site, "own"), "it is seen")
    assert "vlan" in site.call("network.prune", dry_run=True)["removed"]
    said = site.netdeck("network rm vlan")
    assert re.search(r"eth0\.78 stays, .*the ipvlan link own in netns:c1, in mode l2\. When that is gone, eth0\.78 goes", said), said
    said = site.netdeck("doctor", 1)
    assert re.search(r"(?s)WARNING  left-behind.*- on eth0\.78: the ipvlan link own in netns:c1", said) and "orphans" not in said, said
    for _ in range(2):  # taken again, and left again
        site.create("again", "ipvlan", "10.7.0.0/24", parent="eth0.78")
        assert "left-behind" not in {row["id"] for row in site.call("doctor.list")}
        site.remove("again")
    assert "eth0.78" in site.links()


def gone_with_the_last_of_others(site: Site) -> None:
    assert "eth0.78" in site.links() and "own" in site.links("c1"), "the helper was started again meanwhile"
    site.sh("ip link del own", "c1")
    site.until(lambda: "eth0.78" not in site.links(), "it goes by itself")


def on_a_link_that_must_be_made_anew(site: Site) -> None:
    """The link below has another name while the helper starts: what others hung on the VLAN of ours is not deleted with that."""
    site.create("late", "macvlan", "10.7.0.0/24", parent="p1.78")
    site.sh("ip link add link p1.78 name u8 netns x1 type macvlan mode bridge && ip link set p1 down && ip link set p1 name q1")
    try:
        site.lose_helper()
        assert "p1.78" in site.links() and "u8" in site.links("x1")
        told = [row["text"] for row in site.call("event.list") if row["action"] == "repair failed"]
        assert [text for text in told if " q1" in text or " p1" in text] == [
            "links on p1 can't be made anew, for it is gone: what there is stays as it is until it is back"], told
    finally:
        site.sh("ip link set q1 name p1 && ip link set p1 up")
    site.sh("ip link del u8", "x1")
    # Somebody makes one of his own in the place of netdeck's: nothing is hung on it.
    site.sh("ip link del p1.78 && ip link add link p1 name p1.78 type vlan id 78 && ip link set p1.78 up")
    site.until(lambda: "p1.78 was replaced by a vlan that is not netdeck's" in site.inspect("late")["Netdeck"]["Problem"], "it is told")
    with pytest.raises(Conflict, match=r"late is damaged: its link p1\.78 was replaced"):
        site.attach("late", "c1")
    site.sh("ip link del p1.78")
    site.until(lambda: "p1.78" in site.links() and not site.inspect("late")["Netdeck"]["Problem"], "netdeck's is made again")
    site.remove("late")
    assert "p1.78" not in site.links()


def by_the_operators_word(site: Site) -> None:
    network = site.create("inner", "macvlan", "10.8.0.0/24", internal=True)
    site.sh(f"ip link add link {network['link']} name u9 netns x1 type macvlan mode bridge")
    site.until(lambda: seen(site, "u9"), "it is seen")
    site.remove("inner")
    assert network["link"] in site.links()
    assert "with it 'the macvlan link u9 in netns:x1, in mode bridge" in site.netdeck("doctor --fix left-behind --yes")
    assert network["link"] not in site.links() and "u9" not in site.links("x1")
