"""The name server of a container as commands for a shell: the table that leads questions to it. Pure."""

from __future__ import annotations

from collections.abc import Callable

from drivers.objects import NAME_ADDRESS, NAME_TABLE, NameServer

_EXAMPLE_PORT = 40053  # netdeck's sockets get free ports when they are opened
_REFUSED = "icmp type destination-unreachable @th,136,8 17 @th,192,32 0x7f00000b @th,240,16"  # a datagram to `NAME_ADDRESS`


def name_words(action: str, item: NameServer, nft: Callable[[str], list[str]]) -> list[list[str]]:
    """`nft` makes the command that runs a line of nft's where the object is."""
    table = f"ip {NAME_TABLE}"
    delete = nft(f"delete table {table}")
    if action == "delete":
        return [delete]
    port = _EXAMPLE_PORT
    rules = [f"add rule {table} output ip daddr {NAME_ADDRESS} {protocol} dport 53 counter {protocol} dport set {port}"
             for protocol in ("udp", "tcp")]
    rules += [f"add rule {table} answers ip saddr {NAME_ADDRESS} {protocol} sport {port} counter {protocol} sport set 53"
              for protocol in ("udp", "tcp")]
    rules.append(f"add rule {table} answers ip saddr {NAME_ADDRESS} {_REFUSED} {port} counter @th,48,16 set {port - 53} "
                 "@th,240,16 set 53")
    chains = [f"add chain {table} {name} {{ type filter hook output priority {priority}; policy accept; }}"
              for name, priority in (("output", -300), ("answers", 100))]
    marked = f'add table {table} {{ comment "{item.mark}:{port}.{port}"; }}'
    made = nft("; ".join([marked, *chains, *rules]))
    return [delete, made] if action == "change" else [made]
