"""The peers that are one command an attach: the CNI plugins, netavark, and ip as the floor of what any of them can do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from drivers.bridge import derived_mac
from drivers.objects import HOST, Route, Sysctl, Veth
from helperd.kernel import sysctl
from helperd.kernel.link_messages import new_address, new_route, new_veth, set_link
from helperd.kernel.link_state import index_of
from helperd.kernel.namespaces import identify, in_namespace, netlink_socket, open_namespace
from helperd.kernel.netlink_batch import exchange
from tests.bench.measures import Missing, command_ms
from tests.bench.places import add_namespaces, bench_host
from tests.simulated_host import SimulatedHost

NETAVARK = "/usr/lib/podman/netavark"
NETAVARK_ID = "53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e"


class Peer(NamedTuple):
    """`attach(n)` attaches the container number n (1 …) and returns the milliseconds it took; `inside(n)` shows what it has got."""

    name: str
    attach: Callable[[int], float]
    inside: Callable[[int], str]


def namespace(number: int) -> str:
    return f"c{number}"


def addresses(host: SimulatedHost, number: int) -> str:
    """Addresses and routes of a container, to see that the peer did the whole work."""
    return host.run("ip -o addr show scope global; ip route show default", netns=namespace(number))


def cni_folder() -> str:
    for folder in ("/usr/lib/cni", "/opt/cni/bin"):
        if os.access(f"{folder}/bridge", os.X_OK) and os.access(f"{folder}/host-local", os.X_OK):
            return folder
    raise Missing("the CNI plugins are not installed (Debian: containernetworking-plugins)")


@contextlib.contextmanager
def cni_bridge(count: int, masquerade: bool = True) -> Iterator[Peer]:
    """The CNI bridge plugin with host-local addresses, run as a container engine runs it. `masquerade` is what our bridge
    and docker's do as well; without it the plugin writes no firewall rule."""
    folder = cni_folder()
    with bench_host() as host:
        add_namespaces(host, [namespace(number) for number in range(1, count + 1)])
        network = json.dumps({
            "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": True,
            "ipMasq": masquerade, "mtu": 1500,
            "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses", "ranges": [[{"subnet": "10.99.0.0/16"}]],
                     "routes": [{"dst": "0.0.0.0/0"}]}})

        def attach(number: int) -> float:
            env = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "CNI_PATH": folder, "CNI_COMMAND": "ADD",
                   "CNI_CONTAINERID": f"container{number}", "CNI_NETNS": f"/run/netns/{namespace(number)}",
                   "CNI_IFNAME": "eth0"}
            return host.call(command_ms, [f"{folder}/bridge"], network, env)

        name = "CNI bridge ADD" if masquerade else "CNI bridge ADD, no masquerade"
        yield Peer(name, attach, lambda number: addresses(host, number))


@contextlib.contextmanager
def netavark(count: int) -> Iterator[Peer]:
    """netavark as podman runs it; podman gives it the addresses, so its figure is without address allocation."""
    program = NETAVARK if os.access(NETAVARK, os.X_OK) else shutil.which("netavark")
    if program is None:
        raise Missing("netavark is not installed (Debian: netavark)")
    with bench_host() as host:
        add_namespaces(host, [namespace(number) for number in range(1, count + 1)])

        def attach(number: int) -> float:
            request = json.dumps({
                "container_id": f"container{number}", "container_name": f"container{number}",
                "networks": {"bench": {"static_ips": [f"10.98.{number >> 8}.{number & 255 or 1}"], "interface_name": "eth0"}},
                "network_info": {"bench": {
                    "name": "bench", "id": NETAVARK_ID, "driver": "bridge", "network_interface": "podman9",
                    "subnets": [{"subnet": "10.98.0.0/16", "gateway": "10.98.255.254"}], "ipv6_enabled": False,
                    "internal": False, "dns_enabled": False, "ipam_options": {"driver": "host-local"}}}})
            words = [program, "--config", "/run/netavark", "setup", f"/run/netns/{namespace(number)}"]
            return host.call(command_ms, words, request)

        yield Peer("netavark setup", attach, lambda number: addresses(host, number))


