"""Whether the running kernel can make links of a kind, before any is made."""

from __future__ import annotations

import errno

from helperd.kernel.link_messages import new_kind
from helperd.kernel.namespaces import netlink_socket
from helperd.kernel.netlink_batch import Refusal, one
from helperd.kernel.step_errors import no_kind

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
