"""The core without its front, run inside a simulated host, so that faults can be put into its steps."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from helperd.changes import CallContext
from helperd.core import Core, Settings
from helperd.listener import open_listener
from helperd.streams import Stream
from protocol.requests import (
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkHostAccess,
    NetworkRemove,
    NetworkUpdate,
    PortPublish,
    PortWithdraw,
    Request,
)

CALL = CallContext(user="root")
STREAM = Stream(lambda name, data: None, lambda size: None)
_TIMERS = re.compile(r"timer|expires|lft|_time$|stats|counter|handle")


@contextlib.asynccontextmanager
async def core_in(folder: Path, settings: Settings | None = None) -> AsyncIterator[Core]:
    """A started core whose front does not run."""
    with open_listener(str(folder / "s"), group="root") as listener:
        core = Core(settings or Settings(folder / "state", folder / "run"), listener)
        await core.start()
        try:
            yield core
        finally:
            await core.stop()


async def do(core: Core, request: Request) -> Any:
    """Carry a request out as root."""
    handlers = {NetworkCreate: core.networks.create, NetworkRemove: core.networks.remove, NetworkUpdate: core.updates.update,
                NetworkConnect: core.endpoints.connect, NetworkDisconnect: core.endpoints.disconnect,
                NetworkHostAccess: core.host_access.switch,
                PortPublish: core.ports.publish, PortWithdraw: core.ports.withdraw}
    return await handlers[type(request)](request, CallContext(user="root"), STREAM)  # type: ignore[operator]


def _plain(value: Any) -> Any:
    """Without what changes by itself: timers, counters, handles."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if not _TIMERS.search(str(key))}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _by_the_kernel(row: dict[str, Any]) -> bool:
    """Link-local addresses and their routes come and go with a carrier."""
    if "addr_info" in row:
        row["addr_info"] = [item for item in row["addr_info"] if not str(item.get("local")).startswith("fe80:")]
    return str(row.get("dst")).startswith(("fe80:", "ff00:"))


def _name(row: dict[str, Any]) -> str:
    return str(row.get("ifname") or row.get("dst")) + json.dumps(row, sort_keys=True)


def _out(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


def kernel_dump(*names: str) -> dict[str, Any]:
    """Links, addresses, routes, settings and the firewall of the host and of named namespaces, in a form that can be compared."""
    found: dict[str, Any] = {}
    for name in ("", *names):
        ip = f"ip -n {name}" if name else "ip"
        inside = f"ip netns exec {name} " if name else ""
        for what in ("-d -j link", "-j addr", "-j route", "-6 -j route"):
            rows = json.loads(_out(f"{ip} {what} show") or "[]")
            found[f"{name} {what}"] = sorted((_plain(row) for row in rows if not _by_the_kernel(row)), key=_name)
        ports = json.loads(_out(f"{inside}bridge -d -j link show") or "[]")
        found[f"{name} bridge"] = sorted((_plain(row) for row in ports), key=lambda row: str(row.get("ifname")))
        vlans = json.loads(_out(f"{inside}bridge -j -compressvlans vlan show") or "[]")
        found[f"{name} vlans"] = sorted((_plain(row) for row in vlans), key=lambda row: str(row.get("ifname")))
        settings = _out(f"{inside}sh -c 'grep -H . /proc/sys/net/ipv6/conf/*/disable_ipv6 /proc/sys/net/ipv6/conf/*/accept_ra'")
        found[f"{name} settings"] = sorted(settings.splitlines())
        if name:
            found[f"{name} name server"] = [{"tables": _out(f"{inside}nft list tables")}]
    found["sockets"] = sorted(" ".join(line.split()[:5]) for line in _out("ss -Hltnu").splitlines())
    table = json.loads(_out("nft -j list ruleset"))["nftables"]
    for row in table:
        for rule in row.values():
            if isinstance(rule, dict) and isinstance(rule.get("expr"), list):
                rule["expr"] = [item for item in rule["expr"] if "counter" not in item]
            if isinstance(rule, dict) and isinstance(rule.get("elem"), list):
                rule["elem"] = sorted(rule["elem"], key=json.dumps)
    found["firewall"] = sorted(json.dumps(_plain(row), sort_keys=True) for row in table if "metainfo" not in row)
    return found


def stored(folder: Path) -> dict[str, list[Any]]:
    """Every table of the store but the answers."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "state.db")) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(db.execute(f"SELECT * FROM {name}").fetchall()) for name in tables if name != "answers"}
