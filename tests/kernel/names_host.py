"""A running helper on a host with a resolv.conf of its own, name servers to ask, and `dig` as those who ask."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.running_helper import ROOT, RunningHelper
from tests.simulated_host import HostProcess, SimulatedHost
from tests.waiting import until

SERVER = Path(__file__).resolve().parent.parent / "upstream_server.py"
HOST_SERVER = "127.0.0.53"


class Dug(NamedTuple):
    """What dig was told: the status, the header's flags, the data of the answers."""

    status: str
    flags: frozenset[str]
    data: tuple[str, ...]
    text: str


class NamesHost:
    """`helper` on a host whose resolv.conf names 127.0.0.53, where nothing answers until `serve`."""

    def __init__(self, host: SimulatedHost, folder: Path) -> None:
        self.host, self.folder = host, folder
        host.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        self.resolv_conf(f"nameserver {HOST_SERVER}\n")
        host.run("rm -rf /etc/netns /etc/resolv.conf && mkdir /etc/netns && touch /etc/resolv.conf")
        host.run(f"mount --bind {folder}/resolv.conf /etc/resolv.conf")
        self.helper = RunningHelper(host, folder)

    def resolv_conf(self, text: str) -> None:
        (self.folder / "resolv.conf").write_text(text)

    def serve(self, address: str = HOST_SERVER, mode: str = "good", netns: str = "") -> HostProcess:
        """A name server; what it prints is a line for each question by UDP: address, port, name."""
        process = self.host.popen([sys.executable, str(SERVER), address, mode], netns=netns)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def attach(self, network: str, name: str, **args: Any) -> str:
        """A named namespace on a network; its first address."""
        if name not in self.host.run("ip netns list").split():
            self.host.add_namespace(name)
        endpoint = self.helper.call("network.connect", network=network, container=f"netns:{name}", **args)["endpoint"]
        return str(endpoint["addresses"][0]).partition("/")[0]

    def dig(self, netns: str, *words: str, tries: int = 1, seconds: int = 8) -> Dug:
        """Ask from a named namespace."""
        out = self.host.run(["dig", "+noall", "+comments", "+answer", f"+tries={tries}", f"+time={seconds}", "@127.0.0.11", *words],
                            netns=netns, check=False, timeout=60)
        status = re.search(r"status: (\w+)", out)
        flags = re.search(r"flags: ([a-z ]*);", out)
        rows = [line.split(None, 4)[4] for line in out.splitlines() if line and line[0] != ";" and len(line.split(None, 4)) == 5]
        return Dug(status[1] if status else "", frozenset(flags[1].split() if flags else ()), tuple(rows), out)

    def popen(self, *words: str) -> HostProcess:
        """A `netdeck` command line in the host, which goes on."""
        return self.host.popen(["env", f"NETDECK_SOCKET={self.helper.socket}", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tui", *words])

    def until(self, netns: str, name: str, data: tuple[str, ...]) -> None:
        """Wait until `name` has just these addresses."""
        until(lambda: self.dig(netns, name, seconds=1).data == data, f"{name} has {data}")

    def table(self, netns: str) -> list[dict[str, Any]]:
        """The nftables objects in a named namespace."""
        listed: list[dict[str, Any]] = json.loads(self.host.run("nft -j list ruleset", netns=netns))["nftables"]
        return [item for item in listed if "metainfo" not in item]

    def at_name_address(self, netns: str) -> list[str]:
        """The sockets at 127.0.0.11 in a named namespace."""
        return self.host.run("ss -Hlnut src 127.0.0.11", netns=netns).splitlines()
