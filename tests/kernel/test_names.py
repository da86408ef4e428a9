"""Containers find each other by name: real namespaces, asked with dig."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.kernel.names_host import NamesHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.name_fixtures",)


@pytest.mark.req("B4")
def test_names_aliases_and_ids_in_both_families(names: NamesHost) -> None:
    helper = names.helper
    helper.call("network.create", name="web", ipv6=True)
    first = names.attach("web", "c1", aliases=["store", "Main.Db"])
    names.attach("web", "c2")
    inside = {row["ref"]: row for row in helper.call("container.list")}
    six = next(item for item in helper.call("container.inspect", names=["netns:c1"])[0]["Netdeck"]["Addresses"]
               if item["address"].startswith("f") and not item["address"].startswith("fe80"))["address"].partition("/")[0]
    for name in ("c1", "C1", "c1.", "store", "main.db", "MAIN.DB", inside["netns:c1"]["id"][:12], "c1.web", "store.WEB"):
        for transport in ("+notcp", "+tcp"):
            assert names.dig("c2", transport, name).data == (first,), name
            assert names.dig("c2", transport, name, "AAAA").data == (six,), name
    assert "aa" in names.dig("c2", "c1").flags and "\t5\t" in names.dig("c2", "c1").text.replace("  ", "\t")
    assert names.dig("c2", "-x", first).data == ("c1.web.",)
    assert names.dig("c2", "-x", six).data == ("c1.web.",)
    assert names.dig("c1", "c1").data == (first,)  # it finds itself, too
    assert set(names.dig("c2", "c1", "ANY").data) == {first, six}
    assert names.host.run("ss -Hlun sport = :53", netns="c1") == ""  # a name server of its own may have that port


@pytest.mark.req("B4")
def test_what_is_known_is_not_forwarded(names: NamesHost) -> None:
    server = names.serve()
    names.helper.call("network.create", name="web", subnets=[{"subnet": "10.9.0.0/24"}])
    names.attach("web", "c1")
    names.attach("web", "c2")
    for words in (("c1", "AAAA"), ("c1", "MX"), ("c1", "TXT"), ("-x", "10.9.0.2", "TXT")):
        told = names.dig("c2", *words)
        assert (told.status, told.data) == ("NOERROR", ()), words
    assert names.dig("c2", "-x", "10.9.0.77").status == "NXDOMAIN"
    assert names.dig("c2", "c1", "AXFR").data == ()
    assert names.dig("c2", "c1", "CH", "TXT").status == "REFUSED"
    assert names.dig("c2", "elsewhere.example").data == ("203.0.113.7",)
    assert names.dig("c2", "-x", "192.0.2.1").status == "NOERROR"
    server.kill()
    out, _ = server.communicate()
    assert [line.split()[2] for line in out.splitlines()] == ["elsewhere.example.", "1.2.0.192.in-addr.arpa."]


@pytest.mark.req("B4", "D4")
def test_names_of_the_networks_a_container_is_on_and_of_no_other(names: NamesHost) -> None:
    names.serve()
    helper = names.helper
    for network in ("front", "back"):
        helper.call("network.create", name=network)
    in_front, in_back = names.attach("front", "both"), names.attach("back", "both")
    web, store = names.attach("front", "web"), names.attach("back", "store")
    assert names.dig("both", "web").data == (web,) and names.dig("both", "store").data == (store,)
    assert names.dig("web", "both").data == (in_front,) and names.dig("store", "both").data == (in_back,)
    assert names.dig("both", "both.back").data == (in_back,)
    assert names.dig("web", "store").data == ("203.0.113.7",)  # somebody else's name, for all it knows
    assert names.dig("web", "-x", store).status == "NOERROR"
    helper.call("network.disconnect", network="back", container="netns:both")
    assert names.dig("both", "store").data == ("203.0.113.7",)
    names.until("store", "both", ("203.0.113.7",))
    helper.call("network.disconnect", network="front", container="netns:both")
    assert names.table("both") == []
    until(lambda: names.at_name_address("both") == [])
    assert names.dig("web", "both").data == ("203.0.113.7",)


@pytest.mark.req("B4")
def test_a_container_that_moves_is_found_at_its_new_address(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.attach("web", "c2")
    first = names.attach("web", "c1")
    assert names.dig("c2", "c1").data == (first,)
    names.helper.call("network.disconnect", network="web", container="netns:c1")
    second = names.attach("web", "c1")
    assert first != second and names.dig("c2", "c1").data == (second,)
    names.host.run("ip netns del c1")
    until(lambda: names.dig("c2", "c1").status != "NOERROR")
    until(lambda: names.helper.call("info")["namespaces"] == 2)  # nothing of ours keeps it alive


@pytest.mark.req("B4")
def test_an_alias_of_many_has_all_their_addresses_in_changing_order(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.attach("web", "c0")
    addresses = {names.attach("web", f"c{number}", aliases=["pool"]) for number in range(1, 41)}
    orders = {names.dig("c0", "pool").data for _ in range(4)}
    assert all(set(order) == addresses for order in orders) and len(orders) > 1
    small = names.dig("c0", "+noedns", "+ignore", "pool")  # 512 bytes
    assert "tc" in small.flags and len(small.data) < 40
    assert set(names.dig("c0", "+noedns", "pool").data) == addresses  # dig asks again by TCP
    assert "tc" in names.dig("c0", "+bufsize=600", "+ignore", "pool").flags
    assert names.dig("c0", "+edns=1", "+noednsneg", "pool").status == "BADVERS"


@pytest.mark.req("B4", "B10")
def test_a_network_of_ipv6_alone(names: NamesHost) -> None:
    names.helper.call("network.create", name="six", ipv4=False, ipv6=True)
    address = names.attach("six", "c1")
    names.attach("six", "c2")
    assert ":" in address and names.dig("c2", "c1", "AAAA").data == (address,)
    assert (names.dig("c2", "c1").status, names.dig("c2", "c1").data) == ("NOERROR", ())
    assert names.dig("c2", "-x", address).data == ("c1.six.",)


@pytest.mark.req("B4")
def test_no_names_on_the_default_bridge(names: NamesHost) -> None:
    names.attach("bridge", "c1")
    assert names.table("c1") == [] and names.at_name_address("c1") == []
    names.helper.call("network.create", name="web")
    names.attach("web", "c1")
    names.attach("bridge", "c2")
    names.attach("web", "c2")
    assert names.dig("c2", "c1").data == (names.dig("c2", "c1.web").data[0],)


@pytest.mark.req("B4", "X1")
def test_a_dry_run_shows_the_name_server_and_opens_nothing(names: NamesHost) -> None:
    helper = names.helper
    helper.call("network.create", name="web")
    names.host.add_namespace("c1")
    plan = helper.call("network.connect", network="web", container="netns:c1", dry_run=True)["plan"]
    assert [step["text"] for step in plan["steps"]][-1] == "names at 127.0.0.11 in netns:c1"
    commands = [line for line in plan["commands"] if "netdeck-names" in line]
    assert names.table("c1") == [] and names.at_name_address("c1") == []
    names.host.run("\n".join(commands))
    by_hand = names.table("c1")
    names.host.run("nft delete table ip netdeck-names", netns="c1")
    names.attach("web", "c1")
    def shown(items: list[dict[str, Any]]) -> str:
        text = re.sub(r"\b[1-9][0-9]{3,4}\b", "PORT", json.dumps(items))
        return re.sub(r'"(handle|packets|bytes)": [0-9]+|PORT\.PORT(?=")', "", text)

    assert shown(by_hand) == shown(names.table("c1"))
    gone = helper.call("network.disconnect", network="web", container="netns:c1", dry_run=True)["plan"]
    assert "ip netns exec c1 nft 'delete table ip netdeck-names'" in gone["commands"]


@pytest.mark.req("B4", "X9")
def test_somebody_elses_name_server_at_that_address_is_left_alone(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.host.add_namespace("c1")
    # As docker does it: sockets at 127.0.0.11 and a redirection to them.
    other = names.host.popen("exec python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                             "s.bind(('127.0.0.11', 4053)); print('ready', flush=True); s.recv(1)\"", netns="c1")
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    answer = names.helper.call("network.connect", network="web", container="netns:c1")
    assert any("another name server answers at 127.0.0.11" in text and "netns:c1" in text for text in answer["warnings"])
    assert names.table("c1") == [] and len(names.at_name_address("c1")) == 1
    other.kill()
    names.helper.call("network.disconnect", network="web", container="netns:c1")
    names.attach("web", "c1")
    assert names.table("c1") != []


@pytest.mark.req("B4")
def test_a_container_of_others_is_told_what_to_set(names: NamesHost) -> None:
    names.helper.call("network.create", name="web")
    names.host.add_namespace("c1")
    warned = names.helper.call("network.connect", network="web", container="netns:c1")["warnings"]
    remedy = next(text for text in warned if "127.0.0.11" in text).partition("To have that: ")[2]
    names.host.run(remedy)
    names.helper.call("network.disconnect", network="web", container="netns:c1")
    assert not any("127.0.0.11" in text for text in
                   names.helper.call("network.connect", network="web", container="netns:c1")["warnings"])
    names.attach("web", "c2")
    names.host.run("getent hosts c2", netns="c1")
