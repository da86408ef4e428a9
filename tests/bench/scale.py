"""Whether an attach stays quick: number 1,000 on one bridge against number 10."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.bench.measures import middle, spread
from tests.bench.ours import Run
from tests.bench.peers import attach_by_netlink, namespace
from tests.bench.places import add_namespaces, bench_host
from tests.bench.rows import Row

AIM = 1.3
MEASURED = 12  # attaches of the kernel's own row at each end
QUIET = 0.1  # seconds before each of those


def rows(run: Run) -> Iterator[Row]:
    crowd = run.crowd
    what = f"attach number {crowd.total:,} on one bridge"
    yield _row(what, crowd.alone_late, crowd.alone_early, AIM)
    early, late = _kernel_alone(crowd.total)
    yield Row("the same, netlink alone (the kernel)", middle(late), "ms", "number 10", middle(early), None,
              f"late {spread(late)}; early {spread(early)}; in each attach of ours there is one of these")
    yield _row(f"{what}, in a row", crowd.in_a_row_late, crowd.in_a_row_early, None,
               "; those before are still announced to all ports, three times each")


def _kernel_alone(total: int) -> tuple[list[float], list[float]]:
    """What the kernel takes by itself for the attaches around number 10 and for the last ones, on a bridge of its own."""
    with bench_host() as host:
        add_namespaces(host, [namespace(number) for number in range(1, total + 1)])
        host.run("ip link add name bench0 type bridge && ip address add 10.95.0.1/16 dev bench0 && ip link set bench0 up")

        def attach(first: int, last: int, pause: float = 0.0) -> list[float]:
            taken: list[float] = []
            for number in range(first, last + 1):
                time.sleep(pause)
                taken.append(attach_by_netlink(namespace(number), "bench0", f"10.95.{number >> 8}.{(number & 255) + 1}/16"))
            return taken

        def all_of_them() -> tuple[list[float], list[float]]:
            attach(1, 3)
            early = attach(4, 3 + MEASURED, QUIET)
            attach(4 + MEASURED, total - MEASURED)
            return early, attach(total - MEASURED + 1, total, QUIET)

        return host.call(all_of_them)


def _row(what: str, late: list[float], early: list[float], aim: float | None, note: str = "") -> Row:
    return Row(what, middle(late), "ms", "ours, number 10", middle(early), aim, f"late {spread(late)}; early {spread(early)}{note}")
