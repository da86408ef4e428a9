"""A DHCP server of the site, in the namespace `outside`: dnsmasq, with times that suit a test."""

from __future__ import annotations

import time
from pathlib import Path

from tests.simulated_host import HostProcess, SimulatedHost
from tests.waiting import LONGEST_SECONDS


class Dnsmasq:
    """Gives 192.168.1.100 to .120 on `up0` (and whatever is said in `options`), with 192.168.1.1 as router and name server, which knows
    ``printer.site.test`` and the clients by their names."""

    def __init__(self, host: SimulatedHost, folder: Path, *options: str, link: str = "up0") -> None:
        self.host, self._folder, self._options, self._link = host, folder, options, link
        self._process: HostProcess | None = None
        self.start()

    def start(self) -> None:
        log, leases = self._folder / "dnsmasq.log", self._folder / "dnsmasq.leases"
        log.touch()
        self._process = self.host.popen(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-ping", "--log-dhcp",
             f"--interface={self._link}", "--except-interface=lo", "--bind-interfaces", "--dhcp-authoritative", "--no-resolv",
             "--no-hosts", "--domain=site.test", "--dhcp-range=192.168.1.100,192.168.1.120,255.255.255.0,2m",
             "--host-record=printer.site.test,192.168.1.77", "--pid-file",
             f"--log-facility={log}", f"--dhcp-leasefile={leases}", *self._options], netns="outside")
        end = time.monotonic() + LONGEST_SECONDS
        while "IP range" not in self.log() or not self.host.run("ss -Hlun sport = :67", netns="outside"):
            assert self._process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def log(self) -> str:
        return (self._folder / "dnsmasq.log").read_text()

    def leases(self) -> dict[str, str]:
        """MAC address → address."""
        lines = (self._folder / "dnsmasq.leases").read_text().split("\n") if (self._folder / "dnsmasq.leases").exists() else []
        return {line.split()[1]: line.split()[2] for line in lines if len(line.split()) > 3}

    def said(self, words: str) -> int:
        """How often it logged something."""
        return self.log().count(words)
