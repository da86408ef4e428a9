"""What chains of others do with packets of ours, forwarded or of the host itself: a reading of their rules without sending a packet. Pure.

nftables asks every base chain of a hook, whoever made it, and one drop is final: an accept in our table overrules nobody. A rule
is read in three ways: it matches, it does not, or that can't be said from here (a set of addresses, a mark, a limit). What can't be
said never makes a finding of its own; a drop behind an accept that can't be said is told as uncertain. The packets that are thought of
are TCP's: many a firewall lets ICMP through and drops the rest.
Sources: nft(8), libnftables-json(5), iptables-extensions(8).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_DPORT = re.compile(r"\b(tcp|udp) dport (!= |! )?(\d+)(?:-(\d+))?(?![\d,-])")
_CT_STATE = re.compile(r"\bct state (!= |! )?([a-z,]+)")
_DEPTH = 16  # jumps; nftables has the same limit


HOOKS = ("prerouting", "input", "forward", "output", "postrouting")  # of chains of type filter
FORWARDED = ("prerouting", "forward", "postrouting")  # in the order in which a packet meets them
_NUMBERS = {"tcp": 6, "udp": 17}
_PROTOCOLS = frozenset({"tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "esp", "ah", "comp", "arp", "vlan"})
_ETHERTYPES = {4: ("ip", 0x0800), 6: ("ip6", 0x86DD)}


class ForeignRule(msgspec.Struct, frozen=True):
    """A rule: its handle, its text as `nft list` writes it, its expressions as libnftables-json has them."""

    handle: int
    text: str
    expr: tuple[Any, ...] = ()


class ForeignBase(msgspec.Struct, frozen=True):
    """A base chain that packets of ours meet, with all chains of its table, its sets and maps by name (those with elements).
    `legacy`: it is of iptables-legacy, which nftables knows nothing of; the handles of its rules are their numbers in their chain then."""

    family: str  # ip, ip6, inet, bridge
    table: str
    chain: str
    priority: int
    policy: str
    chains: Mapping[str, tuple[ForeignRule, ...]] = {}
    sets: Mapping[str, tuple[Any, ...]] = {}
    legacy: bool = False
    hook: str = "forward"  # one of HOOKS; of the family bridge, those of `bridge_chains`

    @property
    def name(self) -> str:
        return f"{self.family} {self.table} {self.chain}"


class Probe(msgspec.Struct, frozen=True):
    """A packet that is thought of: where it comes in and goes out, its family, the subnet of ours that is its source (or, of an
    answer, its destination), its state of connection tracking; where that is known, the port that it is for. What is for the host itself
    goes out nowhere, what is from there comes in nowhere. Of a frame the bridges of both links, and its hardware addresses."""

    family: int
    iif: str
    oif: str
    source: str = ""
    destination: str = ""
    state: str = "new"  # new | established
    published: bool = False  # its destination was rewritten: to a published port
    in_bridge: str = ""
    out_bridge: str = ""
    source_mac: str = ""
    target_mac: str = ""
    protocol: str = "tcp"  # or udp
    port: int = 0  # its destination, 0 where it may be any


class Stop(msgspec.Struct, frozen=True):
    """What drops a probe. `handle` is 0 and `rule` "" where it is the policy of the base chain. `path` are the chains down to it.
    Not `certain`: a rule before it may let the packet through, `unless` is its text."""

    family: str
    table: str
    chain: str
    base: str
    rule: str = ""
    handle: int = 0
    certain: bool = True
    unless: str = ""
    legacy: bool = False
    hook: str = "forward"

    @property
    def words(self) -> str:
        """The rule named exactly, for people."""
        if self.legacy:
            where = f"{self.chain} of iptables-legacy (IPv{6 if self.family == 'ip6' else 4})"
            return f"the rule `{self.rule}` of the chain {where}" if self.handle else f"the policy DROP of the chain {where}"
        where = f"{self.family} {self.table} {self.chain}"
        if not self.handle:
            return f"the policy drop of the chain {where}"
        return f"the rule `{self.rule}` (handle {self.handle}) of the chain {where}"


class _Walk:
    """The way of one probe through one base chain. Before routing it is not known yet where it goes, nor that it is not the host's;
    and what comes from the outside still has the host's address."""

    def __init__(self, base: ForeignBase, probe: Probe) -> None:
        self.base, self.probe = base, probe
        self.routed = base.hook != "prerouting" or base.family == "bridge"
        self.local = (base.hook == "input" and base.family != "bridge") if self.routed else None  # whether it is for the host
        if not self.routed:
            self.probe = msgspec.structs.replace(probe, destination="", published=False)
        self.unless = ""

    def stop(self) -> Stop | None:
        found = self._chain(self.base.chain, True, 0)
        if found == "accept":
            return None
        if isinstance(found, Stop):
            return found
        return None if self.base.policy != "drop" else self._stop(self.base.chain, None)

    def _stop(self, chain: str, rule: ForeignRule | None) -> Stop:
        base = self.base
        return Stop(base.family, base.table, chain, base.chain, rule.text if rule else "", rule.handle if rule else 0, not self.unless,
                    self.unless, base.legacy, base.hook)

    def _chain(self, name: str, sure: bool, depth: int) -> Stop | str:
        """Where the probe ends in a chain: a `Stop`, "accept", or "return" where the chain has no say."""
        if depth > _DEPTH:
            return "return"
        for rule in self.base.chains.get(name, ()):
            matches: bool | None = True
            for expr in rule.expr:
                (kind, body), = expr.items() if isinstance(expr, Mapping) and len(expr) == 1 else (("?", None),)
                found = self._verdict(kind, body)
                if found is not None:
                    end = self._carried_out(found, name, rule, sure and matches is True, depth)
                    if end is not None:
                        return end
                elif kind == "vmap":
                    end = self._vmap(body, name, rule, sure and matches is True, depth)
                    if end is not None:
                        return end
                else:
                    answer = self._expression(kind, body, rule)
                    if answer is False:
                        matches = False
                        break
                    matches = matches if answer else None
        return "return"

    @staticmethod
    def _verdict(kind: str, body: Any) -> tuple[str, str] | None:
        """(verdict, target) of an expression that is one."""
        if kind in ("accept", "drop", "return", "continue", "queue"):
            return kind, ""
        if kind == "reject" or (kind == "xt" and isinstance(body, Mapping) and body.get("name") == "REJECT"):
            return "drop", ""
        if kind in ("jump", "goto") and isinstance(body, Mapping):
            return kind, str(body.get("target"))
        return None

    def _carried_out(self, verdict: tuple[str, str], chain: str, rule: ForeignRule, sure: bool, depth: int) -> Stop | str | None:
        """Where a verdict ends the way; None where it goes on behind the rule."""
        kind, target = verdict
        match kind:
            case "drop":
                return self._stop(chain, rule) if sure else None
            case "accept" | "queue":
                if not sure:
                    self.unless = self.unless or rule.text
                return "accept" if sure else None
            case "return":
                if not sure:
                    self.unless = self.unless or rule.text
                return "return" if sure else None
            case "jump" | "goto":
                end = self._chain(target, sure, depth + 1)
                if end != "return":
                    return end
                return "return" if kind == "goto" and sure else None
            case _:
                return None

    def _vmap(self, body: Any, chain: str, rule: ForeignRule, sure: bool, depth: int) -> Stop | str | None:
        body = body if isinstance(body, Mapping) else {}
        for key, verdict in self._elements(body.get("data")):
            answer = self._compare(body.get("key"), "==", key, rule)
            if answer is False or not isinstance(verdict, Mapping) or len(verdict) != 1:
                continue
            (kind, inner), = verdict.items()
            found = self._verdict(kind, inner)
            if found is not None:
                end = self._carried_out(found, chain, rule, sure and answer is True, depth)
                if end is not None or answer is True:
                    return end
        return None

    def _elements(self, data: Any) -> Sequence[tuple[Any, Any]]:
        rows = self.base.sets.get(data[1:], ()) if isinstance(data, str) and data.startswith("@") else \
            data.get("set") if isinstance(data, Mapping) else ()
        rows = rows if isinstance(rows, list | tuple) else ()
        return [(_bare(row[0]), row[1]) for row in rows if isinstance(row, list | tuple) and len(row) == 2]

    def _expression(self, kind: str, body: Any, rule: ForeignRule) -> bool | None:
        """Whether a statement lets the rule go on: True for what only counts or logs."""
        if kind == "match":
            body = body if isinstance(body, Mapping) else {}
            return self._compare(body.get("left"), str(body.get("op")), body.get("right"), rule)
        if kind == "xt" and isinstance(body, Mapping):
            if body.get("type") != "match" or body.get("name") == "comment":
                return True
            if body.get("name") in ("tcp", "udp", "icmp", "icmp6", "sctp") and body.get("name") != self.probe.protocol:
                return False
            if body.get("name") == self.probe.protocol:
                return self._dport(rule.text)
            if body.get("name") == "conntrack":
                return self._conntrack(rule.text)
            if body.get("name") == "addrtype" and "fib daddr type local" in rule.text:
                return self.local
            return None
        return True if kind in ("counter", "log", "mangle", "comment", "notrack", "ct helper", "flow", "set") else None

    def _dport(self, text: str) -> bool | None:
        found = _DPORT.search(text)
        if found is None or not self.probe.port or len(re.findall(r"\b(?:tcp|udp) \w+", text)) > 1:
            return None
        low = int(found[3])
        return (low <= self.probe.port <= int(found[4] or low)) is not bool(found[2])

    def _conntrack(self, text: str) -> bool | None:
        found = _CT_STATE.search(text)
        if found is None or text.count(" ct ") + text.startswith("ct ") > 1:
            return None
        return (self.probe.state in found[2].split(",")) is not bool(found[1])

    def _compare(self, left: Any, op: str, right: Any, rule: ForeignRule) -> bool | None:
        if not isinstance(left, Mapping) or len(left) != 1:
            return None
        (kind, body), = left.items()
        values = self._values(right)
        if values is None or not isinstance(body, Mapping):
            return None
        if kind == "payload" and self._of_others(body.get("protocol")):
            return False  # whatever is compared: a rule about a protocol is for packets of it
        answer = self._is_one(kind, body, values)
        return answer if answer is None or op != "!=" else not answer

    def _of_others(self, protocol: object) -> bool:
        return protocol != self.probe.protocol and (protocol in _PROTOCOLS or protocol == ("ip6" if self.probe.family == 4 else "ip"))

    def _values(self, right: Any) -> list[Any] | None:
        """The values that are compared with, None where they are not known."""
        if isinstance(right, str) and right.startswith("@"):
            found = self.base.sets.get(right[1:])
            return None if found is None else [_bare(item) for item in found]
        if isinstance(right, Mapping) and "set" in right:
            inner = right["set"]
            return [_bare(item) for item in (inner if isinstance(inner, list) else [inner])]
        return list(right) if isinstance(right, list) else [right]

    def _is_one(self, kind: str, body: Mapping[str, Any], values: Sequence[Any]) -> bool | None:
        probe = self.probe
        match kind, body.get("key") or body.get("field") or body.get("result"):
            case "meta", "iifname" | "iif":
                return _named(probe.iif, values)
            case "meta", "oifname" | "oif":
                return _named(probe.oif, values)
            case "meta", "ibrname" | "obrname" as field:
                return _named(probe.in_bridge if field == "ibrname" else probe.out_bridge, values)
            case "payload", "type" if body.get("protocol") == "ether":
                return any(value in _ETHERTYPES[probe.family] for value in values)
            case "payload", "saddr" | "daddr" as field if body.get("protocol") == "ether":
                mac = probe.source_mac if field == "saddr" else probe.target_mac
                return mac.lower() in (str(value).lower() for value in values) if mac else None
            case "meta", "nfproto" | "protocol":
                return any(value in (("ipv4", "ip") if probe.family == 4 else ("ipv6", "ip6")) for value in values)
            case "meta" | "payload", "l4proto" | "protocol" | "nexthdr":
                return any(value in (probe.protocol, _NUMBERS.get(probe.protocol)) for value in values)
            case "payload", "dport":
                return _has_port(probe.port, values)
            case "ct", "state":
                return probe.state in values
            case "ct", "status":
                return probe.published if values == ["dnat"] else None
            case "ct", "direction":
                return ("original" if probe.state == "new" else "reply") in values
            case "fib", "type":
                return self.local if values == ["local"] else None
            case "payload", "saddr" | "daddr" as field:
                if body.get("protocol") not in ("ip", "ip6"):
                    return None
                return _inside(probe.source if field == "saddr" else probe.destination, values)
            case _:
                return None


