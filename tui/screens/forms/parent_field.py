"""The field for a network's parent or uplink: completed from the links that can serve; the others stand below with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Static

from protocol.model import OptionInfo, ParentLink
from tui.parent_words import about, reason, usable
from tui.screens.forms.fields import Field, TextField
from tui.text import plain

_SHOWN = 8  # links of a kind that are told of
_NONE = {  # by whether it is a parent
    True: "no link of this host can serve. Free one as said below, or connect or make another: it is listed here at once. With none, the "
          "network leads nowhere",
    False: "no link of this host can serve. Free one as said below, or connect or make another: it is listed here at once. Driver macvlan "
           "leads to the site by a link that the host uses too",
}


class ParentInput(TextField):
    """Page down and page up go through the links that can serve; right takes what is proposed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "offer(1)", "Next link", show=False),
        Binding("pageup", "offer(-1)", "Previous link", show=False),
    ]

    def __init__(self, id: str, *, none: str, vlans: bool) -> None:
        super().__init__(placeholder=f"none: {none}", id=id)
        self.vlan = TextField(placeholder="none", id=f"{id}-vlan") if vlans else None
        self.offered: list[str] = []

    @property
    def text(self) -> str:
        """The parent's name: LINK, or LINK.VLAN where a VLAN is typed."""
        base, vlan = self.value.strip(), self.vlan.text if self.vlan is not None else ""
        return f"{base}.{vlan}" if vlan else base

    def offer(self, names: Sequence[str]) -> None:
        """Offer these, in this order."""
        self.offered = list(names)
        self.suggester = SuggestFromList(self.offered) if names else None

    def action_offer(self, steps: int) -> None:
        choices = ["", *self.offered]
        known = self.value.strip()
        place = choices.index(known) if known in choices else 0
        self.value = choices[(place + steps) % len(choices)]
        self.cursor_position = len(self.value)


class ParentField(Field):
    """The option `parent` of a driver whose networks hang on links of the host, or `uplink` of one whose bridges have such as a port."""

    DEFAULT_CSS = """
    ParentField .parent-vlan { width: 6; padding-left: 1; color: $text-muted; }
    ParentField .field-row > TextField#option-parent-vlan { width: 8; }
    ParentField > .parent-links { height: auto; padding-left: 2; color: $text-muted; }
    """

    def __init__(self, option: OptionInfo) -> None:
        parent = option.name == "parent"
        self.input = ParentInput(f"option-{option.name}", none="leads nowhere" if parent else "a network of this host", vlans=parent)
        vlans = "; VLAN 20 of eth0 is eth0.20, made where it is missing" if parent else ", which are given back when the network goes"
        super().__init__(option.name, *filter(None, (self.input, self.input.vlan)), place=f"option:{option.name}", option=True,
                         help=f"page down goes through the links that can serve{vlans}")
        self._links = Static(plain(""), classes="parent-links")
        self._told: tuple[ParentLink, ...] = ()

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field-row"):
            yield Static(plain(self.label), classes="field-label")
            yield self.input
            if self.input.vlan is not None:
                yield Static(plain("vlan"), classes="parent-vlan")
                yield self.input.vlan
        yield self._error
        yield self._links

    def on_descendant_focus(self) -> None:
        """The links stand below what is typed: bring them into sight too."""
        self.call_after_refresh(self.scroll_visible, animate=False, top=True)

    def show_links(self, links: Sequence[ParentLink], network: str, words: Callable[[str], str]) -> None:
        """Which links there are. `network` is what the network is called in the reasons, which `words` puts into those of the form."""
        if self._told == tuple(links):
            return
        self._told = tuple(links)
        names = usable(links)
        self.input.offer(names)
        fit = [f"{link.name} ({what})" if (what := about(link)) else link.name for link in links if not link.why]
        lines = [_limited("can serve: ", fit, ", ") if fit else _NONE[self.input.vlan is not None]]
        refused: dict[str, list[str]] = {}
        for link in links:
            if link.why:
                refused.setdefault(words(reason(link, network)), []).append(link.name)
        lines += [f"{_limited('', named, ', ')}: {why}" for why, named in list(refused.items())[:_SHOWN]]
        if len(refused) > _SHOWN:
            lines.append("and more can't: netdeck network parents lists all")
        self._links.update(Content("\n").join(map(plain, lines)))


def _limited(words: str, found: Sequence[str], between: str) -> str:
    more = f"{between}and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return words + between.join(found[:_SHOWN]) + more
