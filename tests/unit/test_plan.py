"""plan(), inverse() and undo() against a model of the kernel in which links take along what is on them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.objects import (
    HOST,
    Address,
    AnyObject,
    Bridge,
    Chain,
    Jump,
    Key,
    Macvlan,
    Match,
    PortVlans,
    Route,
    Rule,
    Sysctl,
    Up,
    Uplink,
    Veth,
    Vlan,
)
from helperd.plan import Step, index, inverse, plan, undo

INSIDE = "c1"
ROUNDS = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # on a machine that has other work


class Kernel:
    """Holds objects by key and is as strict as the real one: nothing on a link that isn't there, nothing made twice."""

    def __init__(self, objects: frozenset[AnyObject]) -> None:
        self.objects: dict[Key, AnyObject] = index(objects)

    def ends(self) -> dict[tuple[str, str], Key]:
        found = {}
        for key, item in self.objects.items():
            if isinstance(item, Bridge | Veth | Vlan | Macvlan):
                found[(item.place, item.name)] = key
            if isinstance(item, Veth):
                found[(item.peer_place, item.peer_name)] = key
        return found

    def apply(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            item = step.object
            if step.action == "delete":
                assert self.objects.pop(item.key) == item
                if isinstance(item, Bridge | Veth | Vlan | Macvlan):
                    self._link_went(item, step)
                if isinstance(item, Uplink):
                    self._leaves(item.place, item.link)
                if isinstance(item, Chain):
                    assert not any(isinstance(other, Jump) and other.chain == item.name for other in self.objects.values())
                continue
            if step.action == "change":
                assert self.objects[item.key] == step.before
            else:
                assert item.key not in self.objects
            self._needs(item)
            if isinstance(item, Veth) and isinstance(step.before, Veth) and step.before.master != item.master:
                self._leaves(item.place, item.name)
            self.objects[item.key] = item

    def _needs(self, item: AnyObject) -> None:
        ends = self.ends()
        if item.on is not None and not isinstance(item, PortVlans):
            assert item.on in ends, f"{item} on a link that is not there"
        if isinstance(item, Uplink):
            assert (item.place, item.master) in ends
        if isinstance(item, PortVlans):
            port, uplink = self.objects.get(("link", item.place, item.link)), self.objects.get(("uplink", item.place, item.link))
            assert item.master in (getattr(port, "master", ""), getattr(uplink, "master", "")), f"{item} of no port of that bridge"
        if isinstance(item, Veth):
            assert not item.master or (item.place, item.master) in ends
            others = {end: key for end, key in ends.items() if key != item.key}
            assert (item.place, item.name) not in others and (item.peer_place, item.peer_name) not in others
        if isinstance(item, Jump):
            assert ("chain", item.place, item.chain) in self.objects

    def _link_went(self, item: Bridge | Veth | Vlan | Macvlan, step: Step) -> None:
        ends = {(item.place, item.name)}
        if isinstance(item, Veth):
            ends.add((item.peer_place, item.peer_name))
        went: dict[Key, AnyObject] = {}
        while more := {key: other for key, other in self.objects.items() if other.on in ends and key not in went}:
            went |= more
            ends |= {(other.place, other.name) for other in more.values() if isinstance(other, Vlan | Macvlan)}
        assert set(step.along) == set(went.values())
        for key in went:
            del self.objects[key]
        for key, other in [*self.objects.items()]:
            if isinstance(other, Veth) and (other.place, other.master) in ends:
                self.objects[key] = msgspec.structs.replace(other, master="")
                self._leaves(other.place, other.name)
            if isinstance(other, Uplink) and (other.place, other.master) in ends:
                del self.objects[key]
                self._leaves(other.place, other.link)

    def _leaves(self, place: str, port: str) -> None:
        """A port that leaves its bridge, if only for another, keeps no VLANs."""
        self.objects.pop(("port_vlans", place, port), None)

    @property
    def state(self) -> frozenset[AnyObject]:
        return frozenset(self.objects.values())


@st.composite
def states(draw: st.DrawFn) -> frozenset[AnyObject]:
    """A state that a kernel can hold: bridges, veths on them, what is on links, chains with jumps to them."""
    objects: list[AnyObject] = []
    ends: list[tuple[str, str]] = []
    bridges = draw(st.lists(st.sampled_from(["br-a", "br-b"]), unique=True))
    for name in bridges:
        objects.append(Bridge(HOST, name, "mark", draw(st.sampled_from([1400, 1500])), draw(st.sampled_from(["", "m1"]))))
        ends.append((HOST, name))
    peers = draw(st.permutations(["eth0", "eth1", "eth2"]))
    for name, peer in zip(draw(st.lists(st.sampled_from(["veth1", "veth2", "veth3"]), unique=True)), peers, strict=False):
        master = draw(st.sampled_from(["", *bridges]))
        objects.append(Veth(HOST, name, "mark", INSIDE, peer, draw(st.sampled_from([1400, 1500])), "m2", master, draw(st.booleans())))
        ends += [(HOST, name), (INSIDE, peer)]
        if master and draw(st.booleans()):
            objects.append(PortVlans(HOST, name, master, ("20",) if draw(st.booleans()) else (), 10))
    if draw(st.booleans()) and bridges:
        master = draw(st.sampled_from(bridges))
        objects.append(Uplink(HOST, "eth9", master))
        if draw(st.booleans()):
            objects.append(PortVlans(HOST, "eth9", master, ("20-30",), 1))
    if "br-a" in bridges and draw(st.booleans()):
        objects.append(Vlan(HOST, "br-a.5", "mark", "br-a", draw(st.sampled_from([5, 6]))))
        ends.append((HOST, "br-a.5"))
    parents = [link for place, link in ends if place == HOST and link in ("br-a", "br-b", "br-a.5")]
    if draw(st.booleans()) and parents:
        objects.append(Macvlan("c2", "eth0", "mark", draw(st.sampled_from(parents)), draw(st.sampled_from(["bridge", "vepa"]))))
        ends.append(("c2", "eth0"))
    for end in ends:
        place, link = end
        if draw(st.booleans()):
            objects.append(Up(place, link))
        if draw(st.booleans()):
            objects.append(Sysctl(place, "net.ipv6.conf.*.disable_ipv6", draw(st.sampled_from("01")), link))
        for prefix in draw(st.lists(st.sampled_from(["10.0.0.1/24", "fd00::1/64"]), unique=True)):
            objects.append(Address(place, link, prefix))
    inner = [end for end in ends if end[0] == INSIDE]
    if draw(st.booleans()) and inner:
        inside, port = draw(st.sampled_from(inner))
        objects.append(Route(inside, "0.0.0.0/0", port, draw(st.sampled_from(["10.0.0.1", "10.0.0.2"]))))
    if draw(st.booleans()):
        objects.append(Sysctl(HOST, "net.ipv4.ip_forward", draw(st.sampled_from("01"))))
    for name in draw(st.lists(st.sampled_from(["to-a", "to-b"]), unique=True)):
        rule = Rule((Match("iifname", (name,)),), draw(st.sampled_from(["accept", "drop"])), "why")
        objects.append(Chain(HOST, name, (rule,)))
        for link in draw(st.lists(st.sampled_from(["br-a", "br-b"]), unique=True)):
            if not any(isinstance(item, Jump) and item.link == link for item in objects):
                objects.append(Jump(HOST, "forward-to", link, name))
    return frozenset(objects)


@ROUNDS
@given(states(), states())
def test_applying_the_plan_leads_to_what_is_desired(desired: frozenset[AnyObject], observed: frozenset[AnyObject]) -> None:
    kernel = Kernel(observed)
    kernel.apply(plan(desired, observed))
    assert kernel.state == desired


@ROUNDS
@given(states(), states(), st.data())
def test_undo_of_any_part_of_a_plan_leads_back(desired: frozenset[AnyObject], observed: frozenset[AnyObject], data: st.DataObject) -> None:
    steps = plan(desired, observed)
    done = steps[: data.draw(st.integers(0, len(steps)))]
    kernel = Kernel(observed)
    kernel.apply(done)
    kernel.apply(undo(done))
    assert kernel.state == observed


@ROUNDS
@given(states(), states(), st.data())
def test_recovery_from_any_point_leads_on_and_back(
    desired: frozenset[AnyObject], observed: frozenset[AnyObject], data: st.DataObject
) -> None:
    """Killed after any step, a new plan from what is there reaches either end."""
    steps = plan(desired, observed)
    kernel = Kernel(observed)
    kernel.apply(steps[: data.draw(st.integers(0, len(steps)))])
    halfway = kernel.state
    for goal in (desired, observed):
        other = Kernel(halfway)
        other.apply(plan(goal, halfway))
        assert other.state == goal


@ROUNDS
@given(states())
def test_nothing_to_do_is_an_empty_plan(state: frozenset[AnyObject]) -> None:
    assert plan(state, state) == ()


@ROUNDS
@given(states(), states())
def test_order_of_steps(desired: frozenset[AnyObject], observed: frozenset[AnyObject]) -> None:
    """Deletions in falling rank come before creations in rising rank (but for VLANs of ports, which lose them when they are let go), and no
    object is touched without need."""
    steps = plan(desired, observed)
    deletes = [step.object.rank for step in steps if step.action == "delete" and not isinstance(step.object, PortVlans)]
    creates = [step.object.rank for step in steps if step.action == "create"]
    assert deletes == sorted(deletes, reverse=True) and creates == sorted(creates)
    kinds = [step.action for step in steps]
    if "delete" in kinds and "create" in kinds:
        assert max(i for i, kind in enumerate(kinds) if kind == "delete") < kinds.index("create")


def test_what_is_on_a_link_goes_with_it() -> None:
    veth = Veth(HOST, "veth1", "mark", INSIDE, "eth0")
    address = Address(INSIDE, "eth0", "10.0.0.2/24")
    up = Up(INSIDE, "eth0")
    assert plan((), (up, address, veth)) == (Step("delete", veth, along=(address, up)),)


def test_a_property_that_the_kernel_can_change_is_changed() -> None:
    old, new = Bridge(HOST, "br-a", "mark", 1500), Bridge(HOST, "br-a", "mark", 1400)
    assert plan((new,), (old,)) == (Step("change", new, old),)


def test_one_that_it_cannot_change_means_a_new_link_with_its_ports_put_back() -> None:
    old, new = Bridge(HOST, "br-a", "mark", mac="m1"), Bridge(HOST, "br-a", "mark", mac="m2")
    port = Veth(HOST, "veth1", "mark", INSIDE, "eth0", master="br-a")
    free = msgspec.structs.replace(port, master="")
    assert plan((new, port), (old, port)) == (
        Step("change", free, port),
        Step("delete", old),
        Step("create", new),
        Step("change", port, free),
    )


def test_a_change_without_what_it_replaces_has_no_inverse() -> None:
    with pytest.raises(ValueError, match="inverse"):
        inverse(Step("change", Up(HOST, "a")))


def test_two_objects_with_one_key_are_a_fault() -> None:
    with pytest.raises(ValueError, match="claim"):
        plan((Sysctl(HOST, "a", "0"), Sysctl(HOST, "a", "1")), ())
