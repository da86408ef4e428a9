"""The files of a container of ours that are bound over /etc/hosts, /etc/resolv.conf and /etc/hostname."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

import helperd.containers.etc_files as etc_files
from drivers.name_server import has_names
from drivers.objects import NAME_ADDRESS
from helperd.store import lease_address
from protocol.model import Container, Endpoint, Network


class EtcFiles(msgspec.Struct, frozen=True):
    """Paths on the host."""

    hosts: str
    resolv: str
    hostname: str


def etc_files_of(directory: Path) -> EtcFiles:
    """Where the three files of the container with that directory are."""
    return EtcFiles(*(str(directory / name) for name in ("hosts", "resolv.conf", "hostname")))


def write_etc_files(directory: Path, container: Container, endpoints: Iterable[Endpoint], networks: Mapping[str, Network],
                    host_resolv: str, linked: Mapping[str, Iterable[str]] | None = None) -> EtcFiles:
    """Write the three files in place (they may be bind-mounted already). `host_resolv` is the text of the host's resolv.conf, `linked` are
    names by address that links give. A resolv.conf that was edited in the container stays as it is.
    """
    attached = list(endpoints)
    ipv6 = any(networks[item.network].ipv6 for item in attached)
    files = etc_files_of(directory)
    addresses = [lease_address(prefix) for item in attached for prefix in item.addresses]
    etc_files.write_in_place(files.hosts, etc_files.hosts(container.hostname, addresses, _further(container, linked or {}), ipv6=ipv6))
    if not _edited(Path(files.resolv)):
        named = any(has_names(networks[item.network]) and not item.foreign_names for item in attached)
        text = _resolv_conf(container, host_resolv, named=named, ipv6=ipv6)
        etc_files.write_in_place(files.resolv, text)
        _seal(files.resolv).write_text(_digest(text.encode("utf-8", "backslashreplace")), encoding="ascii")
    etc_files.write_in_place(files.hostname, etc_files.hostname(container.hostname))
    return files


def _further(container: Container, linked: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Names by address: those of `--add-host`, then those of links."""
    found: dict[str, list[str]] = {}
    for item in container.extra_hosts:
        name, _, address = item.partition(":")
        found.setdefault(address, []).append(name)
    for address, names in linked.items():
        found.setdefault(address, []).extend(names)
    return found


def _resolv_conf(container: Container, host_resolv: str, *, named: bool, ipv6: bool) -> str:
    if named:
        return etc_files.resolv_conf_of_names(host_resolv, NAME_ADDRESS, container.dns_search, container.dns_options)
    chosen = container.dns or container.dns_search or container.dns_options
    if container.mode == "host" and not chosen:
        return host_resolv
    return etc_files.resolv_conf(host_resolv, container.dns, container.dns_search, container.dns_options, ipv6=ipv6)


def _seal(path: str) -> Path:
    """The file with the digest of what netdeck wrote last."""
    return Path(f"{path}.sum")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _edited(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return _digest(path.read_bytes()) != _seal(str(path)).read_text(encoding="ascii")
    return False
