"""The keys of /etc/netdeck/config.toml in one table: the check of the file and docs/CONFIG.md are made from it. Pure.

`python -m helperd.configuration_keys` prints docs/CONFIG.md. The names are those of docker's daemon.json.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Key(msgspec.Struct, frozen=True):
    """One key. `kind` is bool, int, text, address, prefix, interface (an address with its prefix length), addresses, or table;
    `path` has the tables that it is in."""

    path: tuple[str, ...]
    kind: str
    default: str
    help: str
    example: str

    @property
    def name(self) -> str:
        return self.path[-1]


POOLS: Final = "default-address-pools"
ROLES: Final = "roles"

KEYS: Final[tuple[Key, ...]] = (
    Key(("bip",), "interface", "a free subnet of the default pools",
        "IPv4 address of the bridge of the network `bridge`, with the length of its subnet.", '"10.20.0.1/16"'),
    Key(("bip6",), "interface", "a free subnet of the default pools, where IPv6 is on",
        "The same for IPv6. Switches IPv6 on.", '"fd00:20::1/64"'),
    Key(("fixed-cidr",), "prefix", "the whole subnet",
        "The part of the IPv4 subnet that containers get addresses of. Without `bip` it is the subnet itself.", '"10.20.5.0/24"'),
    Key(("fixed-cidr-v6",), "prefix", "the whole subnet",
        "The same for IPv6: without `bip6` it is the subnet itself. Switches IPv6 on.", '"fd00:20::/64"'),
    Key(("ipv6",), "bool", "true where a key for IPv6 is given, else false", "IPv6 on the network `bridge`.", "true"),
    Key(("default-gateway",), "address", "the address of the bridge",
        "The gateway of the containers, where that is not the bridge itself. In the subnet, so `bip` or `fixed-cidr` must be given.",
        '"10.20.0.254"'),
    Key(("default-gateway-v6",), "address", "the address of the bridge", "The same for IPv6.", '"fd00:20::fe"'),
    Key(("mtu",), "int", "1500", "The largest packet of the network `bridge`, in bytes; at least 1280 with IPv6.", "1450"),
    Key(("icc",), "bool", "true", "Containers of the network `bridge` may talk to each other. Where they may not, `--link` opens the "
        "ports that the other exposes or publishes.", "false"),
    Key(("ip-masq",), "bool", "true", "Packets of the network `bridge` to the outside get the host's address as source.", "false"),
    Key(("dns",), "addresses", "those of the host", "The name servers that containers of every network use, unless they are given "
        "their own.", '["192.0.2.53", "2001:db8::53"]'),
    Key((POOLS, "base"), "prefix", "docker's: 172.17.0.0/16 to 172.31.0.0/16, 192.168.0.0/16",
        "A range that subnets of networks are cut from when none is asked for. With one pool or more of a family, its default "
        "pools are not used.", '"10.64.0.0/12"'),
    Key((POOLS, "size"), "int", "16 for 172.…, 20 for 192.168.…, 64 for IPv6", "The prefix length of the subnets that are cut from it.",
        "24"),
    Key((ROLES, "default"), "text", "none", "The role of everybody who reaches the socket and is named nowhere else: `none`, `view`, "
        "`operate` or `admin`.", '"view"'),
    Key((ROLES, "uids"), "table", "", "Roles by user number.", '{ 1000 = "operate" }'),
    Key((ROLES, "groups"), "table", '{ netdeck = "admin" }', "Roles by the name of a group.", '{ netops = "admin" }'),
)
TOP: Final = tuple(dict.fromkeys(key.path[0] for key in KEYS))
IN_POOL: Final = tuple(key.name for key in KEYS if key.path[0] == POOLS)
IN_ROLES: Final = tuple(key.name for key in KEYS if key.path[0] == ROLES)

_KIND_TEXT: Final = {
    "bool": "`true` or `false`", "int": "whole number", "text": "text", "address": "address", "prefix": "prefix",
    "interface": "address/length", "addresses": "list of addresses", "table": "table",
}


def page() -> str:
    """docs/CONFIG.md."""
    lines = [
        "# The configuration file", "",
        "Made from the table in `helperd/configuration_keys.py` by `python -m helperd.configuration_keys > docs/CONFIG.md`; a test "
        "compares them.", "",
        "The helper reads `/etc/netdeck/config.toml` (`--config FILE` names another) once, at its start. It is TOML with the names of "
        "docker's `daemon.json`. Every key may be left out, and so may the file.", "",
        "- `netdeck config check [FILE]` checks a file as a whole and prints every error with its line and key; exit code 1 if there "
        "is one. It needs no helper.",
        "- A helper does not start with a wrong file. It prints the same errors, and nothing is changed.",
        "- Values are checked as those of networks are. What only the host can say (an overlap with a route, say) is found out at the "
        "start: the network `bridge` then stays as it is, and the log, the events and `netdeck doctor` say why.",
        "- Settings of the network `bridge` take effect at the restart after they were changed. Its containers keep their addresses, so "
        "while any are connected a change of its subnet, gateway address or families is not made: disconnect them and restart the helper. "
        "MTU, `icc`, `ip-masq`, `fixed-cidr` and the containers' default gateway change under running containers.",
        "- Without `bip`, the network keeps the subnet that it has. What `netdeck network update bridge` changed holds, over "
        "restarts too, until these keys of the file change: then all of them take effect, those that are left out as by default.",
    ]
    heading = ""
    for key in KEYS:
        title = {1: "Top level", 2: f"`[[{POOLS}]]`" if key.path[0] == POOLS else f"`[{key.path[0]}]`"}[len(key.path)]
        if title != heading:
            heading = title
            lines += ["", f"## {title}", "", "| key | value | default | what |", "| --- | --- | --- | --- |"]
        default = f"`{key.default}`" if key.kind in ("bool", "int") and key.default.isalnum() else key.default or "none"
        lines.append(f"| `{key.name}` | {_KIND_TEXT[key.kind]} | {default} | {key.help} |")
    return "\n".join([*lines, "", "## Example", "", "```toml", *example(), "```", ""])


def example() -> list[str]:
    """A file with every key in it."""
    lines: list[str] = []
    table = ""
    for key in KEYS:
        if len(key.path) == 2 and key.path[0] != table:
            table = key.path[0]
            lines += ["", f"[[{table}]]" if table == POOLS else f"[{table}]"]
        lines.append(f"{key.name} = {key.example}")
    return lines


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
