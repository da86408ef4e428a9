"""How a step of a plan fails: in words, and with the number of steps that were done."""

from __future__ import annotations

import errno

from drivers.commands import describe
from helperd.kernel.netlink_batch import Refusal
from helperd.plan import Step
from protocol.errors import Conflict, KernelRefused, NetdeckError

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


def refused(step: Step, refusal: Refusal | OSError) -> KernelRefused:
    """The error of a step that the kernel refused."""
    number = refusal.number if isinstance(refusal, Refusal) else refusal.errno or 0
    text = refusal.text if isinstance(refusal, Refusal) else refusal.strerror or str(refusal)
    name = errno.errorcode.get(number, str(number))
    return KernelRefused(f"{doing(step)}: {text} ({name})", object=describe(step.object), errno=number, kernel=text)


def in_the_way(step: Step, what: str, name: str) -> Conflict:
    """The error of a step that meets something that isn't ours."""
    return Conflict(f"{doing(step)}: {what}", object=describe(step.object), with_=name)
