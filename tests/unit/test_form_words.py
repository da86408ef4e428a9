"""What the helper says is said in a form with the names of its fields; no flag is left that a form has no field for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drivers.driver import builtin
from drivers.vlans import unchosen
from protocol.model import Endpoint, Network
from tui.screens.dialog import fitting_keys
from tui.screens.forms.form_words import ATTACH_FIELDS, NETWORK_FIELDS, in_form

pytestmark = pytest.mark.req("W5")
ROOT = Path(__file__).resolve().parents[2]
ALL = {**NETWORK_FIELDS, **ATTACH_FIELDS}
#: Where words for the forms of networks and of attachments come from.
SAYS = ("drivers", "helperd/networks.py", "helperd/network_update.py", "helperd/network_edit.py", "helperd/subnets.py", "helperd/ipam.py",
        "helperd/address_book.py", "helperd/addresses.py", "helperd/endpoints.py", "helperd/site_probes.py", "helperd/host_facts.py",
        "helperd/parent_links.py", "helperd/kernel/step_errors.py")
FLAG = re.compile(r"(?<![\w-])(?:--[a-z]|-o )")


def test_flags_become_the_fields_of_the_form() -> None:
    for text, expected in (
        ("use macvlan with -o parent=eth0, which leaves", 'use macvlan with "parent" eth0, which leaves'),
        ("with -o uplink=LINK", 'with "uplink"'),
        ("create it with -o vlan_filtering=1 (driver bridge)", 'create it with "vlan_filtering" on (driver bridge)'),
        ("use that bridge with -o name=br1.", 'use that bridge with "name" br1.'),
        ("from --subnet 10.1.0.0/24, as --ip-range a part, or --ipam-driver dhcp",
         'from "subnet" 10.1.0.0/24, as "ip range" a part, or "given by" DHCP'),
        ("ip-range 10.1.0.0/25 of aux-address nas", "ip range 10.1.0.0/25 of reserved address nas"),
        # A whole command is typed elsewhere, and what is no field here stays.
        ("with netdeck network update --aux-address other=10.1.2.3 web, or --ip",
         'with netdeck network update --aux-address other=10.1.2.3 web, or "IPv4"'),
        ("`netdeck network create --subnet X` or --rootfs", "`netdeck network create --subnet X` or --rootfs"),
    ):
        assert in_form(text, ALL) == expected
    assert in_form("with --subnet", {}) == "with --subnet"


@pytest.mark.req("X20")
def test_who_chose_no_vlan_is_told_which_it_is_and_where_others_are_chosen() -> None:
    endpoint = Endpoint("e", "n", "c")
    aware, plain = (Network("n", "floor", "bridge", 0.0, options={"vlan_filtering": on}) for on in ("true", "false"))
    (told,) = unchosen(aware, endpoint, "shop")
    assert "shop on floor" in told and "VLAN 1." in told and "--vlan, as" in told and 'with "VLANs", as 10' in in_form(told, ATTACH_FIELDS)
    assert not unchosen(plain, endpoint, "shop")
    for chosen in ({"vlans": ("20",)}, {"untagged": 10}):
        assert not unchosen(aware, msgspec.structs.replace(endpoint, **chosen), "shop")


def spoken() -> Iterator[tuple[str, str]]:
    """(file, text) of each text of ours that names a flag; what is put into it stands as x."""
    files = [file for name in SAYS for file in sorted((ROOT / name).glob("*.py") if (ROOT / name).is_dir() else [ROOT / name])]
    for file in files:
        if file.name == "commands.py":
            continue  # commands of the host, which the plan shows
        tree = ast.parse(file.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part is not node}
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in inside | documents:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)  # type: ignore[misc]
                text = text.replace("--x", "--X")  # a flag by the name of a field
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if FLAG.search(text):
                yield file.name, text


def test_no_words_of_the_helper_bring_a_flag_into_a_form() -> None:
    found = list(spoken())
    assert len(found) > 20, "there are such words"
    for name, text in found:
        left = re.sub(r"`[^`]*`|\bnetdeck (?:(?![.,;:)](?:\s|$)).)*", "", in_form(text, ALL))
        assert "--network" in left or not FLAG.search(left), f"{name}: {text!r} is in a form {left!r}"  # a container's start has no form


def test_notes_of_an_uplink_are_those_of_bridges_that_have_one() -> None:
    info = builtin()["bridge"].info
    assert not any("uplink" in note or "SLAAC" in note for note in info.notes_of({"icc": "true", "vlan_filtering": "true"}))
    assert any("switch of the site's network" in note for note in info.notes_of({"uplink": "eth1"}))


@pytest.mark.req("M4", "I3")
def test_notes_are_those_of_the_networks_own_mode() -> None:
    def notes(driver: str, **options: str) -> str:
        return " ".join(builtin()[driver].info.notes_of(options))
    only = {"bridge": "host-access NETWORK on", "vepa": "(hairpin, 802.1Qbg)", "private": "don't reach each other at all",
            "passthru": "One network and one container"}
    for mode, words in only.items():
        said = notes("macvlan", macvlan_mode=mode)
        assert words in said and not any(other in said for key, other in only.items() if key != mode), mode
        assert ("adds a MAC address" in said and "into promiscuous mode" in said) is (mode != "passthru")
    assert notes("macvlan") == notes("macvlan", macvlan_mode="bridge") and "SLAAC" in notes("macvlan")
    for mode in ("l2", "l3", "l3s"):
        said = notes("ipvlan", ipvlan_mode=mode, ipvlan_flag="private")
        assert ("No broadcast" in said) is ("parent reach each other." in said) is (mode != "l2")
        assert ("DHCP server must" in said) is ("need a router" in said) is (mode == "l2")
        assert "l3s:" not in said and "host-access" not in said and only["private"] in said


def test_a_line_of_keys_is_never_cut() -> None:
    line = "ctrl+s switch on · up and down scroll · tab: other button · esc cancels"
    assert fitting_keys(line, 80) == line
    assert fitting_keys(line, 60) == "ctrl+s switch on · up and down scroll · esc cancels"
    assert fitting_keys(line, 40) == "ctrl+s switch on · esc cancels"
    assert fitting_keys(line, 12) == "esc cancels"
