"""Ports of bridges as commands for a shell, and as lines for people. Pure."""

from __future__ import annotations

from drivers.object_base import Object
from drivers.port_objects import PortVlans, Uplink

Words = list[list[str]]


def uplink_words(action: str, item: Uplink, ip: list[str]) -> Words:
    """`ip` begins an `ip` command where the object is."""
    if action == "delete":
        return [[*ip, "link", "set", "dev", item.link, "nomaster", *([] if item.was_up else ["down"])]]
    return [[*ip, "link", "set", "dev", item.link, "master", item.master, "up"]]


def vlan_words(action: str, item: PortVlans, before: Object | None, bridge: list[str]) -> Words:
    """`bridge` begins a `bridge` command where the object is."""
    old = before if isinstance(before, PortVlans) else PortVlans(item.place, item.link, item.master, untagged=1)
    new = PortVlans(item.place, item.link, item.master, untagged=1) if action == "delete" else item
    old = item if action == "delete" else old

    def line(verb: str, vid: str, *flags: str) -> list[str]:
        return [*bridge, "vlan", verb, "vid", vid, "dev", item.link, *flags]

    words = [line("delete", vid) for vid in old.tagged if vid not in new.tagged]
    words += [line("delete", str(old.untagged))] if old.untagged and old.untagged != new.untagged else []
    words += [line("add", vid) for vid in new.tagged if vid not in old.tagged]
    words += [line("add", str(new.untagged), "pvid", "untagged")] if new.untagged and old.untagged != new.untagged else []
    return words


def vlan_text(item: PortVlans) -> str:
    """The VLANs of a port in words: ``10 untagged, 20,30-40 tagged``."""
    untagged = f"{item.untagged} untagged" if item.untagged else ""
    tagged = f"{','.join(item.tagged)} tagged" if item.tagged else ""
    return ", ".join(filter(None, (untagged, tagged))) or "none"