def _bare(item: Any) -> Any:
    """An element of a set without its timeout, comment or counter."""
    return item["elem"].get("val") if isinstance(item, Mapping) and isinstance(item.get("elem"), Mapping) else item


def _named(name: str, values: Sequence[Any]) -> bool:
    return any(name.startswith(str(value)[:-1]) if str(value).endswith("*") else name == value for value in values)


def _has_port(port: int, values: Sequence[Any]) -> bool | None:
    """Whether a port is among `values`, as libnftables has them; None where that can't be said."""
    unsaid = not port
    for value in values:
        match value:
            case {"range": [int(low), int(high)]}:
                found = low <= port <= high
            case int():
                found = value == port
            case _:
                unsaid, found = True, False
        if found and port:
            return True
    return None if unsaid else False


def _inside(subnet: str, values: Sequence[Any]) -> bool | None:
    """Whether every address of `subnet` is among `values`: False where none is, None where some are or nothing is known."""
    if not subnet:
        return None
    network = ipaddress.ip_network(subnet)
    touched = False
    for value in values:
        low, high = _bounds(value)
        if low is None or high is None or low.version != network.version:
            touched = touched or low is None
            continue
        if int(low) <= int(network.network_address) and int(high) >= int(network.broadcast_address):
            return True
        touched |= int(low) <= int(network.broadcast_address) and int(high) >= int(network.network_address)
    return None if touched else False


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _bounds(value: Any) -> tuple[_Address, _Address] | tuple[None, None]:
    try:
        if isinstance(value, Mapping) and "prefix" in value:
            network = ipaddress.ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}", strict=False)
            return network[0], network[-1]
        if isinstance(value, Mapping) and "range" in value:
            return ipaddress.ip_address(value["range"][0]), ipaddress.ip_address(value["range"][1])
        network = ipaddress.ip_network(str(value), strict=False)
        return network[0], network[-1]
    except (ValueError, KeyError, TypeError, IndexError):
        return None, None


