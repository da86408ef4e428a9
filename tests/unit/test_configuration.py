"""The configuration file: every kind of error is told with its line and key, all at once; the page is that of the code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helperd.bridge_settings import BridgeSettings, bridge_request
from helperd.configuration import LARGEST, Configuration, ConfigurationError, parse_configuration, read_configuration
from helperd.configuration_keys import KEYS, example, page
from helperd.default_bridge import pools_with
from helperd.toml_lines import key_lines
from protocol.requests import SubnetRequest

pytestmark = pytest.mark.req("B8")
ROOT = Path(__file__).resolve().parents[2]

# What stands in the file, and of each problem its line, its key, and a part of what is said.
WRONG: list[tuple[str, list[tuple[int, str, str]]]] = [
    ("bip = ", [(1, "", "not TOML")]),
    ("mtu = 3\nbip = 10.1.0.1/16 # ours", [(2, "", "a text stands in quotes: bip = \"10.1.0.1/16\"")]),
    ("ipv6 = True", [(1, "", "expected ipv6 = true")]),
    ("mtu: 1400", [(1, "", "a = stands between a key and its value: mtu = 1400")]),
    ("bip = '10.1.0.1/16\nmtu = 1400", [(1, "", "the quote ' is not closed")]),
    ("bip = \u201c10.1.0.1/16\u201d", [(1, "", "quotes are the straight ones")]),
    ('{\n  "mtu": 1400\n  "icc": true\n}', [(0, "", "netdeck's file is TOML"), (3, "", "not JSON, though the file begins as docker's")]),
    ('{\n  "mtu": 1400,\n}', [(0, "", "netdeck's file is TOML"), (3, "", "no comma stands behind the last one")]),
    ("[default-address-pools]\nbase = '10.0.0.0/8'\nsize = 24", [(1, "default-address-pools", "in two brackets")]),
    ("colour = 'red'", [(1, "colour", "known are bip, ")]),
    ("\n\nbip = '10.1.0.1/16'\nbip = '10.1.0.1/16'", [(4, "", "not TOML")]),
    ("mtu = [", [(1, "", "not TOML")]),
    ("bib = '10.1.0.1/16'", [(1, "bib", "did you mean 'bip'?")]),
    ("[bridge]\nmtu = 3", [(1, "bridge", "stand at the top of the file")]),
    ("bip = 10", [(1, "bip", "expected an address with its prefix length in quotes")]),
    ("bip = '10.1.0.1'", [(1, "bip", "expected one like 10.1.0.1/24")]),
    ("bip = ''", [(1, "bip", "not an address with its prefix length")]),
    ("bip = '10.1.0.1/33'", [(1, "bip", "not an address with its prefix length")]),
    ("bip = '10.1.0.0/16'", [(1, "bip", "network address")]),
    ("bip = '10.1.255.255/16'", [(1, "bip", "broadcast address")]),
    ("bip = '10.1.0.1/32'", [(1, "bip", "single address")]),
    ("bip = '127.0.0.1/8'", [(1, "bip", "loopback")]),
    ("bip = 'fd00::1/64'", [(1, "bip", "expected IPv4")]),
    ("bip6 = '10.1.0.1/16'", [(1, "bip6", "expected IPv6")]),
    ("fixed-cidr = '10.1.0.1/16'", [(1, "fixed-cidr", "10.1.0.0/16 is the one")]),
    ("bip = '10.1.0.1/16'\n# so\nfixed-cidr = '10.2.0.0/24'", [(3, "fixed-cidr", "not inside the subnet 10.1.0.0/16")]),
    ("bip = '10.1.0.1/16'\ndefault-gateway = '10.2.0.1'", [(2, "default-gateway", "not inside the subnet")]),
    ("bip = '10.1.0.1/16'\ndefault-gateway = '10.1.0.0'", [(2, "default-gateway", "network address")]),
    ("default-gateway = '10.1.0.9'", [(1, "default-gateway", "give bip or fixed-cidr")]),
    ("bip = 'x'\ndefault-gateway = '10.1.0.9'", [(1, "bip", "expected one like")]),
    ("default-gateway-v6 = 'fd00::9'", [(1, "default-gateway-v6", "give bip6 or fixed-cidr-v6")]),
    ("ipv6 = false\nfixed-cidr-v6 = 'fd00::/64'", [(2, "fixed-cidr-v6", "ipv6 = false switches off")]),
    ("ipv6 = 'no'", [(1, "ipv6", "expected true or false")]),
    ("mtu = '1500'", [(1, "mtu", "without quotes")]),
    ("mtu = true", [(1, "mtu", "is true, expected a whole number")]),
    ("mtu = 67", [(1, "mtu", "is 67, expected a whole number from 68 to 65535")]),
    ("mtu = 1200\nipv6 = true", [(1, "mtu", "at least 1280")]),
    ("icc = 1\nip-masq = 'x'", [(1, "icc", "true or false"), (2, "ip-masq", "true or false")]),
    ("dns = '192.0.2.1'", [(1, "dns", "a list of addresses")]),
    ("dns = [\n'192.0.2.1',\n'ns', 3, '192.0.2.1']", [(1, "dns", "'ns' is not an address"), (1, "dns", "is 3"), (1, "dns", "twice")]),
    ("default-address-pools = 3", [(1, "default-address-pools", "expected tables")]),
    ("[[default-address-pools]]\nbase = '10.0.0.0/8'", [(1, "default-address-pools.size", "missing")]),
    ("[[default-address-pools]]\nbase = '10.0.0.0/8'\nsize = 7", [(3, "default-address-pools.size", "from 8")]),
    ("[[default-address-pools]]\nbase = '10.0.0.0/8'\nsize = 32", [(3, "default-address-pools.size", "to 31")]),
    ("[[default-address-pools]]\nbase = '169.254.0.0/16'\nsize = 24", [(2, "default-address-pools.base", "link-local")]),
    ("[[default-address-pools]]\nbase = '10.0.0.0/8'\nsize = 24\nsiz = 2", [(4, "default-address-pools.siz", "'size'")]),
    ("[[default-address-pools]]\nbase = '10.0.0.0/8'\nsize = 24\n[[default-address-pools]]\nbase = '10.9.0.0/16'\nsize = 24",
     [(5, "default-address-pools.base", "overlaps the pool 10.0.0.0/8")]),
    ("roles = 'view'", [(1, "roles", "expected a table")]),
    ("[roles]\nbip = '10.1.0.1/16'", [(2, "roles.bip", "move it above the line [roles]")]),
    ("[roles]\nuid = {}", [(2, "roles.uid", "did you mean 'uids'?")]),
    ("[roles]\ndefault = 'root'", [(2, "roles.default", "expected one of none, view, operate, admin")]),
    ("[roles]\nuids = 3", [(2, "roles.uids", "expected a table")]),
    ("[roles]\n[roles.uids]\n1000 = 'view'\nme = 'view'", [(4, "roles.uids.me", "not a user number")]),
    ("[roles.groups]\nwheel = 'boss'", [(2, "roles.groups.wheel", "unknown role")]),
    ("mtu = 1\n[roles]\ndefault = 2\nuids = { 7 = 'x' }\n", [(1, "mtu", "68"), (3, "roles.default", "role"), (4, "roles.uids.7", "role")]),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[text.replace("\n", "|")[:50] for text, _ in WRONG])
def test_every_error_with_its_line_and_key(text: str, expected: list[tuple[int, str, str]]) -> None:
    _, problems = parse_configuration(text.encode())
    told = [(problem.line, problem.key, problem.message) for problem in problems]
    assert [(line, key) for line, key, _ in told] == [(line, key) for line, key, _ in expected], told
    for (_, _, message), (_, _, part) in zip(told, expected, strict=True):
        assert part in message
        assert "\n" not in message


@pytest.mark.parametrize("raw", [b"a = '\xff'", b"#" * (LARGEST + 1), b"x = " + b"[" * 5000])
def test_what_is_no_text_of_a_sensible_size_is_one_problem(raw: bytes) -> None:
    _, problems = parse_configuration(raw)
    assert len(problems) == 1


@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    parse_configuration(text.encode("utf-8", "surrogatepass"))


LINES = """\
# nothing
bip = "1"
dns = [ # several lines
  "[roles]",
]
text = '''
mtu = 3
'''
[roles]
default = "view"
[[pool]]
base = 1
[[pool]]
base = 2
[roles.groups]
a.b = 1
"""


@pytest.mark.req("B8")
def test_dockers_own_file_is_told_key_by_key() -> None:
    text = """{
  "bip": "10.20.0.1/16", "fixed-cidr": "10.21.5.0/24",
  "mtu": "1450",
  "default-address-pools": [{"base": "10.64.0.0/12", "size": 24}],
  "log-driver": "journald",
  "dns-search": ["x.example"]
}"""
    _, problems = parse_configuration(text.encode())
    said = [(item.line, item.key, item.message) for item in problems]
    assert said[0][:2] == (0, "") and "docker's daemon.json" in said[0][2] and "bip" in said[0][2] and "default-address-pools" in said[0][2]
    assert (2, "bip", 'is a key here too, written: bip = "10.20.0.1/16"') in said
    assert (2, "fixed-cidr", "10.21.5.0/24 is not inside the subnet 10.20.0.0/16") in said
    assert [item for item in said if item[1] == "mtu"] == [(3, "mtu", "is the text '1450', expected a whole number, without quotes")]
    assert any(key == "dns-search" and line == 6 and "netdeck run --dns-search" in words for line, key, words in said)
    assert any(key == "log-driver" and "Leave it out" in words for _, key, words in said)
    # What is proposed is right as it stands.
    pools = next(words.partition("written: ")[2] for _, key, words in said if key == "default-address-pools")
    assert parse_configuration(pools.encode())[1] == []


def test_the_lines_of_keys() -> None:
    found = key_lines(LINES)
    assert {path: found[path] for path in [("bip",), ("dns",), ("text",), ("roles",), ("roles", "default"), ("pool", "0", "base"),
                                           ("pool", "1", "base"), ("roles", "groups", "a", "b")]} == {
        ("bip",): 2, ("dns",): 3, ("text",): 6, ("roles",): 9, ("roles", "default"): 10, ("pool", "0", "base"): 12,
        ("pool", "1", "base"): 14, ("roles", "groups", "a", "b"): 16}
    assert ("mtu",) not in found


def test_the_page_is_that_of_the_code_and_its_example_is_right() -> None:
    assert (ROOT / "docs" / "CONFIG.md").read_text() == page(), "run: python -m helperd.configuration_keys > docs/CONFIG.md"
    found, problems = parse_configuration("\n".join(example()).encode())
    assert not problems
    assert found.dns == ("192.0.2.53", "2001:db8::53") and found.roles["default"] == "view"
    # Every key has its effect: without it something is different.
    for key in KEYS:
        lines = [line for line in example() if not line.startswith(f"{key.name} =")]
        other, wrong = parse_configuration("\n".join(lines).encode())
        assert wrong or other != found, key


@pytest.mark.parametrize(("settings", "subnets", "options", "ipv6"), [
    ({}, (), {}, False),
    ({"bip": "10.1.0.1/16"}, (SubnetRequest("10.1.0.0/16", "10.1.0.1"),), {}, False),
    ({"fixed_cidr": "10.1.0.0/24"}, (SubnetRequest("10.1.0.0/24"),), {}, False),
    ({"bip": "10.1.0.1/16", "fixed_cidr": "10.1.2.0/24", "default_gateway": "10.1.0.9"},
     (SubnetRequest("10.1.0.0/16", "10.1.0.1", "10.1.2.0/24", {"DefaultGatewayIPv4": "10.1.0.9"}),), {}, False),
    ({"bip": "10.1.0.1/16", "default_gateway": "10.1.0.1"}, (SubnetRequest("10.1.0.0/16", "10.1.0.1"),), {}, False),
    ({"fixed_cidr_v6": "fd00:1::/64", "mtu": 1400, "icc": False, "ip_masq": False}, (SubnetRequest("fd00:1::/64"),),
     {"mtu": "1400", "icc": "false", "masquerade": "false"}, True),
    ({"ipv6": True}, (), {}, True),
])
def test_the_request_that_the_settings_make(settings: dict[str, Any], subnets: tuple[SubnetRequest, ...], options: dict[str, str],
                                            ipv6: bool) -> None:
    request = bridge_request(BridgeSettings(**settings))
    assert (request.subnets, request.options, request.ipv6) == (subnets, options, ipv6)


def test_pools_of_the_file_stand_in_for_those_of_their_family() -> None:
    found, problems = parse_configuration(b"[[default-address-pools]]\nbase = '10.64.0.0/12'\nsize = 24\n")
    assert not problems
    pools = pools_with("0a1b2c3d", found.pools)
    assert [str(cut.base) for cut in pools[4]] == ["10.64.0.0/12"] and pools[6] == pools_with("0a1b2c3d", ())[6]


def test_no_file_means_the_defaults_and_an_unreadable_one_is_told(tmp_path: Path) -> None:
    assert read_configuration(tmp_path / "none.toml") == Configuration()
    with pytest.raises(ConfigurationError, match="1 error") as caught:
        read_configuration(tmp_path)
    assert "can't be read" in caught.value.lines[0]


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("mtu = 1\nbib = 2\n")

    def check(*words: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "tui", "config", "check", *words], cwd=ROOT, capture_output=True, text=True,
                              check=False, timeout=60)
        assert not done.stderr
        return done.returncode, done.stdout

    code, out = check(str(file))
    assert code == 1
    assert [line.rpartition(f"{file}:")[2].split(": ")[:2] for line in out.splitlines()] == [["1", "mtu"], ["2", "bib"]]
    code, out = check(str(file), "--format", "json")
    assert code == 1
    assert [(row["line"], row["key"]) for row in json.loads(out)["problems"]] == [(1, "mtu"), (2, "bib")]
    file.write_text("mtu = 1400\n")
    assert check(str(file)) == (0, f"{file} is right\n")
    code, out = check(str(tmp_path / "none.toml"))
    assert code == 1 and "is not there" in out
