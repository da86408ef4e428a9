"""Attaching a container to a bridge network: ours through the wire, and each peer its own way, taken in turns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from tests.bench.docker_engine import docker_engine
from tests.bench.measures import Missing, middle, spread
from tests.bench.ours import Run, known, our_helper, timed
from tests.bench.peers import Peer, addresses, cni_bridge, complete, ip_batch, namespace, netavark, netlink_alone
from tests.bench.places import add_namespaces
from tests.bench.rows import Row

COUNT = 20
WARM = 3  # attached first and not counted: the first attach of most peers makes the bridge
PAUSE = 0.1  # seconds between two attaches: what one of them goes on doing behind its answer is not the next one's
AIM = 1 / 8
WHAT = "attach to a bridge"


@contextlib.contextmanager
def netdeck(count: int) -> Iterator[Peer]:
    with our_helper() as helper:
        add_namespaces(helper.host, [namespace(number) for number in range(1, count + 1)])
        known(helper, count)
        helper.call("network.create", name="bench")

        def attach(number: int) -> float:
            return timed(helper, "network.connect", network="bench", container=f"netns:{namespace(number)}")

        yield Peer("netdeck", attach, lambda number: addresses(helper.host, number))


@contextlib.contextmanager
def docker(count: int) -> Iterator[Peer]:
    """``docker network connect``, by the API that the command speaks: starting the command is not in the figure."""
    with docker_engine() as engine:
        engine.call("POST", "/networks/create", {"Name": "bench"})
        for number in range(1, count + 1):
            engine.run_container(namespace(number))

        def attach(number: int) -> float:
            return engine.timed("POST", "/networks/bench/connect", {"Container": namespace(number)})

        def inside(number: int) -> str:
            networks = engine.call("GET", f"/containers/{namespace(number)}/json")["NetworkSettings"]["Networks"]
            return f"inet {networks['bench']['IPAddress']} default via {networks['bench']['Gateway']}"

        yield Peer("docker network connect", attach, inside)


PEERS: dict[str, tuple[Callable[[int], contextlib.AbstractContextManager[Peer]], float | None]] = {
    "netdeck": (netdeck, None),
    "CNI bridge ADD": (cni_bridge, AIM),
    "CNI bridge ADD, no masquerade": (lambda count: cni_bridge(count, masquerade=False), AIM),
    "netavark setup": (netavark, AIM),
    "docker network connect": (docker, AIM),
    "ip -batch (the floor)": (ip_batch, None),
    "netlink alone (the kernel)": (netlink_alone, None),
}


def rows(run: Run) -> Iterator[Row]:
    figures: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        peers: list[Peer] = []
        for name, (opened, _) in PEERS.items():
            try:
                peers.append(stack.enter_context(opened(WARM + COUNT)))
            except Missing as error:
                missing[name] = str(error)
        for number in range(1, WARM + COUNT + 1):
            for peer in peers:
                time.sleep(PAUSE)
                taken = peer.attach(number)
                if number > WARM:
                    figures.setdefault(peer.name, []).append(taken)
        for peer in peers:
            complete(peer, (1, WARM + COUNT))
    ours = middle(figures["netdeck"])
    for name, (_, aim) in PEERS.items():
        if name == "netdeck":
            continue
        theirs = middle(figures[name]) if name in figures else None
        note = missing.get(name) or spread(figures[name])
        yield Row(WHAT, ours, "ms", name, theirs, aim, f"ours {spread(figures['netdeck'])}; theirs {note}")
