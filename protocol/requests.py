"""The arguments of every operation as structs, with the role that it needs. `call{op, args}` carries one of these as a map.

`OPERATIONS` is the list that clients, the helper's dispatch table and SPEC.md are checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Options = Annotated[dict[Name, Text], msgspec.Meta(max_length=64)]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=256)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all requests."""


class SubnetRequest(Request, frozen=True):
    """One subnet as asked for. `subnet` may be "" (a default pool), ``0.0.0.0/N`` or ``::/N`` (any of that size)."""

    subnet: Text = ""
    gateway: Text | None = None
    ip_range: Text | None = None
    aux: Options = {}


class NetworkCreate(Request, frozen=True):
    """Make a network. Result: ``{network, warnings, plan}``; with `dry_run` nothing is made and `plan` tells what would be. `ipam`:
    ``default``, or ``dhcp`` for addresses from the site's DHCP server."""

    name: Name
    driver: Name = "bridge"
    subnets: Annotated[tuple[SubnetRequest, ...], msgspec.Meta(max_length=32)] = ()
    options: Options = {}
    labels: Options = {}
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False
    ipam: Name = "default"
    dry_run: bool = False


class NetworkList(Request, frozen=True):
    """All networks, as maps of `protocol.model.Network`."""


class NetworkInspect(Request, frozen=True):
    """Networks by name or prefix of an id, in docker's JSON shape with ours added."""

    names: Names


class NetworkRemove(Request, frozen=True):
    """Remove a network; refused while containers are connected. Result: ``{network, warnings, plan}``: a link that was made for it and
    on which others hung theirs is told of in `warnings`, and stays."""

    name: Name
    dry_run: bool = False


class NetworkUpdate(Request, frozen=True):
    """Change a network in place, with its containers running. What is not given stays. An option of "" gets its default back.

    `subnets` are added. A gateway, ip-range or aux-address belongs to the subnet that contains it, be it new or old; an aux-address
    whose name is known is moved. Result: ``{network, changes, warnings, plan}``: `changes` is what differs, a line each.
    """

    name: Name
    options: Options = {}
    labels: Options = {}
    remove_labels: Names = ()
    subnets: Annotated[tuple[Text, ...], msgspec.Meta(max_length=32)] = ()
    remove_subnets: Names = ()
    gateways: Names = ()
    ip_ranges: Names = ()
    aux: Options = {}
    remove_aux: Names = ()
    internal: bool | None = None
    dry_run: bool = False


class NetworkHostAccess(Request, frozen=True):
    """Give the host a link of its own in a network that hangs on a link of the host (`on`), or take it away: with it the host and the
    containers reach each other. `ip` and `ip6` choose its addresses. Result: ``{network, changes, warnings, plan}``."""

    name: Name
    on: bool
    ip: Text | None = None
    ip6: Text | None = None
    dry_run: bool = False


class NetworkPrune(Request, frozen=True):
    """Remove all networks that no container uses, except the predefined. Result: ``{removed, warnings, plan}``."""

    dry_run: bool = False


class NetworkConnect(Request, frozen=True):
    """Attach a container to a network. Result: ``{endpoint, container, warnings, plan}``. `vlans` (as ``10`` or ``20,30-40``) and
    `untagged` are for a bridge with ``vlan_filtering``: one of `vlans` alone comes untagged."""

    network: Name
    container: Name
    ip: Text | None = None
    ip6: Text | None = None
    aliases: Names = ()
    mac_address: Text | None = None
    vlans: Names = ()
    untagged: Annotated[int, msgspec.Meta(ge=1, le=4094)] | None = None
    dry_run: bool = False


class NetworkDisconnect(Request, frozen=True):
    """Detach a container. With `force` a container that is gone or unknown to its runtime is detached too.
    Result: ``{endpoint, withdrawn, waiting, plan}``: `withdrawn` are its published ports that no other network leads to, `waiting` those
    of them that come back with the next network that does: all of a container of ours, none of another runtime's."""

    network: Name
    container: Name
    force: bool = False
    dry_run: bool = False


