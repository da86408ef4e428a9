"""Whether the running kernel can make links of a kind, before any is made."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from helperd.kernel.link_messages import new_kind
from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink_batch import Refusal, one
from helperd.kernel.step_errors import no_kind, no_vlan_filtering

ON_A_PARENT = frozenset({"macvlan", "ipvlan"})
MAY_BE_MISSING = ON_A_PARENT | {"vlan", "dummy"}

_MODULES = {"vlan": "8021q"}


def require_kind(kind: str, doing: str) -> None:
    """Raise Unavailable, in the words `doing`, where this kernel has no links of `kind`, one of `MAY_BE_MISSING`. Blocking: the kernel
    loads the module. Raises OSError.

    Such a link without a parent is refused (EINVAL) before anything is made, and so is one with a group's MAC address (EADDRNOTAVAIL);
    a kind that is not known has an error of its own (net/core/rtnetlink.c; the validate functions of drivers/net/macvlan.c, dummy.c
    and net/8021q/vlan_netlink.c; drivers/net/ipvlan/ipvlan_main.c).
    """
    with netlink_socket() as sock:
        try:
            one(sock, new_kind(kind))
        except Refusal as refusal:
            if refusal.number == errno.EOPNOTSUPP:
                raise no_kind(_MODULES.get(kind, kind), doing) from refusal


def require_vlan_filtering(bridges: Iterable[str], doing: str) -> None:
    """Raise Unavailable, in the words `doing`, where bridges of this kernel can't keep VLANs apart, as far as one of `bridges` that is
    there tells (net/bridge/br_sysfs_br.c)."""
    for name in bridges:
        settings = Path("/sys/class/net", name, "bridge")
        if settings.is_dir():
            if not (settings / "vlan_filtering").exists():
                raise no_vlan_filtering(doing)
            return
