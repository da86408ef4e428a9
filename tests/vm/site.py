"""A lab whose `outside` is a site with VLANs, and the command line in this process: to start Python anew takes ten seconds in a virtual
machine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from protocol.blocking import BlockingClient
from protocol.errors import NetdeckError
from tests.running_lab import Lab
from tests.simulated_host import HostError
from tui.cli import run as run_command_line

VLANS = (10, 20, 30, 40, 50, 114, 139, 140)
"""Those that the router `outside` has, with 192.168.VLAN.1, and 2001:db8:VLAN::1."""


class CommandFailed(AssertionError):
    """A command line of netdeck that ended with another exit code than it should have."""


class Site:
    """The host of a lab with a helper: `eth0` (192.168.1.250/24) is a trunk to the namespace `outside`, which has the VLANs, and routes
    between all but those."""

    def __init__(self, lab: Lab, vlans: Sequence[int] = VLANS) -> None:
        self.lab = lab
        lines = [f"ip link add link lan0 name lan0.{vlan} type vlan id {vlan} && ip link set lan0.{vlan} up && "
                 f"ip addr add 192.168.{vlan}.1/24 dev lan0.{vlan} && ip -6 addr add 2001:db8:{vlan}::1/64 dev lan0.{vlan} nodad && "
                 f"echo 0 | tee /proc/sys/net/ipv4/conf/lan0.{vlan}/forwarding > /proc/sys/net/ipv6/conf/lan0.{vlan}/forwarding"
                 for vlan in vlans]
        self.sh(" && ".join(("true", *lines)), "outside")
        self.client = BlockingClient(lab.socket, timeout=240)

    def call(self, op: str, **args: Any) -> Any:
        """One operation, as root."""
        return self.client.call(op, args, deadline=240)

    def sh(self, command: str, netns: str = "", check: bool = True) -> str:
        """A shell line in the host, or in one of its named namespaces."""
        return self.lab.run(["sh", "-c", command], netns=netns, check=check, timeout=300)

    def netdeck(self, line: str, code: int = 0) -> str:
        """A command line of netdeck, its words as a shell takes them; what it prints on both outputs."""
        words = shlex.split(line)
        with _output() as said, _socket(self.lab.socket):
            ended = run_command_line(words)
        text = said()
        if ended != code:
            raise CommandFailed(f"netdeck {line}: exit code {ended} in the place of {code}\n{text}")
        return text

    def inspect(self, network: str) -> Mapping[str, Any]:
        """What `network inspect` prints of one network."""
        document: list[Mapping[str, Any]] = json.loads(self.netdeck(f"network inspect {network}"))
        return document[0]

    # Networks and containers by the wire, for tests that are not about the command line

    def create(self, name: str, driver: str, *subnets: str, ipv6: bool = False, internal: bool = False, **options: str) -> dict[str, Any]:
        """A network; a subnet may have its gateway behind a comma."""
        asked = [dict(zip(("subnet", "gateway"), text.split(","), strict=False)) for text in subnets]
        return dict(self.call("network.create", name=name, driver=driver, subnets=asked, ipv6=ipv6, internal=internal,
                              options=options)["network"])

    def attach(self, network: str, *names: str, **args: Any) -> dict[str, Any]:
        """Named namespaces, made if they are missing, on a network; the endpoint of the last."""
        self.sh(f"for name in {' '.join(names)}; do "
                "[ -e /run/netns/$name ] || { ip netns add $name && ip -n $name link set lo up; } || exit; done")
        return dict([self.call("network.connect", network=network, container=f"netns:{name}", **args)["endpoint"] for name in names][-1])

    def detach(self, network: str, *names: str) -> None:
        for name in names:
            self.call("network.disconnect", network=network, container=f"netns:{name}")

    def remove(self, *networks: str) -> None:
        for name in networks:
            self.call("network.remove", name=name)

    def clear(self) -> None:
        """Without containers and networks but the predefined."""
        for row in self.call("container.list", all=True, foreign=True):
            if row["runtime"] == "netdeck":
                self.call("container.remove", name=row["id"], force=True)
                continue
            for network in row["networks"]:
                self.call("network.disconnect", network=network, container=row["ref"], force=True)
        for row in self.call("network.list"):
            if not row["predefined"]:
                self.call("network.remove", name=row["name"])
        self.sh("cd /run/netns && for name in *; do [ $name = outside ] || ip netns del $name; done")

    def links(self, netns: str = "") -> set[str]:
        """Names of the links of the host, but for its loopback and the predefined bridge, or of a namespace."""
        found = {line.split()[0].partition("@")[0] for line in self.sh("ip -br link", netns).splitlines()}
        return found - ({"lo", "netdeck0"} if not netns else {"lo"})

    def foreign(self) -> list[Any]:
        """The links of the host with all that was set on them, without what changes by itself."""
        rows = json.loads(self.sh("ip -d -j addr show"))
        for row in rows:
            for key in ("promiscuity", "allmulti", "operstate", "flags"):
                row.pop(key, None)
            row["addr_info"] = [(item["local"], item["prefixlen"]) for item in row["addr_info"] if item["scope"] == "global"]
        return [row for row in rows if row["ifname"] != "netdeck0"]

    # Packets

    def meet(self, *expected: tuple[str, str, bool]) -> None:
        """Check, all at once, whether a namespace gets an answer to a ping from an address: (namespace, address, whether it should).

        A container of ours is ``@NAME``. What should be answered has 60 seconds, what should not has 2 packets.
        """
        lines = []
        enter = {who: self._enter(who) for who in {item[0] for item in expected}}
        for number, (who, target, wanted) in enumerate(expected):
            how = "-c 1 -w 60" if wanted else "-c 2 -i 0.5 -w 2"
            lines.append(f"({enter[who]} ping -n -q {how} {target} > /dev/null 2>&1 && echo {number}) &")
        answered = {int(word) for word in self.sh("\n".join([*lines, "wait"])).split()}
        wrong = [f"{who} {'does not reach' if wanted else 'reaches'} {target}"
                 for number, (who, target, wanted) in enumerate(expected) if wanted != (number in answered)]
        if wrong:
            raise AssertionError("; ".join(wrong) + "\n" + "\n".join(self.state(who) for who in {item[0] for item in expected}))

    def inside(self, name: str, command: str) -> str:
        """A shell line in the network of a container of ours."""
        return self.sh(f"{self._enter('@' + name)} sh -c {shlex.quote(command)}")

    def state(self, who: str) -> str:
        """Links, addresses and routes of a namespace, for the words of a failure."""
        show = "sh -c 'ip -d addr; ip route; ip -6 route; ip neigh'"
        return f"--- {who}\n" + self.sh(f"{self._enter(who)} {show} 2>&1", check=False)

    def _enter(self, who: str) -> str:
        if who.startswith("@"):
            pid = next(row["pid"] for row in self.call("container.list") if row["name"] == who[1:])
            return f"nsenter -t {pid} -n"
        return f"ip netns exec {who}" if who else ""

    def until(self, condition: Callable[[], object], what: str, seconds: float = 240) -> None:
        """Wait for something to become true; `what` says it in the words of a failure."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"it did not happen in {seconds:.0f} s: {what}\n{self.lab.helper_log()[-2000:]}")
            time.sleep(0.2)

    def lose_helper(self, meanwhile: str = "true") -> None:
        """End the helper at once, as a crash does, and run a shell line; the lab starts it again. Returns when it answers."""
        pid = self.call("info")["pid"]
        self.client.close()
        self.sh(f"kill -9 {pid}; {meanwhile}")
        self.connect_again(pid)

    def connect_again(self, before: int) -> None:
        """Wait for a helper that is not the process `before`, and talk to it."""
        def answered() -> bool:
            with contextlib.suppress(NetdeckError, HostError, OSError), contextlib.ExitStack() as unwanted:
                client = unwanted.enter_context(BlockingClient(self.lab.socket, timeout=20))
                if client.call("info")["pid"] != before:
                    unwanted.pop_all()
                    self.client = client
                    return True
            return False
        self.until(answered, "the helper answers again", 300)

    def close(self) -> None:
        self.client.close()


@contextlib.contextmanager
def _socket(path: str) -> Iterator[None]:
    before = os.environ.get("NETDECK_SOCKET")
    os.environ["NETDECK_SOCKET"] = path
    try:
        yield
    finally:
        if before is None:
            del os.environ["NETDECK_SOCKET"]
        else:
            os.environ["NETDECK_SOCKET"] = before


@contextlib.contextmanager
def _output() -> Iterator[Callable[[], str]]:
    """Catch what is written to both outputs, by Python and by descriptor; gives a function that returns it."""
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        saved = [os.dup(1), os.dup(2)]
        words = io.TextIOWrapper(os.fdopen(os.dup(file.fileno()), "wb", buffering=0), errors="backslashreplace", write_through=True)
        stack.enter_context(contextlib.redirect_stdout(words))
        stack.enter_context(contextlib.redirect_stderr(words))
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        said = ""
        try:
            yield lambda: said
        finally:
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            words.flush()
            file.seek(0)
            said = file.read().decode(errors="backslashreplace")
            words.close()

