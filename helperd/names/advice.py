"""What is told of names when a container that is not ours is connected: its resolv.conf is its own, so netdeck only says what to put
in it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

from drivers.name_server import has_names
from drivers.objects import NAME_ADDRESS
from protocol.model import Container, Endpoint, Network

NETNS_ETC = Path("/etc/netns")  # ip-netns(8)
_LONGEST = 65_536


async def names_advice(container: Container, network: Network, endpoint: Endpoint, host_text: Callable[[], str]) -> list[str]:
    """Warnings for `container` on `network`: none where its names resolve as they should. `host_text` reads the host's resolv.conf."""
    if not has_names(network) or container.runtime == "netdeck":
        return []
    if endpoint.foreign_names:
        return [f"another name server answers at {NAME_ADDRESS} in {container.ref} (docker's, where it is on a network of docker's own), "
                f"and stays: names of {network.name} don't resolve in there"]
    name = netns_name(container)
    # A container's own file may lie where somebody lets its reader wait.
    text = _text_of_netns(name, host_text) if name else await asyncio.to_thread(_text_of_process, container.pid)
    if text is not None and NAME_ADDRESS in nameservers(text):
        return []
    if name:
        remedy = f"mkdir -p {NETNS_ETC}/{name} && echo nameserver {NAME_ADDRESS} > {NETNS_ETC}/{name}/resolv.conf"
    elif container.runtime in ("docker", "podman"):
        remedy = f"start it with --dns {NAME_ADDRESS}, or put `nameserver {NAME_ADDRESS}` into its /etc/resolv.conf"
    else:
        remedy = f"put `nameserver {NAME_ADDRESS}` into its /etc/resolv.conf"
    asks = ", ".join(nameservers(text)) if text is not None else ""
    return [f"{container.ref} asks {asks or 'other servers'} for names: those of {network.name} resolve in there once it asks "
            f"{NAME_ADDRESS}. To have that: {remedy}"]


def netns_name(container: Container) -> str:
    """The name of a namespace made by `ip netns`, "" for everything else."""
    folder, _, name = container.path.rpartition("/")
    return name if folder in ("/run/netns", "/var/run/netns") else ""


def nameservers(text: str) -> list[str]:
    """The servers of a resolv.conf."""
    return [words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "nameserver"]


def _text_of_netns(name: str, host_text: Callable[[], str]) -> str:
    """What `ip netns exec` shows a program as /etc/resolv.conf."""
    try:
        with open(f"{NETNS_ETC}/{name}/resolv.conf", encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError:
        return host_text()


def _text_of_process(pid: int) -> str | None:
    """The /etc/resolv.conf of a process, None where it can't be had without following a link of the container's out of it."""
    opened: list[int] = []
    try:
        for name, flags in ((f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY), ("etc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW),
                            ("resolv.conf", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)):
            opened.append(os.open(name, flags | os.O_CLOEXEC, dir_fd=opened[-1] if opened else None))
        if not stat.S_ISREG(os.fstat(opened[-1]).st_mode):
            return None
        return os.read(opened[-1], _LONGEST).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        for fd in opened:
            os.close(fd)
