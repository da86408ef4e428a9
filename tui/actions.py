"""The changes that the workstation offers, in one table. Their forms are loaded when they are first used. No Textual here.

A handler is ``async def open_form(app: Workstation, arguments: str = "") -> None``. It runs in a worker of its own, so it may wait
for its dialog; a NetdeckError that leaves it is shown.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tui.workstation import Workstation

Handler = Callable[["Workstation", str], Awaitable[None]]

ROLES: Final = ("", "view", "operate", "admin")


@dataclass(frozen=True, slots=True)
class Action:
    """`key` are Textual key names, separated by commas; `words` at most ten letters, for the footer.

    `handler` is ``module:function``. `views` are where the key works, () everywhere. `command` is the word on the `:` line.
    `role` is the least that the operator must have. `hint`: place in the footer, 0 for none.
    """

    id: str
    key: str
    words: str
    help: str
    handler: str
    views: tuple[str, ...]
    command: str = ""
    role: str = "operate"
    needs_selection: bool = False
    hint: int = 0

    def allowed(self, role: str) -> bool:
        """Whether an operator of that role may."""
        return role in ROLES and ROLES.index(role) >= ROLES.index(self.role)

    def load(self) -> Handler:
        """The function that does it."""
        module, _, name = self.handler.partition(":")
        function: Handler = getattr(importlib.import_module(module), name)
        return function


ACTIONS: Final[tuple[Action, ...]] = (
    Action("network.create", "c", "create", "Create a network", "tui.screens.forms.create_network:open_form",
           ("networks", "vlans"), "create", hint=2),
    Action("network.update", "E", "change", "Change a network in place: options, labels, subnets",
           "tui.screens.forms.update_network:open_form", ("networks",), "change", needs_selection=True, hint=4),
    Action("addresses.show", "A", "addresses", "Addresses: whose each is, what leaked; give leaked ones free",
           "tui.screens.forms.addresses:open_form", (), "addresses", role="view"),
    Action("network.attach", "a", "attach", "Attach containers to a network", "tui.screens.forms.attach:open_form",
           ("networks", "containers"), "attach", needs_selection=True, hint=2),
    Action("network.detach", "x", "detach", "Detach containers from a network", "tui.screens.forms.detach:open_form",
           ("networks", "containers", "interfaces"), "detach", needs_selection=True, hint=3),
    Action("network.host-access", "H", "host", "Host access to a macvlan or ipvlan network, on or off",
           "tui.screens.forms.host_access:open_form", ("networks",), "host-access", needs_selection=True),
    Action("port.publish", "p", "publish", "Publish ports of a running container", "tui.screens.forms.ports:open_publish", ("containers",),
           "publish", needs_selection=True, hint=5),
    Action("port.withdraw", "w", "withdraw", "Withdraw published ports of a container", "tui.screens.forms.ports:open_withdraw",
           ("containers",), "withdraw", needs_selection=True, hint=8),
    Action("network.remove", "D,delete", "remove", "Remove networks", "tui.screens.forms.remove_network:open_form", ("networks",),
           needs_selection=True, hint=5),
    Action("container.remove", "D,delete", "remove", "Remove containers of netdeck's own",
           "tui.screens.forms.remove_container:open_form", ("containers",), needs_selection=True, hint=5),
    Action("doctor.open", "exclamation_mark", "doctor", "Doctor: what is wrong on this host, and the way to mend it",
           "tui.screens.doctor:open_form", (), "doctor", role="view", hint=11),
    Action("change.undo", "u", "undo", "Take the last change back, after showing how: creating, attaching, detaching, publishing, "
           "withdrawing, host access", "tui.screens.forms.undo:take_back", (), "undo"),
)


def works_in(action: Action, view: str) -> bool:
    """Whether its key is for this view."""
    return not action.views or view in action.views


def answering(action: Action, view: str) -> bool:
    """Whether this is the one that answers to its key in `view`: it works there, or is the first of those that work elsewhere only."""
    same = [other for other in ACTIONS if other.key == action.key]
    here = [other for other in same if works_in(other, view)]
    return action is (here or same)[0]


def elsewhere(action: Action) -> str:
    """Where the key of `action` works, and what it does there."""
    return "; ".join(f"{other.help}: works in {' and '.join(other.views)}" for other in ACTIONS if other.key == action.key)


def action_named(id: str) -> Action | None:
    """The action of that id."""
    return next((action for action in ACTIONS if action.id == id), None)
