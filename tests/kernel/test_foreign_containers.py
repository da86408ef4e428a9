"""Containers that netdeck did not start: attached, reached, detached, and otherwise left exactly as they were."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import Conflict, Gone, InvalidValue, NotFound
from tests.kernel.test_containers import members
from tests.kernel.test_discovery import LIMITS
from tests.kernel.test_networks import address, attach, reaches
from tests.running_helper import RunningHelper
from tests.simulated_host import SimulatedHost
from tests.waiting import until

pytest_plugins = ("tests.kernel.helper_fixtures",)


def own_state(helper: RunningHelper, enter: str) -> str:
    """What a container's own engine gave it: eth0, its routes, its loopback."""
    look = "ip addr show eth0; ip addr show lo; ip route; ip -6 route | grep -v fe80"
    return helper.host.run(f"{enter} sh -c '{look}' | sed 's/ tentative//'", check=False)


# Anything that has a namespace -----------------------------------------------------------------------------------------------


@pytest.mark.req("B6", "X10")
def test_a_process_by_its_number(helper: RunningHelper) -> None:
    helper.call("network.create", name="a")
    helper.host.popen("exec unshare -n sleep 4711")
    until(lambda: bool(helper.host.run("pgrep -xf 'sleep 4711'", check=False)))
    pid = helper.host.run("pgrep -xf 'sleep 4711'").split()[-1]
    until(lambda: helper.host.run(f"readlink /proc/{pid}/ns/net") != helper.host.run("readlink /proc/1/ns/net"))
    endpoint = helper.call("network.connect", network="a", container=f"pid:{pid}")["endpoint"]
    second = attach(helper, "a", "c1")
    assert reaches(helper, "c1", address(endpoint))
    assert "1 received" in helper.host.run(f"nsenter -t {pid} -n ping -n -c 1 -W 2 {address(second)}")
    assert members(helper, "a")[f"pid:{pid}"]["Interface"] == "eth0"
    with pytest.raises(Conflict, match="already"):
        helper.call("network.connect", network="a", container=f"pid:{pid}")
    # A number that another process has by then is not the same container.
    helper.host.run(["kill", "-9", pid])
    until(lambda: f"pid:{pid}" not in members(helper, "a"))
    assert endpoint["host_link"] not in helper.host.run("ip -br link")
    with pytest.raises((Gone, NotFound)):
        helper.call("network.connect", network="a", container=f"pid:{pid}")


@pytest.mark.req("X10")
def test_paths_and_the_hosts_own_namespace_are_refused(helper: RunningHelper) -> None:
    helper.host.add_namespace("c1")
    helper.host.run("touch /run/netns/self && mount --bind /proc/1/ns/net /run/netns/self")
    before = helper.host.run("ip link; ip -n c1 link")
    for name in ("/run/netns/c1", "netns:/run/netns/c1", "netns:../netns/c1", "/proc/1/ns/net", "netns:./c1"):
        with pytest.raises(InvalidValue) as caught:
            helper.call("network.connect", network="bridge", container=name)
        assert "\n" not in caught.value.message
    for name in ("pid:1", "netns:self"):
        with pytest.raises(Conflict, match="host"):
            helper.call("network.connect", network="bridge", container=name)
    with pytest.raises(NotFound):
        helper.call("network.connect", network="bridge", container="netns:c1\n")
    assert helper.host.run("ip link; ip -n c1 link") == before


