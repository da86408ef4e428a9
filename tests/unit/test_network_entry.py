"""What is typed into the form of a new network: its checks, its request, its command line, and where errors belong. Pure."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bridge import DRIVER
from protocol.errors import Conflict, InvalidValue, NetdeckError
from tui.screens.forms.network_entry import NetworkEntry, SubnetEntry, check, command_line, place_of, words_of
from tui.subnets import pair

pytestmark = pytest.mark.req("W5", "B2")
INFO = DRIVER.info


def test_a_whole_form_becomes_a_request() -> None:
    entry = NetworkEntry("web", subnets=(SubnetEntry("10.1.0.0/16", "10.1.0.1", "10.1.4.0/22", "nas=10.1.0.9, tv=10.1.0.10"), SubnetEntry(),
                                         SubnetEntry("fd00:1::/64")),
                         options={"mtu": "1400"}, labels="a=1 b='two words'", ipv6=True)
    request, wrong = check(entry, INFO)
    assert not wrong
    assert request == {
        "name": "web", "driver": "bridge", "options": {"mtu": "1400"}, "labels": {"a": "1", "b": "two words"},
        "ipv4": True, "ipv6": True, "internal": False, "ipam": "default",
        "subnets": [
            {"subnet": "10.1.0.0/16", "gateway": "10.1.0.1", "ip_range": "10.1.4.0/22", "aux": {"nas": "10.1.0.9", "tv": "10.1.0.10"}},
            {"subnet": "fd00:1::/64", "gateway": None, "ip_range": None, "aux": {}},
        ],
    }


@pytest.mark.parametrize("entry, place, words", [
    (NetworkEntry("-x"), "name", "not allowed"),
    (NetworkEntry("web"), "name", "exists already"),
    (NetworkEntry("a", subnets=(SubnetEntry(), SubnetEntry("10.0.0.0"))), "subnet:1", "prefix length"),
    (NetworkEntry("a", subnets=(SubnetEntry("10.0.0.0/24", "10.0.1.1"),)), "subnet:0", "gateway 10.0.1.1 is outside"),
    (NetworkEntry("a", subnets=(SubnetEntry("10.0.0.0/24", ip_range="10.0.0.0/16"),)), "subnet:0", "ip range 10.0.0.0/16 is outside"),
    (NetworkEntry("a", subnets=(SubnetEntry("10.0.0.0/24", aux="nas=fd00::1"),)), "subnet:0", "reserved address nas fd00::1 is outside"),
    (NetworkEntry("a", subnets=(SubnetEntry("10.0.0.0/24", aux="10.0.0.9"),)), "subnet:0", "NAME=VALUE"),
    (NetworkEntry("a", subnets=(SubnetEntry(aux="x='1"),)), "subnet:0", "needs a subnet"),
    (NetworkEntry("a", ipv4=False), "families", "switch on one"),
    (NetworkEntry("a", options={"mtu": "12"}), "option:mtu", "from 68 to 65535"),
    (NetworkEntry("a", options={"name": "all"}), "option:name", "reserved"),
    (NetworkEntry("a", labels="x='1"), "labels", "quote"),
])
def test_what_is_wrong_is_said_at_its_place(entry: NetworkEntry, place: str, words: str) -> None:
    _, wrong = check(entry, INFO, taken=("web",))
    assert list(wrong) == [place]
    assert words in wrong[place]


@pytest.mark.parametrize("error, place", [
    (Conflict("taken", name="web", with_="web"), "name"),
    (InvalidValue("bad", field="network name", value="web"), "name"),
    (Conflict("overlap", field="subnet", value="10.2.0.0/16"), "subnet:1"),
    (Conflict("overlap", field="subnet", value="fd00:0::/64"), "subnet:2"),
    (InvalidValue("bad", field="aux", value="nas"), "subnet:1"),
    (InvalidValue("bad", field="mtu", value="70000"), "option:mtu"),
    (Conflict("not a bridge", field="name", value="eth0"), "option:name"),
    (InvalidValue("bad", field="label key", value="x"), "labels"),
    (InvalidValue("neither", field="ipv6", value="false"), "families"),
    (NetdeckError("the helper is gone"), ""),
])
def test_errors_of_the_helper_find_their_field(error: NetdeckError, place: str) -> None:
    rows = (SubnetEntry("10.1.0.0/16"), SubnetEntry("10.2.0.0/16", aux="nas=10.2.0.9"), SubnetEntry("fd00::/64"))
    entry = NetworkEntry("web", subnets=rows)
    assert place_of(error, entry, INFO) == place


_LABELS = st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9.-]{0,8}\Z"), st.text(max_size=12), max_size=4)


@given(_LABELS, st.booleans(), st.booleans())
def test_the_command_line_can_be_read_back(labels: dict[str, str], internal: bool, ipv6: bool) -> None:
    request = {
        "name": "net", "driver": "bridge", "options": {"icc": "false"}, "labels": labels, "internal": internal, "ipv4": True,
        "ipv6": ipv6, "ipam": "default",
        "subnets": [{"subnet": "10.0.0.0/8", "gateway": "10.0.0.1", "ip_range": None, "aux": {"nas": "10.0.0.9"}}],
    }
    words = shlex.split(command_line(request))
    assert words[:3] == ["netdeck", "network", "create"] and words[-1] == "net"
    given_labels = [words[at + 1].partition("=") for at, word in enumerate(words) if word == "--label"]
    assert {name: value for name, _, value in given_labels} == labels
    assert ("--internal" in words, "--ipv6" in words) == (internal, ipv6)
    assert pair(["10.0.0.0/8"], [], ["10.0.0.1"], [("nas", "10.0.0.9")]) == request["subnets"]


@given(st.text(max_size=40))
def test_words_never_raise_anything_else(text: str) -> None:
    try:
        found = words_of(text, "label")
    except InvalidValue as error:
        assert error.message
    else:
        assert all(name for name, _ in found)
