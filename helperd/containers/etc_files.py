"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container. Rendering is pure; `write_in_place` is the one that writes.

Sources: hosts(5), hostname(5), resolv.conf(5); what is filtered is as in moby (libnetwork/resolvconf).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping

FALLBACK_NAMESERVERS = ("8.8.8.8", "8.8.4.4")
FALLBACK_NAMESERVERS_V6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")

_HOSTS_V4 = "127.0.0.1\tlocalhost\n"
_HOSTS_V6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def hosts(
    hostname: str,
    addresses: Iterable[str],
    names: Mapping[str, Iterable[str]] | None = None,
    ipv6: bool = True,
) -> str:
    """Return the text of /etc/hosts.

    `addresses` are the container's own, v4 and v6, with or without a prefix length; its hostname stands at each.
    `names` maps further addresses to names. `ipv6` adds the lines that every host with IPv6 has. A name that would end
    its line or field is left out. Raises ValueError for what is no address.
    """
    lines = [_HOSTS_V4 + (_HOSTS_V6 if ipv6 else "")]
    lines += [_host_line(address, (hostname,)) for address in dict.fromkeys(addresses)]
    lines += [_host_line(address, others) for address, others in (names or {}).items()]
    return "".join(lines)


def _host_line(address: str, names: Iterable[str]) -> str:
    usable = [name for name in dict.fromkeys(names) if _is_one_word(name)]
    return f"{ipaddress.ip_interface(address).ip}\t{' '.join(usable)}\n" if usable else ""


def _is_one_word(name: str) -> bool:
    return bool(name) and name.isprintable() and " " not in name and "#" not in name


def hostname(name: str) -> str:
    """Return the text of /etc/hostname."""
    return f"{name}\n"


def resolv_conf(
    host_text: str,
    nameservers: Iterable[str] = (),
    search: Iterable[str] = (),
    options: Iterable[str] = (),
    ipv6: bool = True,
) -> str:
    """Return the text of /etc/resolv.conf, made from the host's.

    What is given replaces what the host has. Of the host's servers those on its loopback are left out, since they
    can't be reached from another namespace, and the v6 ones where the container has no IPv6. When none is left, the
    servers are Google's, 8.8.8.8 and 8.8.4.4 (with `ipv6` also 2001:4860:4860::8888 and ::8844), as in Docker.
    """
    given = list(nameservers)
    servers = given or [server for server in _values(host_text, "nameserver") if _reachable(server, ipv6=ipv6)]
    if not servers:
        servers = [*FALLBACK_NAMESERVERS, *(FALLBACK_NAMESERVERS_V6 if ipv6 else ())]
    domains = list(search) or _last_values(host_text, ("search", "domain"))
    chosen = list(options) or [word for line in _values(host_text, "options") for word in line.split()]
    lines = [f"nameserver {server}\n" for server in dict.fromkeys(servers)]
    if domains and domains != ["."]:
        lines.append(f"search {' '.join(domains)}\n")
    if chosen:
        lines.append(f"options {' '.join(dict.fromkeys(chosen))}\n")
    return "".join(lines)


def resolv_conf_of_names(host_text: str, server: str, search: Iterable[str] = (), options: Iterable[str] = ()) -> str:
    """Return the text of /etc/resolv.conf for a container that asks `server` of ours.

    Search domains and options are the host's where none are given. Names without a dot are asked as they are (``ndots:0``), unless
    `options` say otherwise: what the host says of dots is meant for its own domains.
    """
    chosen = list(options) or [word for line in _values(host_text, "options") for word in line.split() if not word.startswith("ndots:")]
    if not any(word.startswith("ndots:") for word in chosen):
        chosen.append("ndots:0")
    return resolv_conf(host_text, (server,), search, chosen)


def _values(text: str, keyword: str) -> list[str]:
    found = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ") if " " in line.strip() else line.strip().partition("\t")
        if word == keyword and rest.strip():
            found.append(rest.strip())
    return found


def _last_values(text: str, keywords: tuple[str, ...]) -> list[str]:
    """`search` and `domain` exclude each other; the last line counts (resolv.conf(5))."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in keywords:
            found = words[1:]
    return found


def _reachable(server: str, *, ipv6: bool) -> bool:
    try:
        address = ipaddress.ip_address(server.split()[0].partition("%")[0])
    except ValueError:
        return False
    # A zone names a link of the host.
    return not address.is_loopback and not address.is_unspecified and (address.version == 4 or (ipv6 and "%" not in server))


def write_in_place(path: str, text: str) -> None:
    """Make `text` the content of a file without giving it a new inode, because it may be bind-mounted in containers.

    A reader never sees it empty: what is longer is cut after the new content was written. Made with mode 0644 when it is
    missing. Raises OSError; a symbolic link is refused.
    """
    data = text.encode("utf-8", "backslashreplace")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)
        written = 0
        while written < len(data):
            written += os.pwrite(fd, data[written:], written)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