@pytest.mark.req("B6", "X10")
@pytest.mark.parametrize("metric", ["", "metric 100"])
def test_a_default_route_of_its_own_stays(helper: RunningHelper, metric: str) -> None:
    """Docker's and Podman's containers have one: ours would be in its way, or take its traffic."""
    helper.host.add_namespace("c1")
    helper.host.run("ip link add up1 type veth peer name eth0 netns c1; ip addr add 198.51.100.1/24 dev up1; ip link set up1 up;"
                    "ip -n c1 addr add 198.51.100.2/24 dev eth0; ip -n c1 link set eth0 up;"
                    f"ip -n c1 route add default via 198.51.100.1 {metric}")
    before = own_state(helper, "ip netns exec c1")
    helper.call("network.create", name="a", ipv6=True)
    helper.call("network.create", name="b")
    answer = helper.call("network.connect", network="a", container="netns:c1")
    assert any("IPv4" in text and "keeps it" in text for text in answer["warnings"])
    assert answer["endpoint"]["ifname"] == "eth1"
    routes = helper.host.run("ip route", netns="c1")
    assert routes.count("default") == 1 and "default via 198.51.100.1" in routes
    # It has none for IPv6, so that one is ours.
    assert "default via fd" in helper.host.run("ip -6 route", netns="c1")
    second = attach(helper, "a", "c2")
    assert reaches(helper, "c1", address(second)) and reaches(helper, "c1", address(second, 6))
    helper.call("network.connect", network="b", container="netns:c1")
    helper.restart()
    assert helper.host.run("ip route", netns="c1").count("default") == 1
    for network in ("a", "b"):
        helper.call("network.disconnect", network=network, container="netns:c1")
    assert own_state(helper, "ip netns exec c1") == before
    assert "repair failed" not in helper.log()


# Engines -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine_host(host: SimulatedHost) -> Iterator[Path]:
    """The host with room for engines of its own: what they write is its alone. The path of an image's files."""
    if not shutil.which("busybox"):
        pytest.skip("busybox is not installed")
    # The machine's control groups lie below the host's own /sys.
    host.run("umount /sys; mount -t tmpfs none /var/lib; mkdir /run/lock; cp -a /etc /run/etc; mount --bind /run/etc /etc; "
             "sysctl -qw net.ipv4.ip_forward=1")
    folder = Path(tempfile.mkdtemp(prefix="nd-"))
    (folder / "bin").mkdir()
    shutil.copy("/usr/bin/busybox", folder / "bin/busybox")
    for name in ("sh", "sleep", "ip"):
        (folder / "bin" / name).symlink_to("busybox")
    try:
        yield folder
    finally:
        host.close()
        for _ in range(50):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def rules_of_others(host: SimulatedHost) -> list[str]:
    """Every table but ours, without counts."""
    tables = [line.split()[1:] for line in host.run("nft list tables").splitlines() if "netdeck" not in line]
    text = "".join(host.run(["nft", "list", "table", *table]) for table in tables)
    return re.sub(r"packets \d+ bytes \d+", "", text).splitlines()


def attached_and_let_go(helper: RunningHelper, ref: str, pid: str) -> None:
    """An engine's container joins a network of ours beside its own, is reached there, and leaves it as it came."""
    enter = f"nsenter -t {pid} -n"
    before, links = own_state(helper, enter), helper.host.run("ip -br link | awk '{print $1}'")
    assert "eth0" in before and "default" in before
    helper.call("network.create", name="a")
    assert ref in {row["ref"] for row in helper.call("container.list")}
    answer = helper.call("network.connect", network="a", container=ref)
    assert answer["container"] == ref and answer["endpoint"]["ifname"] == "nd0"
    peer = attach(helper, "a", "c1")
    assert reaches(helper, "c1", address(answer["endpoint"]))
    assert "1 received" in helper.host.run(f"{enter} ping -n -c 1 -W 2 {address(peer)}")
    now = own_state(helper, enter)
    assert [line for line in now.splitlines() if "dev nd0" not in line] == before.splitlines()
    document = helper.call("container.inspect", names=[ref])[0]
    assert document["NetworkSettings"]["Networks"]["a"]["IPAddress"] == address(answer["endpoint"])
    helper.call("network.disconnect", network="a", container=ref)
    assert own_state(helper, enter) == before
    helper.call("network.disconnect", network="a", container="netns:c1")
    helper.call("network.remove", name="a")
    assert helper.host.run("ip -br link | awk '{print $1}'") == links


