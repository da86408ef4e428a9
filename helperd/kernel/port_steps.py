"""Steps on ports of bridges that are no veths of ours: a link of the host as the uplink, and the VLANs of a port.

An uplink is not netdeck's: it is looked at once more just before it is taken, since as a port it answers for none of its addresses.
"""

from __future__ import annotations

import errno

from drivers.port_objects import Uplink
from helperd.kernel.link_messages import set_link
from helperd.kernel.link_state import all_addresses, index_of, read_link
from helperd.kernel.netlink_batch import Refusal, one
from helperd.kernel.open_places import OpenPlaces
from helperd.kernel.step_errors import doing, in_the_way, refused
from helperd.plan import Step
from protocol.errors import Gone, NotFound


def take_uplink(places: OpenPlaces, step: Step) -> None:
    """Make the link a port of the bridge, and bring it up."""
    item = step.object
    assert isinstance(item, Uplink)
    sock = places.socket(item.place)
    state, master = read_link(sock, item.link), index_of(sock, item.master)
    for name, there in ((item.link, state is not None), (item.master, bool(master))):
        if not there:
            raise NotFound(f"{doing(step)}: there is no link {name} on the host", name=name)
    assert state is not None
    if state.master == master and state.up:
        return
    if state.master and state.master != master:
        raise in_the_way(step, f"{item.link} is a port of something else by now: take it out of that first, with ip link set {item.link} "
                         "nomaster", item.link)
    index = state.index
    own = [found.prefix for found in all_addresses(sock, index) if found.index == index and not found.prefix.startswith("fe80:")]
    if own:
        raise in_the_way(step, f"the host has {', '.join(own)} on {item.link}, where it could not be reached any more", item.link)
    try:
        one(sock, set_link(state.index, master=master, up=True))
    except Refusal as refusal:
        raise refused(step, refusal) from refusal


def give_back_uplink(places: OpenPlaces, step: Step) -> None:
    """Let the link go, as it was before; one that is gone, or somebody else's port by now, is left as it is."""
    item = step.object
    assert isinstance(item, Uplink)
    try:
        sock = places.socket(item.place)
    except Gone:
        return
    state = read_link(sock, item.link)
    if state is None or state.master != index_of(sock, item.master) or not state.master:
        return
    try:
        one(sock, set_link(state.index, master=0, up=None if item.was_up else False))
    except Refusal as refusal:
        if refusal.number != errno.ENODEV:
            raise refused(step, refusal) from refusal