class ContainerRun(Request, frozen=True):
    """Run a command in a sandbox of its own, as the caller.

    With `detach` the result comes when the command has been started: ``{container}``. Else the call streams: output comes as
    `progress`, input goes as `input`, and the result is ``{container, exit_code}``.
    """

    command: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=1024)]
    name: Name | None = None
    networks: Names = ()  # or one container:NAME, whose network namespace is shared
    ip: Text | None = None
    ip6: Text | None = None
    mac_address: Text | None = None
    vlans: Names = ()  # as of `NetworkConnect`, on the first network
    untagged: Annotated[int, msgspec.Meta(ge=1, le=4094)] | None = None
    aliases: Names = ()
    links: Names = ()  # CONTAINER or CONTAINER:ALIAS
    publish: Names = ()  # as docker's -p: see `protocol.ports`; on `host` discarded with a warning
    expose: Names = ()  # ports of the container that `publish_all` publishes: 80, 53/udp, 8000-8010
    publish_all: bool = False
    hostname: Name | None = None
    dns: Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] = ()
    dns_search: Annotated[tuple[Name, ...], msgspec.Meta(max_length=32)] = ()
    dns_options: Annotated[tuple[Name, ...], msgspec.Meta(max_length=32)] = ()
    extra_hosts: Names = ()  # NAME:ADDRESS; the address host-gateway is the default bridge's
    env: Annotated[dict[Name, Text], msgspec.Meta(max_length=256)] = {}
    rootfs: Text | None = None
    workdir: Text | None = None
    labels: Options = {}
    detach: bool = False
    auto_remove: bool = False
    interactive: bool = False
    tty: bool = False
    rows: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 24
    columns: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 80
    dry_run: bool = False


class ContainerExec(Request, frozen=True):
    """Run a command in a container that runs, as its owner; streams as `ContainerRun`. Result: ``{exit_code}``."""

    container: Name
    command: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=1024)]
    env: Annotated[dict[Name, Text], msgspec.Meta(max_length=256)] = {}
    interactive: bool = False
    tty: bool = False
    rows: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 24
    columns: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 80


class ContainerLogs(Request, frozen=True):
    """What a container of ours has printed, of which the last 64 KiB are kept, to its owner and root; streams as `ContainerRun`,
    without input. `tail`: so many lines at most. `follow`: what it prints from now on too; a caller that doesn't keep up is told
    how much it missed, and the container doesn't wait for it. Result: ``{}``."""

    name: Name
    follow: bool = False
    tail: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class ContainerList(Request, frozen=True):
    """Containers as maps of `protocol.model.Container`. `all` adds those that have exited; `foreign` those of other runtimes."""

    all: bool = False
    foreign: bool = True


class ContainerInspect(Request, frozen=True):
    """One map a container: its model, its endpoints with networks, and the links, addresses and routes inside."""

    names: Names


class ContainerStop(Request, frozen=True):
    """SIGTERM, after `timeout` seconds SIGKILL. Result: ``{container, exit_code}``."""

    name: Name
    timeout: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0


class ContainerKill(Request, frozen=True):
    """Send a signal to the first process of a container of ours: ``KILL``, ``SIGHUP``, ``15``. After KILL its addresses are free. Result:
    ``{container}``."""

    name: Name
    signal: Name = "KILL"


class ContainerRemove(Request, frozen=True):
    """Remove a container of ours that has ended, or with `force` one that runs. Result: ``{container}``."""

    name: Name
    force: bool = False


class PortList(Request, frozen=True):
    """The published ports, or those of one container: a list of ``{container, container_id, network, address, protocol, host,
    host_port, port, held}``. `held` says that the helper keeps the port from others."""

    container: Name | None = None


class PortPublish(Request, frozen=True):
    """Publish ports of a running container, of any runtime, that is on a bridge network. `ports` are written as docker's ``-p``;
    into a family that the container has not, only tcp and udp lead. Result: ``{container, ports, warnings, plan}``; `ports` are
    maps of `protocol.model.Port`."""

    container: Name
    ports: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=256)]
    dry_run: bool = False


class PortWithdraw(Request, frozen=True):
    """Withdraw published ports: all that agree with one of `ports` in what it says (``80`` means all that lead to 80/tcp), or with
    `all` every one. Result: ``{container, ports, plan}``; `ports` are those withdrawn."""

    container: Name
    ports: Names = ()
    all: bool = False
    dry_run: bool = False


class InterfaceList(Request, frozen=True):
    """Every link of every namespace with its counters: list of ``{link, networks, vlans, counters}``; `networks` are those that it
    belongs to, or carries as their parent or uplink, `vlans` those of a bridge port."""