def stop_of(base: ForeignBase, probe: Probe) -> Stop | None:
    """What of one base chain drops the probe."""
    return _Walk(base, probe).stop()


def stops(bases: Sequence[ForeignBase], probe: Probe, hooks: Sequence[str] = FORWARDED) -> list[Stop]:
    """What of all the base chains of `hooks` drops the probe, in the order in which they are asked."""
    mine = ("inet", "ip" if probe.family == 4 else "ip6")
    asked = sorted((base for base in bases if base.family in mine and base.hook in hooks),
                   key=lambda base: (HOOKS.index(base.hook), base.priority))
    return [found for base in asked if (found := stop_of(base, probe)) is not None]


_OWNERS = (
    ("docker", re.compile(r"\ADOCKER")), ("ufw", re.compile(r"\Aufw6?-")), ("firewalld", re.compile(r"\Afilter_FWD|\Afilter_FORWARD_")),
    ("libvirt", re.compile(r"\ALIBVIRT_")), ("kubernetes", re.compile(r"\AKUBE-")), ("podman", re.compile(r"\ANETAVARK|\ACNI-")),
)


def owners(base: ForeignBase) -> tuple[str, ...]:
    """Who likely made the chain, by the names in its table; () where nobody known is seen."""
    if base.table == "firewalld":
        return ("firewalld",)
    return tuple(name for name, pattern in _OWNERS if any(pattern.search(chain) for chain in base.chains))
