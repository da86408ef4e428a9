"""Containers of our own over the wire: networks, accounts, files, streams, ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from protocol.client import Client
from protocol.errors import Conflict, Gone, InUse, InvalidValue, KernelRefused, NotFound
from protocol.messages import Progress
from tests.kernel.test_networks import address, attach, reaches
from tests.running_helper import RunningHelper
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)
ROOT = Path(__file__).resolve().parents[2]
USER = 4321


class Said:
    """A streaming call to its end: what the command printed, and how it ended."""

    def __init__(self, helper: RunningHelper, operation: str, **arguments: Any) -> None:
        parts: dict[str, bytes] = {"stdout": b"", "stderr": b""}

        def take(part: Progress) -> None:
            if part.stream:
                parts[part.stream] += part.data

        self.answer = helper.client.call(operation, arguments, on_progress=take)
        self.code: int = self.answer["exit_code"]
        self.out, self.errors = parts["stdout"].decode(), parts["stderr"].decode()


def run(helper: RunningHelper, *command: str, **arguments: Any) -> Said:
    return Said(helper, "container.run", command=list(command), auto_remove=True, **arguments)


def start(helper: RunningHelper, name: str, *networks: str, **arguments: Any) -> dict[str, Any]:
    """A container that sleeps; its record."""
    answer = helper.call("container.run", command=["sleep", "600"], name=name, networks=list(networks), detach=True, **arguments)
    return dict(answer["container"])


def members(helper: RunningHelper, network: str) -> dict[str, dict[str, Any]]:
    """By name, as `network inspect` has them."""
    return {item["Name"]: item for item in helper.call("network.inspect", names=[network])[0]["Containers"].values()}


def links(text: str) -> list[str]:
    return sorted(row["ifname"] for row in json.loads(text))


# Networks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.req("B1", "B3", "D1")
def test_one_that_names_no_network_is_on_the_default_bridge(helper: RunningHelper) -> None:
    first = start(helper, "s1")
    assert first["networks"] == ["bridge"]
    target = members(helper, "bridge")["s1"]["IPv4Address"].partition("/")[0]
    said = run(helper, "sh", "-c", f"ping -n -c 1 -W 2 {target} && ping -n -c 1 -W 2 192.0.2.1 && ip -j link")
    assert said.code == 0, said.out + said.errors
    assert links(said.out[said.out.index("[{"):]) == ["eth0", "lo"]
    assert start(helper, "s2", "default")["networks"] == ["bridge"], "docker's word for it"


@pytest.mark.req("B7", "D4")
def test_chosen_addresses_and_two_networks(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", ipv6=True, subnets=[{"subnet": "10.8.0.0/24"}, {"subnet": "fd00:8::/64"}])
    helper.call("network.create", name="b", subnets=[{"subnet": "10.9.0.0/24"}])
    said = run(helper, "ip", "-j", "addr", networks=["a", "b"], ip="10.8.0.77", ip6="fd00:8::77", mac_address="02:00:00:00:00:77")
    rows = {row["ifname"]: row for row in json.loads(said.out)}
    assert set(rows) == {"lo", "eth0", "eth1"}
    assert {"10.8.0.77", "fd00:8::77"} <= {item["local"] for item in rows["eth0"]["addr_info"]}
    assert rows["eth0"]["address"] == "02:00:00:00:00:77" != rows["eth1"]["address"]
    assert {item["local"] for item in rows["eth1"]["addr_info"]} == {"10.9.0.2"}
    assert "default via 10.8.0.1 dev eth0" in run(helper, "ip", "route", networks=["a", "b"]).out
    assert members(helper, "a") == members(helper, "b") == {}
    for networks, words in ((["a", "host"], "no other network"), (["a", "a"], "twice")):
        with pytest.raises(InvalidValue, match=words):
            run(helper, "true", networks=networks)
    with pytest.raises(InvalidValue, match=r"10\.8\.0\.0/24"):
        run(helper, "true", networks=["a"], ip="10.9.0.5")


@pytest.mark.req("H1")
def test_on_host_it_shares_the_hosts_stack(helper: RunningHelper) -> None:
    here = helper.host.run("readlink /proc/self/ns/net; ip -j link").split("\n", 1)
    said = run(helper, "sh", "-c", "readlink /proc/self/ns/net; ip -j link", networks=["host"])
    space, rows = said.out.split("\n", 1)
    assert space == here[0]
    assert links(rows) == links(here[1])
    start(helper, "s1", "host")
    with pytest.raises(InvalidValue, match="goes with no other"):
        helper.call("network.connect", network="bridge", container="s1")
    with pytest.raises(InvalidValue, match="no address"):
        run(helper, "true", networks=["host"], ip="10.0.0.1")


@pytest.mark.req("N1")
def test_on_none_there_is_loopback_and_nothing_else(helper: RunningHelper) -> None:
    said = run(helper, "sh", "-c", "ip -j link; echo; ip -j route; echo; ip -6 -j route; echo; ping -n -c 1 -W 1 127.0.0.1; "
               "ping -n -c 1 -W 1 192.0.2.1", networks=["none"])
    rows, four, six, *rest = [line for line in said.out.splitlines() if line.strip()]
    assert links(rows) == ["lo"] and "UP" in json.loads(rows)[0]["flags"]
    assert json.loads(four) == [] and all(row["dev"] == "lo" for row in json.loads(six))
    assert any("1 received" in line for line in rest)
    assert said.code != 0 and "unreachable" in said.errors


@pytest.mark.req("B6", "D4")
def test_one_that_runs_is_connected_and_disconnected(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.8.0.0/24"}])
    start(helper, "s1")
    helper.call("network.connect", network="a", container="s1", ip="10.8.0.9", aliases=["web"])
    said = Said(helper, "container.exec", container="s1", command=["sh", "-c", "ip -j addr show eth1; cat /etc/hosts"])
    assert '"10.8.0.9"' in said.out and "10.8.0.9\t" in said.out
    helper.call("network.disconnect", network="a", container="s1")
    said = Said(helper, "container.exec", container="s1", command=["sh", "-c", "ip -j link; cat /etc/hosts"])
    assert "eth1" not in said.out and "10.8.0.9" not in said.out
    with pytest.raises(NotFound, match="container s1 is not connected to network a: it is connected to bridge"):
        helper.call("network.disconnect", network="a", container="s1")
    # The last one may go too, and it can be attached again.
    helper.call("network.disconnect", network="bridge", container="s1")
    helper.call("network.connect", network="a", container="s1")
    with pytest.raises(Conflict, match="already"):
        helper.call("network.connect", network="a", container="s1")


# Accounts ------------------------------------------------------------------------------------------------------------------

AS_USER = """
import json, sys
from protocol.blocking import BlockingClient
out = []
with BlockingClient() as client:
    answer = client.call("container.run", json.load(sys.stdin), on_progress=lambda part: out.append(part.data.decode()))
