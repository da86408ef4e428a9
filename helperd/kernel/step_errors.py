"""How a step of a plan fails: in words, and with the number of steps that were done."""

from __future__ import annotations

import errno

from drivers.commands import describe
from drivers.objects import AnyObject, Bridge, Dummy, Ipvlan, Macvlan, Vlan
from helperd.kernel.netlink_batch import Refusal
from helperd.plan import Step
from protocol.errors import Conflict, KernelRefused, NetdeckError, Unavailable

_DOING = {"create": "creating", "change": "changing", "delete": "deleting"}


class StepFailed(NetdeckError):
    """A step could not be carried out: exactly the first `index` steps are, and nothing of those behind.

    `cause` is the error for the user, with its own code; `cancelled` says that the caller was cancelled while it waited.
    """

    def __init__(self, index: int, step: Step, cause: NetdeckError, *, cancelled: bool = False) -> None:
        super().__init__(cause.message, **cause.details)
        self.index = index
        self.step = step
        self.cause = cause
        self.cancelled = cancelled


class RunFailed(Exception):
    """Of a run of steps that are carried out together, the first `done` were, and the next failed for `cause`."""

    def __init__(self, done: int, cause: NetdeckError) -> None:
        super().__init__(cause.message)
        self.done = done
        self.cause = cause


def doing(step: Step) -> str:
    """The step in words: ``creating address 10.0.0.1/24 on br0 on the host``."""
    return f"{_DOING[step.action]} {describe(step.object)}"


# Kinds of links that a kernel may lack: the module that has them, what of the request wants one, and that this kernel has none.
_MODULES: dict[type[AnyObject], tuple[str, str, str]] = {
    Dummy: ("dummy", "parent", "no parent was given, so a dummy link would carry the network, and this kernel has none: name one with "
            "-o parent=LINK"),
    Vlan: ("8021q", "parent", "this kernel has no 802.1Q VLANs"),
    Macvlan: ("macvlan", "driver", "this kernel has no macvlan"),
    Ipvlan: ("ipvlan", "driver", "this kernel has no ipvlan"),
}


def no_kind(module: str, doing: str, **details: object) -> Unavailable:
    """The error of what needs a kind of link that this kernel lacks, by the name of its module."""
    field, why = next((field, why) for name, field, why in _MODULES.values() if name == module)
    return Unavailable(f"{doing}: {why}. The module {module} was not found: it comes with the kernel's package (Debian: linux-image-amd64; "
                       "Ubuntu: linux-modules-extra of this kernel's version)", module=module, field=field, **details)


def no_vlan_filtering(doing: str, **details: object) -> Unavailable:
    """The error of what needs a bridge that keeps VLANs apart, where the kernel was built without."""
    return Unavailable(f"{doing}: bridges of this kernel can't keep VLANs apart (it was built without CONFIG_BRIDGE_VLAN_FILTERING, which "
                       "Debian's and Ubuntu's have). Leave -o vlan_filtering out, and make a network for each VLAN, with "
                       "-o uplink=LINK.VLAN", field="vlan_filtering", **details)


def refused(step: Step, refusal: Refusal | OSError) -> NetdeckError:
    """The error of a step that the kernel refused."""
    number = refusal.number if isinstance(refusal, Refusal) else refusal.errno or 0
    text = refusal.text if isinstance(refusal, Refusal) else refusal.strerror or str(refusal)
    name = errno.errorcode.get(number, str(number))
    item = step.object
    if step.action == "create" and number == errno.EOPNOTSUPP and type(item) in _MODULES:
        return no_kind(_MODULES[type(item)][0], doing(step), object=describe(item))
    if step.action == "create" and number == errno.EOPNOTSUPP and isinstance(item, Bridge) and item.vlan_filtering:
        return no_vlan_filtering(doing(step), object=describe(item))
    if step.action == "create" and isinstance(item, Macvlan | Ipvlan) and number in (errno.EBUSY, errno.EINVAL):
        text += (f". The link {item.parent} can't carry it: it is a port of a bridge or bond, is not Ethernet, has a smaller MTU, or "
                 "carries a link of another kind (ipvlan, macvlan, macvlan in mode passthru) that netdeck did not make")
    return KernelRefused(f"{doing(step)}: {text} ({name})", object=describe(step.object), errno=number, kernel=text)


def in_the_way(step: Step, what: str, name: str) -> Conflict:
    """The error of a step that meets something that isn't ours."""
    return Conflict(f"{doing(step)}: {what}", object=describe(step.object), with_=name)
