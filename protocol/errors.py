"""One tree of errors, shared by everything that speaks to a user.

An error says what was refused, which value, what was expected and what to do. It travels over the wire as
``{code, message, details}`` and is rebuilt on the other side with `from_wire`, so a script sees the class that the helper raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class NetdeckError(Exception):
    """Base of all errors that a user may see. `details` holds only plain values (str, int, list, dict)."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class BadRequest(NetdeckError):
    """A message or an argument does not have the form that the operation asks for."""

    code = "bad_request"


class InvalidValue(NetdeckError):
    """A value was understood and can't be accepted; details: `field`, `value`, often `expected`, or `needs`: the fields without which
    it has no meaning."""

    code = "invalid_value"


class NotFound(NetdeckError):
    """What was named does not exist; details: `name`, often `nearest`."""

    code = "not_found"


class Conflict(NetdeckError):
    """Something that exists stands in the way; details: `with_` names it."""

    code = "conflict"


class InUse(NetdeckError):
    """What should go is still used; details: `users`, the names."""

    code = "in_use"


class Forbidden(NetdeckError):
    """The caller's role or identity does not allow this."""

    code = "forbidden"


class Exhausted(NetdeckError):
    """A pool of addresses, subnets or another bounded thing is used up."""

    code = "exhausted"


class Gone(NetdeckError):
    """A namespace, process or container ended while it was worked on."""

    code = "gone"


class KernelRefused(NetdeckError):
    """The kernel refused a step; details: `object`, `errno`, `kernel` (its own words)."""

    code = "kernel"


class Unavailable(NetdeckError):
    """The helper or something it needs can't be reached or isn't installed."""

    code = "unavailable"


class Cancelled(NetdeckError):
    """The caller cancelled, or the deadline passed, before the change was committed."""

    code = "cancelled"


class TooMuch(NetdeckError):
    """A limit on size, depth, rate or number was exceeded; details: `limit`."""

    code = "too_much"


class Internal(NetdeckError):
    """A fault of netdeck itself. The change was undone; the helper's log has the trace."""

    code = "internal"


_CLASSES: Mapping[str, type[NetdeckError]] = {
    cls.code: cls
    for cls in (NetdeckError, BadRequest, InvalidValue, NotFound, Conflict, InUse, Forbidden, Exhausted, Gone,
                KernelRefused, Unavailable, Cancelled, TooMuch, Internal)
}


def to_wire(error: NetdeckError) -> dict[str, Any]:
    """The map that an `error` message carries."""
    return {"code": error.code, "message": error.message, "details": error.details}


def from_wire(data: Mapping[str, Any]) -> NetdeckError:
    """The error that `to_wire` was given; an unknown code becomes a plain `NetdeckError`."""
    cls = _CLASSES.get(str(data.get("code")), NetdeckError)
    details = data.get("details")
    error = cls(str(data.get("message", "unknown error")))
    if isinstance(details, Mapping):
        error.details = {str(key): value for key, value in details.items()}
    return error
