"""The files of a container of ours that are bound over /etc/hosts, /etc/resolv.conf and /etc/hostname."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

import helperd.containers.etc_files as etc_files
from helperd.store import lease_address
from protocol.model import Container, Endpoint, Network


class EtcFiles(msgspec.Struct, frozen=True):
    """Paths on the host."""

    hosts: str
    resolv: str
    hostname: str


def write_etc_files(directory: Path, container: Container, endpoints: Iterable[Endpoint], networks: Mapping[str, Network],
                    host_resolv: str, linked: Mapping[str, Iterable[str]] | None = None) -> EtcFiles:
    """Write the three files in place (they may be bind-mounted already). `host_resolv` is the text of the host's resolv.conf, `linked` are
    names by address that links give."""
    attached = list(endpoints)
    ipv6 = any(networks[item.network].ipv6 for item in attached)
    files = EtcFiles(*(str(directory / name) for name in ("hosts", "resolv.conf", "hostname")))
    addresses = [lease_address(prefix) for item in attached for prefix in item.addresses]
    resolv = host_resolv if container.mode == "host" else etc_files.resolv_conf(host_resolv, ipv6=ipv6)
    etc_files.write_in_place(files.hosts, etc_files.hosts(container.hostname, addresses, linked, ipv6=ipv6))
    etc_files.write_in_place(files.resolv, resolv)
    etc_files.write_in_place(files.hostname, etc_files.hostname(container.hostname))
    return files
