"""Reads the filter tables of iptables-legacy, where there are any. To read one that is not there would make it.

The kernel tells the names of the tables of a network namespace; their rules only `iptables-legacy-save` reads.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from helperd.forward_chains import ForeignBase
from helperd.iptables_save import read

_SECONDS = 5.0
_CHAINS = ("FORWARD", "INPUT", "OUTPUT")
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_TOOLS = {"ip": ("ip_tables_names", "iptables-legacy-save"), "ip6": ("ip6_tables_names", "ip6tables-legacy-save")}


def families() -> tuple[str, ...]:
    """Those of ip and ip6 that have a legacy filter table in the namespace of the calling thread."""
    return tuple(family for family, (names, _) in _TOOLS.items() if "filter" in _names(names))


def _names(file: str) -> list[str]:
    try:
        return Path("/proc/thread-self/net", file).read_text(encoding="ascii").split()
    except OSError:  # the module is not loaded, or it may not be read here
        return []


def chains() -> tuple[list[ForeignBase], tuple[str, ...]]:
    """The base chains of the filter tables, and the families whose table is there and can't be read."""
    found: list[ForeignBase] = []
    unread: list[str] = []
    for family in families():
        bases = _read(family)
        found += bases
        if not bases:
            unread.append(family)
    return found, tuple(unread)


def _read(family: str) -> list[ForeignBase]:
    tool = shutil.which(_TOOLS[family][1], path=_PATH)
    if tool is None:
        return []
    try:
        done = subprocess.run([tool, "-t", "filter"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True,
                              env={"PATH": _PATH}, text=True, errors="backslashreplace")
    except (OSError, subprocess.SubprocessError):
        return []
    return [base for name in _CHAINS if (base := read(done.stdout, family, name)) is not None]
