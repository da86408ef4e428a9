"""Changing a network that exists: which options may get another value, and what its driver says to the whole. Pure.

A driver says what can be changed with `OptionInfo.changeable` and `DriverInfo.changeable`; the default is nothing. The steps follow
from its objects, as for every change. One that has to look at the new settings as a whole has `check_update` too; a driver without
it needs nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from drivers.driver import Driver, HostView, parse_options
from protocol.errors import InvalidValue
from protocol.model import DriverInfo, Network


@runtime_checkable
class ChecksUpdates(Protocol):
    """What a driver may have beside `drivers.driver.Driver`."""

    def check_update(self, before: Network, after: Network, host: HostView, others: Sequence[Network]) -> Network:
        """`after` completed, or an error that says what can't be. It has the `link` and `made_link` of `before`."""
        ...


def changed_options(info: DriverInfo, current: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The options of a network when `given` are changed; "" means the default. Raises InvalidValue for what `parse_options`
    refuses, and for an option that can't be changed."""
    by_name = {name: option for option in info.options for name in (option.name, *option.long_names)}
    parsed = parse_options(info, {name: value for name, value in given.items() if value or name not in by_name})
    defaults = parse_options(info, {})
    options = dict(current)
    for name, text in given.items():
        option = by_name[name]
        value = parsed.get(option.name, "") if text else defaults.get(option.name, "")
        if value == current.get(option.name, ""):
            continue
        if not option.changeable:
            why = option.fixed or f"driver {info.name} takes no other value while the network exists"
            raise InvalidValue(f"option {option.name} can't be changed: {why}. Create another network with {option.name}={value}",
                               field=option.name, value=value, expected=current.get(option.name, ""))
        if value:
            options[option.name] = value
        else:
            options.pop(option.name, None)
    return options


def require(info: DriverInfo, what: str, words: str, value: str) -> None:
    """Raise InvalidValue unless the driver says that `what` can be changed; `words` is what people call it."""
    if what not in info.changeable:
        raise InvalidValue(f"{words} of a network of driver {info.name} can't be changed while it exists: create another network",
                           field=what, value=value)


def checked_update(driver: Driver, before: Network, after: Network, host: HostView, others: Sequence[Network]) -> Network:
    """`after` as the driver completes it. Raises what it refuses."""
    return driver.check_update(before, after, host, others) if isinstance(driver, ChecksUpdates) else after
