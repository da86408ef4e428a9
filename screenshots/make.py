"""Makes the screenshots beside it: the real program in a real terminal, on the demonstration of the lab.

    .venv/bin/python screenshots/make.py [NAME…]                        starts a lab of its own
    ./netdeck lab -- .venv/bin/python screenshots/make.py [NAME…]       in a lab that is there

Needs `rsvg-convert` (Debian: librsvg2-bin) and DejaVu Sans Mono (Debian: fonts-dejavu-core).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
sys.path[:0] = [str(ROOT), str(FOLDER)]

from screenshots.terminal_svg import svg  # noqa: E402
from tests.tui.pty_session import PtySession  # noqa: E402

COLUMNS, LINES = 120, 34
HISTORY = 62.0  # seconds, until the sparklines are full; $NETDECK_SCREENSHOT_WAIT names another
ZOOM = 1.6
ESCAPE, ENTER, TAB = b"\x1b", b"\r", b"\t"


@dataclass(frozen=True)
class Shot:
    """`keys` lead to it from the views, `back` leaves it; `shows` is waited for."""

    name: str
    keys: tuple[bytes, ...]
    shows: str
    back: tuple[bytes, ...] = ()


SHOTS = (
    Shot("networks", (b"1",), "10.20.0.0/24"),
    Shot("containers", (b"2",), "visitors"),
    Shot("interfaces", (b"3",), "veth"),
    Shot("events", (b"4",), "connected"),
    Shot("vlans", (b"5", ENTER, b"]"), "macvlan bridge", (ESCAPE,)),
    Shot("publish", (b"2", b":", b"go orders", ENTER, b"p", b"8443:443 127.0.0.1:5353:53/udp"), "In the kernel", (ESCAPE,)),
    Shot("ports", (b"2", b":", b"go shop", ENTER, ENTER, b"]", b"]"), "reachable", (b"[", b"[", ESCAPE)),
    Shot("neighbours", (b"3", b":", b"go netdeck0", ENTER, ENTER, b"]", b"]"), "Forwarding", (b"[", b"[", ESCAPE)),
    Shot("create", (b"1", b"c", b"blog", *(TAB,) * 5, b"team=web", TAB, b"10.40.0.0/24", *(TAB,) * 3, b"nas=10.40.0.9", TAB,
                   b"fd00:40::/64"), "In the kernel", (ESCAPE,)),
    Shot("attach", (b"1", b":", b"go db", ENTER, b"a", b"runtime=netdeck"), "In the kernel", (ESCAPE,)),
    Shot("details", (b":", b"go orders", ENTER, b"d"), "Container orders", (b"d",)),
    Shot("interfaces-light", (b"3", b"t"), "veth", (b"t", b"t")),
)


def missing() -> list[str]:
    """Debian packages without which no PNG can be made."""
    lacking = [] if shutil.which("rsvg-convert") else ["librsvg2-bin"]
    listed = subprocess.run(["fc-list", ":family=DejaVu Sans Mono"], capture_output=True, check=False) if shutil.which("fc-list") else None
    if listed is None or not listed.stdout:
        lacking += ["fonts-dejavu-core", "fontconfig"]
    return lacking


def start_demonstration() -> None:
    """Have the demonstration run; in a lab that was started with it there is nothing to do."""
    listed = subprocess.run([sys.executable, "-P", "-m", "tui", "network", "ls", "-q", "--filter", "name=web"], cwd=ROOT,
                            capture_output=True, text=True, check=True, env=environment())
    if not listed.stdout.strip():
        subprocess.run([sys.executable, "-P", "-m", "helperd.lab_demo"], cwd=ROOT, check=True, env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "NETDECK_THEME": "netdeck-dark", "NETDECK_LINK": "lan"}


def take(session: PtySession, shot: Shot) -> None:
    """Go there, write both files, come back."""
    for key in shot.keys:
        session.send(key)
        session.pump(2.0, quiet=0.3)
    if not session.pump(10.0, lambda: session.shows(shot.shows)):
        raise SystemExit(f"{shot.name}: {shot.shows!r} is not on the screen:\n" + "\n".join(session.screen.display))
    session.pump(2.5)
    picture = FOLDER / f"{shot.name}.svg"
    picture.write_text(svg(session.screen))
    subprocess.run(["rsvg-convert", "--zoom", str(ZOOM), "--output", str(picture.with_suffix(".png")), str(picture)], check=True)
    print(f"{picture.name}, {picture.stem}.png", flush=True)
    for key in shot.back:
        session.send(key)
        session.pump(1.0, quiet=0.3)


def main(names: Sequence[str]) -> int:
    """Make the screenshots of these names, all without any."""
    if "NETDECK_LAB" not in os.environ:
        lab = [sys.executable, "-P", "-m", "helperd.lab", "--demo", "--", sys.executable, __file__, *names]
        os.execve(sys.executable, lab, environment())
    lacking = missing()
    if lacking:
        print(f"screenshots: missing here, install first: apt-get install {' '.join(lacking)}", file=sys.stderr)
        return 1
    wanted = [shot for shot in SHOTS if not names or shot.name in names]
    if not wanted:
        print(f"screenshots: no such name; there are {', '.join(shot.name for shot in SHOTS)}", file=sys.stderr)
        return 2
    start_demonstration()
    with PtySession([sys.executable, "-P", "-m", "tui"], columns=COLUMNS, lines=LINES, env=environment()) as session:
        if not session.pump(20.0, lambda: session.shows("10.20.0.0/24")):
            raise SystemExit("the workstation shows no network:\n" + "\n".join(session.screen.display))
        session.pump(float(os.environ.get("NETDECK_SCREENSHOT_WAIT", HISTORY)))
        for shot in wanted:
            take(session, shot)
        session.send(b"q")
        session.wait_exit()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
