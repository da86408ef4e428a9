"""Making a bridge network: ours through the wire against docker's engine and against ``ip -batch`` with ``nft -f``."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

from drivers.commands import skeleton_commands
from tests.bench.docker_engine import docker_engine
from tests.bench.measures import Missing, command_ms, middle, spread
from tests.bench.ours import Run, our_helper, timed
from tests.bench.places import bench_host
from tests.bench.rows import Row
from tests.running_helper import RunningHelper

COUNT = 15
WARM = 2
AIM = 1 / 10
WHAT = "create a network"


class Maker(NamedTuple):
    """`create(n)` makes the network number n and returns the milliseconds it took."""

    name: str
    create: Callable[[int], float]


def netdeck(helper: RunningHelper) -> Maker:
    return Maker("netdeck", lambda number: timed(helper, "network.create", name=f"bench{number}"))


@contextlib.contextmanager
def docker() -> Iterator[Maker]:
    with docker_engine() as engine:
        yield Maker("docker network create",
                    lambda number: engine.timed("POST", "/networks/create", {"Name": f"bench{number}"}))


@contextlib.contextmanager
def ip_and_nft(helper: RunningHelper) -> Iterator[Maker]:
    """The floor: the commands of our own plan, all of ip in one run and all of nft in another."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        raise Missing("nft is not installed (Debian: nftables)")
    with bench_host() as host:
        host.run([nft, "-f", "-"], input=_nft_text(skeleton_commands()))

        def create(number: int) -> float:
            subnet = f"10.{number}.0.0/16"
            plan = helper.call("network.create", name=f"floor{number}", subnets=[{"subnet": subnet}], dry_run=True)["plan"]
            links = "\n".join(line.removeprefix("ip ") for line in plan["commands"] if line.startswith("ip ")) + "\n"
            return host.call(_both, nft, links, _nft_text(plan["commands"]))

        yield Maker("ip -batch and nft -f (the floor)", create)


def _nft_text(commands: tuple[str, ...] | list[str]) -> str:
    return "\n".join(shlex.split(line)[1] for line in commands if line.startswith("nft ")) + "\n"


def _both(nft: str, links: str, rules: str) -> float:
    return command_ms(["ip", "-batch", "-"], links) + command_ms([nft, "-f", "-"], rules)


def rows(run: Run) -> Iterator[Row]:
    figures: dict[str, list[float]] = {}
    missing: dict[str, str] = {"netavark create": "netavark 1.4 (Debian 12) has no create: its setup makes the bridge (see attach)"}
    with contextlib.ExitStack() as stack:
        helper = stack.enter_context(our_helper())
        makers = [netdeck(helper)]
        for name, opened in (("docker network create", docker()), ("ip -batch and nft -f (the floor)", ip_and_nft(helper))):
            try:
                makers.append(stack.enter_context(opened))
            except Missing as error:
                missing[name] = str(error)
        for number in range(1, WARM + COUNT + 1):
            for maker in makers:
                taken = maker.create(number)
                if number > WARM:
                    figures.setdefault(maker.name, []).append(taken)
    ours = middle(figures["netdeck"])
    own = spread(figures["netdeck"])
    for name, aim in (("docker network create", AIM), ("ip -batch and nft -f (the floor)", None), ("netavark create", None)):
        theirs = middle(figures[name]) if name in figures else None
        note = missing.get(name) or f"ours {own}; theirs {spread(figures[name])}"
        yield Row(WHAT, ours, "ms", name, theirs, aim, note)