@contextlib.contextmanager
def ip_batch(count: int) -> Iterator[Peer]:
    """The floor: the same kernel objects by two runs of ``ip -batch``, one outside and one in the container's namespace;
    no store, no address allocation, no check, no firewall."""
    program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise Missing("ip is not installed (Debian: iproute2)")
    with bench_host() as host:
        add_namespaces(host, [namespace(number) for number in range(1, count + 1)])
        host.run("ip link add name bench0 type bridge && ip address add 10.97.0.1/16 dev bench0 && ip link set bench0 up")

        def attach(number: int) -> float:
            name, address = namespace(number), f"10.97.{number >> 8}.{(number & 255) + 1}/16"
            outside = (f"link add name veth{number} mtu 1500 group 28260 up master bench0 type veth peer name eth0 "
                       f"address 02:00:00:00:{number >> 8:02x}:{number & 255:02x} mtu 1500 group 28260 netns {name}\n"
                       f"link set dev veth{number} alias netdeck:1:00000000:endpoint:{number:064x}\n")
            inside = (f"link set dev eth0 alias netdeck:1:00000000:endpoint:{number:064x}\n"
                      f"address add {address} dev eth0\nlink set dev eth0 up\n"
                      "route add default via 10.97.0.1 dev eth0 proto 171\n")

            return host.call(batches, program, name, outside, inside)

        yield Peer("ip -batch (the floor)", attach, lambda number: addresses(host, number))


@contextlib.contextmanager
def netlink_alone(count: int) -> Iterator[Peer]:
    """What the kernel itself takes for the same objects: the requests encoded before, on sockets that are open, and the two
    settings; no process is started, nothing is allocated, stored, planned, checked or told."""
    with bench_host() as host:
        add_namespaces(host, [namespace(number) for number in range(1, count + 1)])
        host.run("ip link add name bench0 type bridge && ip address add 10.96.0.1/16 dev bench0 && ip link set bench0 up")

        def attach(number: int) -> float:
            return host.call(attach_by_netlink, namespace(number), "bench0", f"10.96.{number >> 8}.{(number & 255) + 1}/16")

        yield Peer("netlink alone (the kernel)", attach, lambda number: addresses(host, number))


def attach_by_netlink(name: str, bridge: str, address: str) -> float:
    """Attaches the named namespace to `bridge`, run inside the host; milliseconds in the kernel and on the way to it."""
    taken = 0.0

    def send(sock: socket.socket, *requests: bytes) -> None:
        nonlocal taken
        start = time.perf_counter()
        refused = [item for item in exchange(sock, requests) if item is not None]
        taken += time.perf_counter() - start
        if refused:
            raise refused[0]

    def ipv6_off(link: str) -> None:
        nonlocal taken
        start = time.perf_counter()
        sysctl.write(Sysctl(HOST, "net.ipv6.conf.*.disable_ipv6", "1", link))
        taken += time.perf_counter() - start

    place = identify(f"/run/netns/{name}")
    near, alias = f"veth{name}", f"netdeck:1:00000000:endpoint:{name:0>64}"
    gateway = address.split(".")[0] + "." + address.split(".")[1] + ".0.1"
    target = open_namespace(place)
    try:
        with netlink_socket() as outside, netlink_socket(target) as inside:
            pair = Veth(HOST, near, alias, "", "eth0", peer_mac=derived_mac(name), master=bridge)
            send(outside, new_veth(pair, index_of(outside, bridge), target))
            send(outside, set_link(index_of(outside, near), alias=alias))
            ipv6_off(near)
            in_namespace(target, lambda: ipv6_off("eth0"))
            index = index_of(inside, "eth0")
            send(inside, set_link(index, alias=alias), new_address(index, address), set_link(index, up=True),
                 new_route(Route("", "0.0.0.0/0", "eth0", gateway), index))
    finally:
        os.close(target)
    return taken * 1000


def batches(program: str, name: str, outside: str, inside: str) -> float:
    return command_ms([program, "-batch", "-"], outside) + command_ms([program, "-n", name, "-batch", "-"], inside)


def complete(peer: Peer, numbers: Sequence[int]) -> None:
    """Raises RuntimeError where a container has not got its address and default route from the peer."""
    for number in numbers:
        shown = peer.inside(number)
        if "inet " not in shown or "default via" not in shown:
            raise RuntimeError(f"{peer.name} left container {number} without its network:\n{shown}")