@pytest.mark.engines
@pytest.mark.req("X10", "B6", "X9")
def test_a_container_of_podman(host: SimulatedHost, engine_host: Path, tmp_path: Path) -> None:
    if not (shutil.which("podman") and shutil.which("runc")):
        pytest.skip("podman and runc are not installed")
    helper = RunningHelper(host, tmp_path)
    podman = ["podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"]
    try:
        helper.start()
        host.run([*podman, "run", "-d", "--name", "blue", *LIMITS, "--rootfs", str(engine_host), "sleep", "1000"], timeout=60)
        pid = host.run([*podman, "inspect", "-f", "{{.State.Pid}}", "blue"]).strip()
        attached_and_let_go(helper, "podman:blue", pid)
        helper.call("network.connect", network="bridge", container="podman:blue")
        host.run([*podman, "rm", "-f", "-t", "0", "blue"], timeout=60)
        until(lambda: members(helper, "bridge") == {})
        with pytest.raises((Gone, NotFound)):
            helper.call("network.connect", network="bridge", container="podman:blue")
    finally:
        helper.close()


@pytest.mark.engines
@pytest.mark.req("X10", "B6", "X9")
def test_a_container_of_docker(host: SimulatedHost, engine_host: Path, tmp_path: Path) -> None:
    if not (shutil.which("dockerd") and os.path.exists("/usr/bin/docker")):
        pytest.skip("docker.io is not installed")
    helper = RunningHelper(host, tmp_path)
    docker = ["/usr/bin/docker"]
    try:
        host.popen(["dockerd", "--storage-driver", "vfs"], stdout=(tmp_path / "dockerd.log").open("w"))
        until(lambda: "Server" in host.run([*docker, "version"], check=False))
        host.run(f"tar -C {engine_host} -c . | docker import - box", timeout=60)
        host.run([*docker, "run", "-d", "--name", "web", "box", "sleep", "1000"], timeout=60)
        # Docker was here first: its bridge has the first pool, ours the next free one.
        rules = rules_of_others(host)
        assert rules
        helper.start()
        assert helper.call("network.inspect", names=["bridge"])[0]["IPAM"]["Config"][0]["Subnet"] != "172.17.0.0/16"
        pid = host.run([*docker, "inspect", "-f", "{{.State.Pid}}", "web"]).strip()
        attached_and_let_go(helper, "docker:web", pid)
        assert rules_of_others(host) == rules
        helper.call("network.connect", network="bridge", container="docker:web")
        host.run([*docker, "rm", "-f", "web"], timeout=60)
        until(lambda: members(helper, "bridge") == {})
        beside_dockers_own_names(helper, docker)
    finally:
        helper.close()


def beside_dockers_own_names(helper: RunningHelper, docker: list[str]) -> None:
    """On a network of Docker's own, its name server has the address of ours: it stays, and that is told; ours serves the others."""
    host = helper.host
    host.run([*docker, "network", "create", "own"])
    for name in ("one", "two"):
        host.run([*docker, "run", "-d", "--name", name, "--network", "own", "box", "sleep", "1000"], timeout=60)

    def of_dockers() -> str:
        return host.run([*docker, "exec", "one", "/bin/busybox", "nslookup", "two"], check=False)

    theirs = host.run([*docker, "inspect", "-f", "{{.NetworkSettings.Networks.own.IPAddress}}", "two"]).strip()
    assert theirs in of_dockers()
    helper.call("network.create", name="n")
    answer = helper.call("network.connect", network="n", container="docker:one")
    assert any("another name server answers at 127.0.0.11 in docker:one" in text and "names of n don't resolve in there" in text
               for text in answer["warnings"])
    attach(helper, "n", "c1")
    for _ in range(2):
        assert theirs in of_dockers()
        asked = host.run("dig +short +time=5 +tries=2 @127.0.0.11 one", netns="c1").split()
        assert asked == [address(answer["endpoint"])]
        helper.restart()
    # Docker goes on counting its own interfaces.
    host.run([*docker, "network", "connect", "bridge", "one"])
    assert "eth1" in host.run([*docker, "exec", "one", "/bin/busybox", "ip", "link"])
    helper.call("network.disconnect", network="n", container="docker:one")
    assert theirs in of_dockers()
