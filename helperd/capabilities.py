"""The capabilities that the core keeps, each with its reason (capabilities(7)).

The core's own sets hold the fewest. The bounding set keeps in addition what its children may hold, since a capability that is
dropped there can't come back in them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping

from protocol.errors import Unavailable

# linux/capability.h
CORE: Mapping[int, str] = {
    5: "CAP_KILL: signals to the processes of containers, which run as their callers",
    6: "CAP_SETGID: containers run with the groups of their callers, the front with its own",
    7: "CAP_SETUID: containers run as their callers, the front as its own user",
    8: "CAP_SETPCAP: the bounding set of containers and of the front is cut",
    10: "CAP_NET_BIND_SERVICE: published ports below 1024 are held by sockets",
    11: "CAP_NET_BROADCAST: one netlink socket listens to all namespaces",
    12: "CAP_NET_ADMIN: links, addresses, routes, sysctls, nftables",
    13: "CAP_NET_RAW: gratuitous ARP and unsolicited neighbour advertisements, sockets for the DHCP process",
    18: "CAP_SYS_CHROOT: root file systems of containers",
    19: "CAP_SYS_PTRACE: /proc/PID/ns of processes of other users",
    21: "CAP_SYS_ADMIN: entering and making namespaces, mounts",
}
CONTAINERS: Mapping[int, str] = {
    0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 3: "CAP_FOWNER", 4: "CAP_FSETID", 27: "CAP_MKNOD", 29: "CAP_AUDIT_WRITE", 31: "CAP_SETFCAP",
}
FRONT: Mapping[int, str] = {2: "CAP_DAC_READ_SEARCH: modules in a directory that only root may enter, until all is loaded"}
_CHILDREN = CONTAINERS.keys() | FRONT.keys()
_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def permitted() -> int:
    """The permitted set of this process as a bit mask."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))


def keep_needed() -> None:
    """Give up all but `CORE`, for good. Raises Unavailable, naming what is missing, when the process has not got them."""
    have = permitted()
    missing = [why.partition(":")[0] for number, why in CORE.items() if not have >> number & 1]
    if missing:
        raise Unavailable(f"the helper needs {', '.join(missing)} and has not got them: run it as root (sudo ./netdeck helper), "
                          "or try `./netdeck lab`, which needs no privilege", missing=missing)
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        if number not in CORE and number not in _CHILDREN and libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    mask = _mask(CORE) & have
    data = (_Data * 2)(_Data(mask & 0xFFFFFFFF, mask & 0xFFFFFFFF, 0), _Data(mask >> 32, mask >> 32, 0))
    if libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), data) != 0:
        raise Unavailable(f"giving up capabilities failed: {os.strerror(ctypes.get_errno())}")
