"""The real firewalld and ufw in a simulated host, from their Debian packages: unpacked, never installed, since they would start then.

`./netdeck --set-up engines` puts them into the folder `firewalls` of the environment. They are laid over the host's `/usr` and
`/etc`, which stay the machine's below, and write to its `/run`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.simulated_host import HostProcess, SimulatedHost
from tests.waiting import until

UNPACKED = Path(sys.prefix) / "firewalls" / "root"
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""


def lay_over(host: SimulatedHost) -> None:
    """What the packages hold appears in `/usr` and `/etc` of the host."""
    if not (UNPACKED / "usr" / "sbin" / "firewalld").exists():
        pytest.skip("firewalld and ufw are not unpacked here: ./netdeck --set-up engines does it")
    for folder in ("usr", "etc"):
        upper, work = f"/run/over/{folder}", f"/run/over/{folder}-work"
        host.run(f"mkdir -p {upper} {work} && mount -t overlay overlay "
                 f"-o lowerdir={UNPACKED}/{folder}:/{folder},upperdir={upper},workdir={work} /{folder}")


class Firewalld:
    """The daemon, with a bus of its own."""

    def __init__(self, host: SimulatedHost) -> None:
        lay_over(host)
        self.host = host
        host.run("mkdir -p /run/dbus && cat > /run/bus.conf", input=_BUS)
        self.bus = host.popen("exec dbus-daemon --nofork --nopidfile --nosyslog --config-file=/run/bus.conf > /run/bus.log 2>&1")
        until(lambda: "socket" in host.run("stat -c %F /run/dbus/system_bus_socket", check=False))
        self.daemon: HostProcess = host.popen("exec firewalld --nofork --nopid --log-file=/run/firewalld.log > /run/firewalld.out 2>&1")
        until(lambda: self.host.run("timeout 10 firewall-cmd --state", check=False) == "running\n")

    def __call__(self, *words: str) -> str:
        """One `firewall-cmd`."""
        return self.host.run(["timeout", "25", "firewall-cmd", *words])

    def close(self) -> None:
        for process in (self.daemon, self.bus):
            process.kill()
            process.wait()


def prepare_ufw(host: SimulatedHost) -> None:
    """`/etc/ufw` as the package makes it when it is installed."""
    lay_over(host)
    host.run("cp /usr/share/ufw/ufw.conf /etc/ufw/ && cp /usr/share/ufw/iptables/*.rules /etc/ufw/ && chmod 640 /etc/ufw/*.rules && "
             "mkdir -p /var/lib/ufw; touch /etc/ufw/sysctl.conf")