print("".join(out), end="")
sys.exit(answer["exit_code"])
"""


@pytest.mark.req("W3", "B3")
def test_it_runs_as_the_caller_and_gains_no_privilege(helper: RunningHelper) -> None:
    (helper.folder / "config.toml").write_text(f'[roles]\nuids = {{{USER} = "operate"}}\n')
    helper.restart()
    os.chmod(helper.socket, 0o666)
    gateway = helper.call("network.inspect", names=["bridge"])[0]["IPAM"]["Config"][0]["Gateway"]
    script = (f"id -u; id -g; id -G; grep -E 'Cap(Prm|Eff)|NoNewPrivs' /proc/self/status; ping -n -c 1 -W 2 {gateway} | tail -2;"
              "exec 2> /dev/null;"  # the words of these commands come by a pipe of their own, in between the others
              "ip link add x type dummy || echo no link; mount -t tmpfs none /mnt || echo no mount; cat /etc/shadow || echo no secrets;"
              "nsenter -t 1 -n true || echo no entry; chroot / true || echo no root")
    done = subprocess.run(
        ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", sys.executable, "-c", AS_USER],
        input=json.dumps({"command": ["sh", "-c", script], "auto_remove": True}), capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ["PATH"], "NETDECK_SOCKET": helper.socket, "PYTHONPATH": str(ROOT)})
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[:3] == [str(USER)] * 3
    found = dict(line.split(":\t") for line in lines if ":\t" in line)
    assert {found[name] for name in ("CapPrm", "CapEff")} == {"0" * 16} and found["NoNewPrivs"] == "1"
    assert "1 received" in done.stdout
    assert {"no link", "no mount", "no secrets", "no entry", "no root"} <= set(lines), done.stdout


# Files ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.req("D1", "W9")
def test_host_name_and_files(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.8.0.0/24"}])
    said = run(helper, "sh", "-c", "hostname; cat /etc/hostname; echo; cat /etc/hosts; echo --; cat /etc/resolv.conf; echo --; env; pwd",
               networks=["a"], ip="10.8.0.9", hostname="box", env={"COLOUR": "blue green"}, workdir="/usr")
    names, resolver, environment = said.out.split("--\n")
    assert names.split("\n\n")[0].split() == ["box", "box"]
    assert "127.0.0.1\tlocalhost" in names and "10.8.0.9\tbox" in names
    assert "::1" not in names.replace("localhost", "") or "ip6" in names
    assert resolver.startswith("nameserver 127.0.0.11\n") and "ndots:0" in resolver
    assert {"COLOUR=blue green", "HOSTNAME=box"} <= set(environment.splitlines())
    assert environment.splitlines()[-1] == "/usr"
    assert not [line for line in environment.splitlines() if line.startswith(("PYTHONPATH", "NETDECK"))]
    resolver = run(helper, "cat", "/etc/resolv.conf").out  # on the default bridge
    wanted = [line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if line.startswith("nameserver ")]
    given = [line.split()[1] for line in resolver.splitlines() if line.startswith("nameserver ")]
    assert given and not [item for item in given if item.startswith("127.")]
    assert set(given) <= set(wanted) or all(item.startswith("127.") for item in wanted)
    for arguments in ({"hostname": "-x"}, {"env": {"A=B": "x"}}, {"name": "a b"}, {"labels": {"\0": "x"}}):
        with pytest.raises(InvalidValue):
            run(helper, "true", **arguments)


@pytest.mark.req("D1")
def test_a_root_directory_of_ones_own(helper: RunningHelper, tmp_path: Path) -> None:
    root = helper.folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/sh").symlink_to("busybox")
    said = run(helper, "/bin/sh", "-c", "busybox ls /; busybox ip addr show eth0; busybox cat /etc/hosts", rootfs=str(root), hostname="box")
    assert said.code == 0, said.errors
    assert "home" not in said.out.split() and "172.17.0." in said.out and "box" in said.out
    with pytest.raises(KernelRefused, match="nowhere") as caught:
        run(helper, "true", rootfs=str(helper.folder / "nowhere"))
    assert "\n" not in caught.value.message
    assert members(helper, "bridge") == {} and helper.call("container.list", all=True, foreign=False) == []


# Life ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.req("W3", "B6")
def test_exit_codes(helper: RunningHelper) -> None:
    lines = ("true", "exit 3", "sh -c 'kill -9 $$'; exit $?", "sleep 60 & kill $!; wait $!")
    assert [run(helper, "sh", "-c", line).code for line in lines] == [0, 3, 137, 143]
    for command, code in (("/no/such/thing", 127), ("/etc/hosts", 126)):
        with pytest.raises(KernelRefused, match=command) as caught:
            run(helper, command)
        assert caught.value.details["exit_code"] == code
    assert helper.call("container.list", all=True, foreign=False) == []
    assert members(helper, "bridge") == {}
    # `--rm` or not: what has ended is still there, with its code, and gives back what it had.
    helper.call("container.run", command=["sh", "-c", "exit 7"], name="kept")
    until(lambda: helper.call("container.inspect", names=["kept"])[0]["State"]["Status"] == "exited")
    state = helper.call("container.inspect", names=["kept"])[0]["State"]
    assert (state["ExitCode"], state["Running"], state["Pid"]) == (7, False, 0)
    assert members(helper, "bridge") == {}
    with pytest.raises(Gone, match="kept"):
        helper.call("network.connect", network="bridge", container="kept")
    with pytest.raises(Gone, match="kept"):
        helper.call("container.exec", container="kept", command=["true"])
    helper.call("container.remove", name="kept")
    assert helper.call("container.list", all=True, foreign=False) == []


@pytest.mark.req("B6", "W3")
def test_stop_remove_and_names(helper: RunningHelper) -> None:
    ident = start(helper, "shop")["id"]
    with pytest.raises(Conflict, match="shop exists already"):
        start(helper, "shop")
    with pytest.raises(InUse, match="running"):
        helper.call("container.remove", name="shop")
    assert Said(helper, "container.exec", container=ident[:8], command=["hostname"]).out.strip() == ident[:12]
    assert Said(helper, "container.exec", container="shop", command=["sh", "-c", "exit 9"]).code == 9
    assert helper.call("container.stop", name="shop", timeout=0.2)["exit_code"] == 137  # a PID 1 without a handler
    stopped = helper.call("container.list", all=True, foreign=False)
    assert [(row["name"], row["status"], row["exit_code"]) for row in stopped] == [("shop", "exited", 137)]
    assert helper.call("container.list", foreign=False) == []
    assert helper.call("container.stop", name="shop")["exit_code"] == 137
    with pytest.raises(Conflict, match="shop exists already"):
        start(helper, "shop")
    helper.call("container.remove", name="shop")
    start(helper, "shop")
    with pytest.raises(NotFound, match="did you mean 'shop'"):
        helper.call("container.exec", container="shpo", command=["true"])
    helper.call("container.remove", name="shop", force=True)
    assert helper.call("container.list", all=True, foreign=False) == []
    assert not [line for line in helper.host.run("ip -br link").splitlines() if line.startswith("veth")]
    assert "sleep" not in helper.host.run("ps -eo comm")
    assert not list((helper.folder / "run" / "containers").iterdir())
    helper.host.add_namespace("c1")
    attach(helper, "bridge", "c1")
    with pytest.raises(InvalidValue, match="belongs to netns"):
        helper.call("container.remove", name="netns:c1", force=True)


@pytest.mark.req("B6", "W3")
def test_one_that_dies_gives_everything_back(helper: RunningHelper) -> None:
    helper.call("network.create", name="a", subnets=[{"subnet": "10.8.0.0/29"}], options={"name": "br9"})
    dead = start(helper, "s1", "a", ip="10.8.0.3")
    with pytest.raises(Conflict, match="in use by container s1"):
        start(helper, "s2", "a", ip="10.8.0.3")
    assert "br9" in helper.host.run("ip -br link show type veth master br9 | head -1; echo br9")
    helper.host.run(["kill", "-9", str(dead["pid"])])
    until(lambda: helper.call("container.list", foreign=False) == [])
    assert members(helper, "a") == {}
    assert helper.host.run("ip -br link show master br9") == ""
    start(helper, "s2", "a", ip="10.8.0.3")
    start(helper, "gone", "a", auto_remove=True)
    helper.host.run(["kill", "-9", str(helper.call("container.inspect", names=["gone"])[0]["State"]["Pid"])])
    until(lambda: [row["name"] for row in helper.call("container.list", all=True, foreign=False)] == ["s1", "s2"])
    with pytest.raises(InUse, match="s2"):
        helper.call("network.remove", name="a")
    helper.call("container.remove", name="s2", force=True)
    helper.call("network.remove", name="a")


# Streams -------------------------------------------------------------------------------------------------------------------


async def stream(helper: RunningHelper, data: bytes, **arguments: Any) -> tuple[bytes, Mapping[str, Any]]:
    """What comes back for `data` and an end of input."""
    async with Client(helper.socket) as client, client.stream("container.run", {"auto_remove": True, **arguments}) as call:
        async def give() -> None:
            await call.send(data)
            await call.eof()

        giving = asyncio.create_task(give())
        out = b"".join([part.data async for part in call])
        await giving
        return out, await call.result()


@pytest.mark.req("W8")
async def test_standard_input_is_piped_through(helper: RunningHelper) -> None:
    data = os.urandom(3_000_000)
    out, answer = await stream(helper, data, command=["cat"], interactive=True)
    assert answer["exit_code"] == 0 and out == data
    out, _ = await stream(helper, b"x" * 100_000, command=["wc", "-c"], interactive=True)
    assert out.strip() == b"100000"
    # Without --interactive there is nothing to read, and what is sent is no error.
    out, answer = await stream(helper, b"hello", command=["cat"])
    assert (out, answer["exit_code"]) == (b"", 0)


@pytest.mark.req("W8")
async def test_a_terminal_with_its_size_and_signals(helper: RunningHelper) -> None:
    arguments = {"command": ["sh", "-c", "trap 'echo caught; exit 5' INT; stty size; read x; stty size; echo got $x; read y"],
                 "tty": True, "interactive": True, "auto_remove": True, "rows": 11, "columns": 22}
    async with Client(helper.socket) as client, client.stream("container.run", arguments) as call:
        seen, step = b"", 0
        async for part in call:
            seen += part.data
            if step == 0 and b"11 22" in seen:
                step = 1
                await call.resize(33, 44)
                await call.send(b"line\r")
            if step == 1 and b"got line" in seen:
                step = 2
                assert b"33 44" in seen
                await call.send(b"\x03")
        assert b"caught" in seen
        assert (await call.result())["exit_code"] == 5


@pytest.mark.req("W8")
async def test_one_whose_caller_goes_away_runs_on(helper: RunningHelper) -> None:
    async with Client(helper.socket) as client:
        call = client.stream("container.run", {"command": ["sh", "-c", "echo up; exec sleep 500"], "name": "s1"})
        async for part in call:
            assert part.data == b"up\n"
            break
    until(lambda: [row["name"] for row in helper.call("container.list", foreign=False)] == ["s1"])
    assert helper.call("container.inspect", names=["s1"])[0]["State"]["Running"]
    assert reaches(helper, "outside", "192.0.2.2")
    assert address({"addresses": [members(helper, "bridge")["s1"]["IPv4Address"]]}).startswith("172.17.")
