"""A simulated host with two containers, a writer and an observer for it, and the objects of a network with endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from drivers.objects import (
    HOST,
    Address,
    AnyObject,
    Bridge,
    Chain,
    Jump,
    Match,
    Route,
    Rule,
    Sysctl,
    Up,
    Veth,
    mark,
)
from helperd.kernel.firewall import Firewall
from helperd.kernel.namespaces import NamespaceRef, identify, identify_process
from helperd.kernel.observer import Observer
from helperd.kernel.writer import StepFailed, Writer
from helperd.plan import Step, plan
from tests.simulated_host import SimulatedHost

INSTANCE = "0123abcd"
ANSWERS = Match("ct state", ("established", "related"))


class Written:
    """The simulated host and what writes to it."""

    def __init__(self, host: SimulatedHost, containers: Sequence[str]) -> None:
        self.host = host
        self.places: dict[str, NamespaceRef] = {HOST: identify_process(host.pid)}
        for name in containers:
            host.run(f"ip netns add {name}")
            self.places[name] = identify(host.path(name))
        self.firewall = Firewall(self.places[HOST])
        self.writer = Writer(self.firewall)
        self.observer = Observer(INSTANCE, self.firewall)

    async def apply(self, steps: Iterable[Step]) -> None:
        await self.writer.apply(tuple(steps), self.places)

    async def fails(self, steps: Iterable[Step]) -> StepFailed:
        with pytest.raises(StepFailed) as caught:
            await self.apply(steps)
        return caught.value

    async def observe(self, wanted: Iterable[AnyObject] = ()) -> frozenset[AnyObject]:
        return await self.observer.observe(self.places, wanted)

    async def close(self) -> None:
        await self.writer.close()
        await self.observer.close()
        await self.firewall.close()


@asynccontextmanager
async def written(host: SimulatedHost, *containers: str) -> AsyncIterator[Written]:
    made = Written(host, containers)
    try:
        yield made
    finally:
        await made.close()


def network(name: str = "br0", number: int = 1, *, mtu: int = 1500) -> list[AnyObject]:
    """A dual-stack bridge network."""
    return [
        Bridge(HOST, name, mark(INSTANCE, "network", f"n{number}"), mtu=mtu),
        Sysctl(HOST, "net.ipv6.conf.*.accept_ra", "0", name),
        Address(HOST, name, f"10.0.{number}.1/24"),
        Address(HOST, name, f"fd00:0:0:{number}::1/64"),
        Up(HOST, name),
        Chain(HOST, f"to-{name}", (Rule((ANSWERS,), "accept", "answers"), Rule((), "drop", "nothing else comes in"))),
        Chain(HOST, f"from-{name}", (Rule((), "return", "from its containers"),)),
        Jump(HOST, "forward-to", name, f"to-{name}"),
        Jump(HOST, "forward-from", name, f"from-{name}"),
    ]


def endpoint(
    container: str, number: int, *, master: str = "br0", subnet: int = 1, isolated: bool = False
) -> list[AnyObject]:
    """An endpoint with everything that one can have."""
    link = f"eth{number}"
    near = f"v{container}{number}"
    return [
        Veth(
            HOST,
            near,
            mark(INSTANCE, "endpoint", f"{container}{number}"),
            container,
            link,
            1500,
            f"02:00:00:00:{subnet:02x}:{number:02x}",
            master,
            isolated,
        ),
        Sysctl(HOST, "net.ipv6.conf.*.disable_ipv6", "1", near),
        Sysctl(container, "net.ipv6.conf.*.accept_ra", "0", link),
        Address(container, link, f"10.0.{subnet}.{number + 10}/24"),
        Address(container, link, f"fd00:0:0:{subnet}::{number + 16:x}/64"),
        Up(container, link),
        Route(container, "0.0.0.0/0", link, f"10.0.{subnet}.1", number),
        Route(container, "::/0", link, f"fd00:0:0:{subnet}::1", number),
    ]


def creates(objects: Iterable[AnyObject]) -> tuple[Step, ...]:
    return plan(objects, ())


def deletes(objects: Iterable[AnyObject]) -> tuple[Step, ...]:
    """Every object by itself, last made first: more than a plan would, which lets things go with their link."""
    return tuple(Step("delete", item) for item in sorted(objects, key=lambda item: (item.rank, item.key), reverse=True))
