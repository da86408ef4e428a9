"""``python -m tests.bench [NAME…] [--json]``: the benchmarks, ours and the peers in the same run. Needs root."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

from tests.bench.ours import Run
from tests.bench.rows import Row, table

SUBJECTS = {
    "attach": "attaching a container, against CNI, netavark, docker and ip",
    "macvlan": "attaching to a macvlan network, against CNI and ip, and traffic against a bare macvlan",
    "ipvlan": "the same of ipvlan; in the tests' virtual machine where the kernel lacks it",
    "create": "making a network, against docker and ip with nft",
    "names": "questions for names a second and their time, against aardvark-dns and dnsmasq",
    "events": "a link's event to a client, against ip monitor",
    "counters": "CPU of the helper for counters of 1,000 and 10,000 interfaces",
    "ports": "publishing the 1st and the 1,000th port, traffic through one, and between two containers",
    "scale": "attach number 1,000 against number 10 on one bridge",
    "memory": "memory of core, front and workstation with 1,000 endpoints",
    "paint": "start of the workstation to its first rows",
}


def main(words: Sequence[str]) -> int:
    names = ", ".join(f"{name} ({text})" for name, text in SUBJECTS.items())
    parser = argparse.ArgumentParser(prog="./test bench", description="The benchmarks: ratios, never a pass or a failure.",
                                     epilog=f"Names: {names}.")
    parser.add_argument("name", nargs="*", help="which (all where none is named)")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    parsed = parser.parse_args(words)
    if unknown := set(parsed.name) - set(SUBJECTS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    if os.geteuid() != 0:
        parser.error("the benchmarks need root (network namespaces of their own)")
    found: list[Row] = []
    start = time.monotonic()
    failed = False
    run = Run()
    for name in [name for name in SUBJECTS if not parsed.name or name in parsed.name]:
        print(f"{name}: {SUBJECTS[name]} …", end=" ", file=sys.stderr, flush=True)
        begun = time.monotonic()
        rows: Callable[[Run], Iterator[Row]] = importlib.import_module(f"tests.bench.{name}").rows
        try:
            found.extend(rows(run))
        except Exception as error:
            failed = True
            traceback.print_exc()
            last = (str(error) or type(error).__name__).splitlines()[0]
            found.append(Row(name, None, "", "", None, None, f"not measured: {last}"))
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    run.close()
    if parsed.json:
        print(json.dumps({"seconds": round(time.monotonic() - start, 1), "processors": os.cpu_count(), "load": os.getloadavg(),
                          "kernel": os.uname().release, "rows": [row.document() for row in found]}, indent=2, ensure_ascii=False))
    else:
        print(table(found))
        print(f"\nmedians; ratio = ours / theirs; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
              f"Linux {os.uname().release}, {time.monotonic() - start:.0f} s in all")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
