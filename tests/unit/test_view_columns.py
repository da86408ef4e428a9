"""The columns of the five views, and of the lists in forms: no title is cut in a usual terminal."""

from __future__ import annotations

import pytest

from tui.rows import containers, events, findings, interfaces, networks, vlans
from tui.screens.forms import addresses, attach, detach, ports
from tui.widgets.glyphs import UNICODE, state_text, state_tone
from tui.widgets.table_columns import lay_out
from tui.widgets.table_model import Sorting
from tui.widgets.table_strips import LEFT, TableStrips

LISTS = {
    "networks": networks.columns(), "containers": containers.columns(), "interfaces": interfaces.columns(),
    "events": events.columns(UNICODE), "vlans": vlans.columns(), "findings": findings.columns(UNICODE), "addresses": addresses.columns(),
    "attached containers": attach.container_columns(), "attached networks": attach.network_columns(), "detached": detach.columns(),
    "withdrawn": ports.columns(),
}


@pytest.mark.req("W1", "W7")
@pytest.mark.parametrize("terminal", [80, 120])
@pytest.mark.parametrize("name", LISTS)
def test_titles_are_whole(name: str, terminal: int) -> None:
    from rich.style import Style

    places = lay_out(LISTS[name], terminal - 4, LEFT)  # the frame and a scroll bar
    assert len(places) >= 3
    for place in places:
        assert place.width >= len(place.column.title), f"{place.column.title} has {place.width} cells"
        # What is sorted by has its sign where that fits beside the title.
        strip = TableStrips(lambda _: Style(), UNICODE).header(places, Sorting(place.column.id, False), terminal)
        assert place.column.title in strip.text and UNICODE.ellipsis not in strip.text


def test_the_states_of_a_network_are_shown_whole() -> None:
    column = next(column for column in networks.columns() if column.id == "state")
    for state in ("missing", "down", "detached", "no lease", "damaged"):
        assert len(state_text(state, UNICODE)) <= column.width and state_tone(state) in ("bad", "warn"), state