class EventList(Request, frozen=True):
    """Log entries newer than `since` (seconds since 1970), the newest `limit`."""

    since: float = 0.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 10000


class AddressList(Request, frozen=True):
    """Whose every address of the networks is, of all or of `network`: list of `protocol.addresses.PoolUse`."""

    network: Name | None = None


class AddressRelease(Request, frozen=True):
    """Give leaked addresses free: those named, with `leaked` all that there are. Result: ``{released, plan}``: `released` are maps of
    `network`, `address`, `owner` and `text`. What a living container has, or somebody else set, is refused."""

    addresses: Names = ()
    leaked: bool = False
    dry_run: bool = False


class DoctorList(Request, frozen=True):
    """What is wrong on this host, or may be soon. The worst first, as maps of
    `protocol.findings.Finding`."""


class DoctorFix(Request, frozen=True):
    """Mend one finding, if it is `automatic`; with `dry_run` only show it. Where `commands` are given and are not those of the finding
    any more, nothing is done. `undo` takes back what netdeck keeps up by an earlier call. Result: ``{finding}``."""

    id: Name
    dry_run: bool = False
    undo: bool = False
    commands: Annotated[tuple[Text, ...], msgspec.Meta(max_length=1024)] | None = None


class FirewallRules(Request, frozen=True):
    """The rules of the table `inet netdeck`, of all chains or of those of one network: list of ``{chain, network, comment, packets,
    bytes}``. The counts go on over reloads of the table; when somebody else deletes it, what was counted in the last second is lost, in the
    last five where little passes or the table is large."""

    network: Name | None = None


class DriverList(Request, frozen=True):
    """The drivers with their options, as maps of `protocol.model.DriverInfo`. One that can't be used says why in `problem`."""


class DriverParents(Request, frozen=True):
    """Which links of the host can be the parent of a network called `name` with these `options`, or the uplink of a bridge, and why the
    others can't: list of `protocol.model.ParentLink`."""

    driver: Name
    name: Name = "new"
    options: Options = {}


class Info(Request, frozen=True):
    """What this helper is: version, instance, host, pid, epoch, numbers of objects, counts of refused messages, memory."""


ROLES = ("view", "operate", "admin")

# operation → (request, the least role, whether it streams)
OPERATIONS: Mapping[str, tuple[type[Request], str, bool]] = {
    "network.create": (NetworkCreate, "operate", False),
    "network.list": (NetworkList, "view", False),
    "network.inspect": (NetworkInspect, "view", False),
    "network.remove": (NetworkRemove, "operate", False),
    "network.update": (NetworkUpdate, "operate", False),
    "network.host-access": (NetworkHostAccess, "operate", False),
    "network.prune": (NetworkPrune, "operate", False),
    "network.connect": (NetworkConnect, "operate", False),
    "network.disconnect": (NetworkDisconnect, "operate", False),
    "container.run": (ContainerRun, "operate", True),
    "container.exec": (ContainerExec, "operate", True),
    "container.logs": (ContainerLogs, "operate", True),
    "container.list": (ContainerList, "view", False),
    "container.inspect": (ContainerInspect, "view", False),
    "container.stop": (ContainerStop, "operate", False),
    "container.kill": (ContainerKill, "operate", False),
    "container.remove": (ContainerRemove, "operate", False),
    "port.list": (PortList, "view", False),
    "port.publish": (PortPublish, "operate", False),
    "port.withdraw": (PortWithdraw, "operate", False),
    "interface.list": (InterfaceList, "view", False),
    "address.list": (AddressList, "view", False),
    "address.release": (AddressRelease, "operate", False),
    "event.list": (EventList, "view", False),
    "doctor.list": (DoctorList, "view", False),
    "doctor.fix": (DoctorFix, "admin", False),
    "firewall.rules": (FirewallRules, "view", False),
    "driver.list": (DriverList, "view", False),
    "driver.parents": (DriverParents, "view", False),
    "info": (Info, "view", False),
}

STREAMING = frozenset(name for name, (_, _, streams) in OPERATIONS.items() if streams)


def repeatable(op: str, key: str | None) -> bool:
    """Whether a call that may have been carried out can be sent once more: it has a key, or `op` changes nothing."""
    known = OPERATIONS.get(op)
    return key is not None or (known is not None and known[1] == "view" and not known[2])
