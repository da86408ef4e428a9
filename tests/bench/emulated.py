"""A benchmark in the tests' virtual machine, for what the running kernel lacks. All is emulated there, ours and the peers: of its figures
only the ratios say something, and Python, which jumps more, is slowed more than compiled programs are."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from tests.bench.measures import Missing
from tests.bench.rows import Row
from tests.vm.boot import CONSOLE, INSIDE, OUT, STATUS, WORDS

ANSWER = "rows.json"
SECONDS = 1800.0
LABEL = "emulated: ratios only, both sides are emulated"


def emulated() -> bool:
    """Whether this is the virtual machine."""
    return os.environ.get(INSIDE) == "1"


def rows_from_machine(name: str) -> Iterator[Row]:
    """The rows of the benchmark `name`, run in a virtual machine that is booted for it. Raises Missing with its last words."""
    words = [sys.executable, "-m", "tests.bench", name, "--json"]
    with tempfile.TemporaryDirectory(prefix="netdeck-bench-") as folder:
        inside = ["sh", "-c", f"{shlex.join(words)} > {OUT}/{ANSWER}"]
        # It must not outlive us.
        done = subprocess.run(["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.vm.boot", folder, *inside], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
        answer = Path(folder) / ANSWER
        if not answer.exists() or not (text := answer.read_text()):
            said = [path.read_text(errors="backslashreplace")[-2000:] for path in (Path(folder) / CONSOLE, Path(folder) / WORDS)
                    if path.exists()]
            raise Missing("the virtual machine gave no figures: " + "\n".join([done.stdout, *said]).strip())
        if (Path(folder) / STATUS).read_text().strip() != "0":
            print((Path(folder) / WORDS).read_text(errors="backslashreplace"), file=sys.stderr)
        known = {field.name for field in fields(Row)}
        for document in json.loads(text)["rows"]:
            row = Row(**{key: value for key, value in document.items() if key in known})
            yield replace(row, note=f"{LABEL}; {row.note}")
