"""Taking back what can be taken back: the calls that undo the last change of a workstation that can be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from protocol.errors import NetdeckError
from protocol.model import Endpoint
from tui.screens.forms.outcomes import tell_outcomes

if TYPE_CHECKING:
    from tui.workstation import Workstation


@dataclass(frozen=True, slots=True)
class Undo:
    """`calls` are operations with their arguments, each with the words for it."""

    words: str
    calls: tuple[tuple[str, str, Mapping[str, Any]], ...]


_LAST: WeakKeyDictionary[Workstation, Undo] = WeakKeyDictionary()


def remember(app: Workstation, words: str, calls: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Keep how the change that was just made is taken back. `words` say what that will be."""
    _LAST[app] = Undo(words, tuple(calls))


def connect_again(endpoint: Endpoint, network: str, container: str) -> dict[str, Any]:
    """The arguments that make an endpoint as it was: addresses, MAC address, aliases and VLANs. Leased ones are the server's to give."""
    bare = [] if endpoint.lease is not None else [prefix.partition("/")[0] for prefix in endpoint.addresses]
    return {
        "network": network, "container": container, "aliases": endpoint.aliases, "mac_address": endpoint.mac or None,
        "ip": next((address for address in bare if ":" not in address), None),
        "ip6": next((address for address in bare if ":" in address), None), "vlans": endpoint.vlans, "untagged": endpoint.untagged or None,
    }


async def take_back(app: Workstation, arguments: str = "") -> None:
    """Undo the last change that can be undone, once."""
    undo = _LAST.pop(app, None)
    if undo is None:
        app.show_error("there is nothing to take back")
        return
    app.keys_go_on()
    outcomes: list[tuple[str, NetdeckError | None]] = []
    for name, operation, args in undo.calls:
        try:
            await app.client.call(operation, args)
            outcomes.append((name, None))
        except NetdeckError as error:
            outcomes.append((name, error))
    tell_outcomes(app, undo.words, outcomes)
