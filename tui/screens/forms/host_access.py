"""Host access of a macvlan or ipvlan network on one key: on where it is off, off where it is on, after the plan was shown."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from protocol.errors import NotFound
from protocol.model import Network
from protocol.names import display_text
from tui.screens.forms.confirm import Confirm
from tui.screens.forms.outcomes import tell_outcomes
from tui.screens.forms.plan_pages import plan_lines
from tui.screens.forms.undo import BY_U, Call, remember

if TYPE_CHECKING:
    from tui.workstation import Workstation


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Switch the selected network's, or that of the network named in `arguments`."""
    network = _network(app, arguments.strip())
    on = not network.host_addresses
    word = "on" if on else "off"
    answer = await app.client.call("network.host-access", {"name": network.name, "on": on, "dry_run": True})
    command = shlex.join(["netdeck", "network", "host-access", network.name, word])
    title = f"Host access to network {network.name}: {word}"
    if await app.push_screen_wait(Confirm(title, lambda width: plan_lines(answer["plan"], command, width, answer["warnings"]),
                                          f"Switch {word}")):
        await app.client.call("network.host-access", {"name": network.name, "on": on})
        back = "off" if on else "on"
        call: dict[str, Any] = {"name": network.id, "on": not on}
        flags = []
        for flag, address in (("ip6" if ":" in address else "ip", address) for address in network.host_addresses):
            call[flag] = address
            flags += [f"--{flag}", address]
        remember(app, f"host access {word}: {network.name}", f"host access {back} again", [
            Call(network.name, "network.host-access", call,
                 shlex.join(["netdeck", "network", "host-access", *flags, network.name, back]))])
        tell_outcomes(app, f"host access {word}", [(network.name, None)], BY_U)


def _network(app: Workstation, name: str) -> Network:
    if name:
        found = app.feed.network_named(name)
        if found is None:
            raise NotFound(f"no network is called {display_text(name)!r}", name=display_text(name))
        return found
    return next(item.model for item in app.chosen() if isinstance(item.model, Network))
