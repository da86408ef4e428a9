"""Reads what others have on the hooks that packets of ours meet, and keeps rules of ours in Docker's chain for rules of its users.

All reading is in a thread with a context of its own, so that a long list holds up no change of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from drivers.objects import TABLE
from helperd import bridge_chains
from helperd.forward_chains import HOOKS, ForeignBase, ForeignRule
from helperd.kernel import legacy_tables
from helperd.kernel.namespaces import NamespaceThread
from helperd.kernel.nft import Command, Nft, NftRefused
from protocol.errors import KernelRefused

HOOK = "DOCKER-USER"  # the chain that Docker calls first, never changes, and leaves to the host's administrator
_HANDLE = re.compile(r"\A(.*\S)\s*# handle (\d+)\Z")
_PLAIN = re.compile(r"\A[A-Za-z][A-Za-z0-9_./-]*\Z")
_HOOKS = {"ip": HOOKS, "ip6": HOOKS, "inet": HOOKS, bridge_chains.FAMILY: bridge_chains.HOOKS}


class Accept(msgspec.Struct, frozen=True):
    """A rule of ours in Docker's chain: packets from `iif` to `oif` go on; "" is any. `comment` bears our mark."""

    family: str
    iif: str
    oif: str
    comment: str

    @property
    def text(self) -> str:
        """As the iptables command that does the same."""
        tool = "iptables" if self.family == "ip" else "ip6tables"
        ways = "".join(f" {flag} {link}" for flag, link in (("-i", self.iif), ("-o", self.oif)) if link)
        return f"{tool} -I {HOOK}{ways} -m comment --comment {self.comment} -j ACCEPT"


class Ruleset:
    """The tables of others, in the process's own namespace. Errors: Unavailable without libnftables, KernelRefused."""

    def __init__(self) -> None:
        self._thread = NamespaceThread("ruleset")
        self._nft: Nft | None = None

    async def chains(self) -> tuple[tuple[ForeignBase, ...], tuple[str, ...]]:
        """Every base chain that packets or frames on bridges meet and that is not of our table, with the chains of its table, those of
        iptables-legacy too; and the families whose legacy table can't be read."""
        return await self._thread.run_async(None, self._chains)

    async def legacy(self) -> bool:
        """Whether there are tables of iptables-legacy: nothing tells when they change."""
        return await self._thread.run_async(None, lambda: bool(legacy_tables.families()))

    async def keep_accepts(self, wanted: Sequence[Accept], mark: str) -> bool:
        """Make the rules of ours in Docker's chains just `wanted`, in one transaction for each family; those with another comment
        than one that begins with `mark` are not touched. A family whose chain is not there is passed over. True where something
        was changed."""
        return await self._thread.run_async(None, lambda: self._keep_accepts(wanted, mark))

    async def close(self) -> None:
        """Let the library go."""
        await self._thread.run_async(None, self._close)
        self._thread.close()

    def _close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def _library(self) -> Nft:
        if self._nft is None:
            self._nft = Nft()
        return self._nft

    def _chains(self) -> tuple[tuple[ForeignBase, ...], tuple[str, ...]]:
        found, unread = legacy_tables.chains()
        listed = [entry["chain"] for entry in self._library().run([{"list": {"chains": None}}]) if "chain" in entry]
        hooked = [chain for chain in listed if chain.get("hook") in _HOOKS.get(chain["family"], ()) and chain.get("type") == "filter"
                  and (chain["family"], chain["table"]) != ("inet", TABLE)]
        for family, table in dict.fromkeys((chain["family"], chain["table"]) for chain in hooked):
            try:
                chains, sets = self._table(family, table)
            except NftRefused:
                continue  # it went meanwhile
            found += [ForeignBase(family, table, chain["name"], int(chain.get("prio", 0)), str(chain.get("policy", "accept")), chains, sets,
                                  hook=chain["hook"])
                      for chain in hooked if (chain["family"], chain["table"]) == (family, table)]
        return tuple(found), unread

    def _table(self, family: str, table: str) -> tuple[dict[str, tuple[ForeignRule, ...]], dict[str, tuple[Any, ...]]]:
        listed = self._library().run([{"list": {"table": {"family": family, "name": table}}}])
        # The kernel takes any name for a table; one that nft can't read would be something else in a command.
        texts = rule_texts(self._library().text(f"list table {family} {table}")) if _PLAIN.match(table) else {}
        chains: dict[str, list[ForeignRule]] = {}
        sets: dict[str, tuple[Any, ...]] = {}
        for entry in listed:
            if "chain" in entry:
                chains.setdefault(entry["chain"]["name"], [])
            elif "rule" in entry:
                rule = entry["rule"]
                expr = tuple(rule.get("expr", ()))
                text = texts.get(rule["handle"]) or json.dumps(expr)[:200]
                chains.setdefault(rule["chain"], []).append(ForeignRule(rule["handle"], text, expr))
            else:
                for kind in ("set", "map"):
                    if kind in entry:
                        sets[entry[kind]["name"]] = tuple(entry[kind].get("elem", ()))
        return {name: tuple(rules) for name, rules in chains.items()}, sets

    def _keep_accepts(self, wanted: Sequence[Accept], mark: str) -> bool:
        changed = False
        for family in ("ip", "ip6"):
            place = {"family": family, "table": "filter", "chain": HOOK}
            try:
                listed = self._library().run([{"list": {"chain": {"family": family, "table": "filter", "name": HOOK}}}])
            except NftRefused:
                continue
            ours = [entry["rule"] for entry in listed if "rule" in entry and str(entry["rule"].get("comment", "")).startswith(mark)]
            want = [accept for accept in wanted if accept.family == family]
            if sorted(rule["comment"] for rule in ours) == sorted(accept.comment for accept in want):
                continue
            commands: list[Command] = [{"delete": {"rule": {**place, "handle": rule["handle"]}}} for rule in ours]
            commands += [{"insert": {"rule": {**place, "expr": _expressions(accept), "comment": accept.comment}}} for accept in want]
            try:
                self._library().run(commands)
            except NftRefused as refusal:
                raise KernelRefused(f"rules in the chain {family} filter {HOOK}: {refusal}", object=f"{family} filter {HOOK}", errno=0,
                                    kernel=str(refusal)) from refusal
            changed = True
        return changed


def _expressions(accept: Accept) -> list[Command]:
    matches = [{"match": {"op": "==", "left": {"meta": {"key": key}}, "right": link}}
               for key, link in (("iifname", accept.iif), ("oifname", accept.oif)) if link]
    return [*matches, {"counter": None}, {"accept": None}]


def rule_texts(listing: str) -> dict[int, str]:
    """Handle → text of each rule of a listing with handles; a rule may go over several lines."""
    found: dict[int, str] = {}
    parts: list[str] = []
    for line in map(str.strip, listing.splitlines()):
        if line.endswith("{") or re.search(r"\{ # handle \d+\Z", line) or line in ("", "}") or line.startswith("type "):
            parts = []
            continue
        parts.append(line)
        ended = _HANDLE.match(line)
        if ended is not None:
            found[int(ended[2])] = " ".join([*parts[:-1], ended[1]])
            parts = []
    return found
