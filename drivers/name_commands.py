"""The name server of a container as commands for a shell: the table that leads questions to it. Pure."""

from __future__ import annotations

from collections.abc import Callable

from drivers.objects import NAME_ADDRESS, NAME_TABLE, NameServer

_EXAMPLE_PORT = 40053  # netdeck's sockets get free ports when they are opened


def name_words(action: str, item: NameServer, nft: Callable[[str], list[str]]) -> list[list[str]]:
    """`nft` makes the command that runs a line of nft's where the object is."""
    table = f"ip {NAME_TABLE}"
    delete = nft(f"delete table {table}")
    if action == "delete":
        return [delete]
    rules = [
        f"add rule {table} output ip daddr {NAME_ADDRESS} {protocol} dport 53 counter dnat to {NAME_ADDRESS}:{_EXAMPLE_PORT}"
        for protocol in ("udp", "tcp")
    ]
    chain = f"add chain {table} output {{ type nat hook output priority -100; policy accept; }}"
    marked = f'add table {table} {{ comment "{item.mark}:{_EXAMPLE_PORT}.{_EXAMPLE_PORT}"; }}'
    made = nft("; ".join([marked, chain, *rules]))
    return [delete, made] if action == "change" else [made]
