"""pyroute2's classes of the rtnetlink messages that netdeck reads and writes, without the rest of pyroute2.

Its package imports all protocols that it knows as soon as one module of it is asked for: 0.1 s at each start of a helper, and 20 MB for as
long as that runs. The modules here need none of them, so they are imported below a package whose own file has not run; whoever asks for
pyroute2 afterwards gets the whole.
"""

from __future__ import annotations

import importlib.util
import sys

_found = None if "pyroute2" in sys.modules else importlib.util.find_spec("pyroute2")
if _found is not None:
    sys.modules["pyroute2"] = importlib.util.module_from_spec(_found)
try:
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg
finally:
    if _found is not None:
        del sys.modules["pyroute2"]

__all__ = ["ifaddrmsg", "ifinfmsg", "rtmsg"]
