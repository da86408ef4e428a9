"""pyroute2's classes of rtnetlink messages, imported without the rest of it.

Its package imports all that it has (NDB, 9p, ethtool, wireless: 140 modules) as soon as a part of it is imported, and that took half
of the time of a helper's start. So the parts are imported while an empty package stands in its place. Afterwards that is taken away:
whoever imports pyroute2 in this process gets the whole of it.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

ifaddrmsg: Any
ifinfmsg: Any
rtmsg: Any


def _is_part(name: str) -> bool:
    return name == "pyroute2" or name.startswith("pyroute2.")


def _import_parts() -> tuple[Any, Any, Any]:
    spec = importlib.util.find_spec("pyroute2")
    if spec is None:
        raise ModuleNotFoundError("pyroute2 is not installed", name="pyroute2")
    before = {name: module for name, module in sys.modules.items() if _is_part(name)}
    if not before:
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    try:
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg
    finally:
        if not before:
            for name in [name for name in sys.modules if _is_part(name)]:
                del sys.modules[name]
    return ifaddrmsg, ifinfmsg, rtmsg


ifaddrmsg, ifinfmsg, rtmsg = _import_parts()
