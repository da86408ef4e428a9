"""Networks, endpoints, containers, links and the rest, as clients see them.

Every struct travels as a msgpack map of its fields (absent optional fields are sent too, so that a script need not guess).
Prefixes are written as the `ip` command does (``10.0.0.1/24``), times are seconds since 1970 as float, sizes are bytes.
A namespace is named by its inode number on nsfs, a link by (namespace inode, ifindex).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: immutable, strict."""


DHCP = "dhcp"
SHARES = "container:"  # of a network that is asked for, and of a container's mode, then with the id of the other


class Subnet(Model, frozen=True):
    """One address pool of a network. `gateway` is a bare address or None where the network has none (internal, ipvlan l3)."""

    subnet: str
    gateway: str | None = None
    ip_range: str | None = None
    aux: dict[str, str] = {}
    chosen: bool = False  # True where the operator gave the subnet, False where a default pool did


class Network(Model, frozen=True):
    """A network as stored. `options` has the short names with their effective values as text."""

    id: str
    name: str
    driver: str
    created: float
    subnets: tuple[Subnet, ...] = ()
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    internal: bool = False
    ipv4: bool = True
    ipv6: bool = False
    predefined: bool = False
    owner: int = 0  # uid of who created it
    link: str = ""  # name of the link on the host that carries it (the bridge, the parent), "" if none
    made_link: bool = True  # False where `link` was there before and is not ours
    kept_addresses: tuple[str, ...] = ()  # prefixes that such a `link` had before, which stay when the network goes
    uplink_was_up: bool = True  # of a link of the host that is a port of the bridge: it is given back as it was
    host_addresses: tuple[str, ...] = ()  # what the host has on a link of its own in the network (host access), () without one
    ipam: str = "default"  # where addresses come from: pools of netdeck's, or the site's DHCP server (`DHCP`)
    state: str = "ready"  # ready | missing | down | detached (the link that leads outside) | no lease (all of them lost)
    problem: str = ""  # what of it is not as it should be, in words, "" where all is well; never stored

    @property
    def uplink(self) -> str:
        """Name of the host's link that is a port of its bridge and leads to the site, "" if none."""
        return self.options.get("uplink", "") if self.driver == "bridge" else ""


class Port(Model, frozen=True):
    """A port of the host that leads to a port of a container. `host` is the host's address: ``0.0.0.0`` or ``::`` for all of a
    family. It leads to the container's address of the same family."""

    protocol: str  # tcp | udp | sctp
    host: str
    host_port: int
    port: int  # in the container


class Lease(Model, frozen=True):
    """What the site's DHCP server gave an endpoint (RFC 2131). Seconds count from `obtained`; 4294967295 of them never end."""

    prefix: str  # 192.168.1.57/24
    server: str
    server_mac: str
    obtained: float
    seconds: int
    renew: int  # after so many seconds the server is asked to lengthen it, T1
    rebind: int  # after so many any server is, T2
    gateway: str = ""
    dns: tuple[str, ...] = ()
    domain: str = ""
    note: str = ""  # what of the server's words was left out, and why
    lost: str = ""  # why it is over, "" while it holds; the endpoint has no address then


class AddressConflict(Model, frozen=True):
    """Somebody else who has an address of an endpoint, on the host's `link` that leads to its site; heard first at `since`, in seconds
    since 1970."""

    address: str
    mac: str
    link: str
    since: float


class Endpoint(Model, frozen=True):
    """The attachment of one container to one network. `addresses` are prefixes; `order` says which was attached first."""

    id: str
    network: str  # network id
    container: str  # container id
    ifname: str = ""  # inside the container
    host_link: str = ""  # on the host, "" if none
    mac: str = ""
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    order: int = 0
    kept_defaults: tuple[int, ...] = ()  # families (4, 6) whose default route the container had from somebody else, which stays
    ports: tuple[Port, ...] = ()  # published through this network
    foreign_names: bool = False  # True where somebody else's name server answered at 127.0.0.11, which stays
    vlans: tuple[str, ...] = ()  # tagged, on a bridge that is aware of VLANs: 20 and 30-40, in order
    untagged: int = 0  # the VLAN of frames without a tag; 0 with `vlans`: none, without them: that of the bridge, 1
    lease: Lease | None = None  # on a network whose addresses come from DHCP
    state: str = "ready"  # as of its network; no lease
    conflicts: tuple[AddressConflict, ...] = ()  # shown, not stored


class ContainerLink(Model, frozen=True):
    """A link of a container to another, by name. `owner`: uid of whose that one was; one of another user is not followed."""

    target: str
    alias: str
    owner: int = 0


class Container(Model, frozen=True):
    """A container of any runtime: ours, one attached to a network of ours, or one only seen.

    `ref` is what an operator types: the name of ours, else ``docker:NAME``, ``podman:NAME``, ``netns:NAME``, ``pid:N`` …
    """

    id: str
    name: str
    ref: str
    runtime: str  # netdeck | docker | podman | containerd | kubernetes | lxc | nspawn | netns | unit | unknown
    inode: int = 0  # network namespace, 0 when it does not run
    pid: int = 0
    starttime: int = 0  # of pid, clock ticks since boot (proc(5)), so that a reused pid is seen
    status: str = "running"  # created | running | exited
    exit_code: int | None = None
    created: float = 0.0
    command: tuple[str, ...] = ()
    uid: int = 0
    hostname: str = ""
    networks: tuple[str, ...] = ()  # names, in order of attachment
    attached: bool = False  # True where a network of ours has an endpoint on it
    mode: str = "private"  # private | host | none | container:ID, whose network it shares (for ours), none once that has ended
    auto_remove: bool = False
    path: str = ""  # namespace path for named ones
    labels: dict[str, str] = {}
    exposed: tuple[str, ...] = ()  # ports that it was started with --expose for, such as 80/tcp
    links: tuple[ContainerLink, ...] = ()
    dns: tuple[str, ...] = ()  # name servers in place of the host's, asked from inside the container
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # NAME:ADDRESS, for its /etc/hosts
    waiting: tuple[Port, ...] = ()  # published ports of ours that no network of it leads to now: the next that does gets them


class Namespace(Model, frozen=True):
    """A network namespace on this machine. `names` are the files that hold it under /run/netns and /run/docker/netns."""

    inode: int
    nsid: int | None = None
    names: tuple[str, ...] = ()
    host: bool = False
    container: str = ""  # ref of the container that lives in it, "" if unknown
    pid: int = 0
    left_out: dict[str, int] = {}  # topic → rows that are not shown, at least, since there are too many
    noisy: tuple[str, ...] = ()  # topics that change too often to follow each change: they are read once a second


class Link(Model, frozen=True):
    """A network interface (rtnetlink(7), linux/if_link.h). `peer_*` is the other end of a veth where it is known."""

    inode: int
    ifindex: int
    name: str
    kind: str = ""  # IFLA_INFO_KIND: bridge, veth, vlan …; "" for a device without one
    state: str = ""  # operstate: up, down, lowerlayerdown, unknown, dormant …
    flags: int = 0
    mtu: int = 0
    mac: str = ""
    master: int = 0  # ifindex in the same namespace
    lower: int = 0  # IFLA_LINK
    peer_inode: int = 0
    peer_ifindex: int = 0
    group: int = 0
    alias: str = ""
    vlan: int = 0
    detail: str = ""  # mode of macvlan/ipvlan, "isolated" for a bridge port …
    container: str = ""  # ref, "" on the host
    network: str = ""  # name of the network of ours that it belongs to
    lower_inode: int = 0  # namespace of the link that `lower` names, 0 where there is none or it is not known; of a veth see `peer_*`


class VlanRange(Model, frozen=True):
    """VLANs from `first` to `last` of a bridge port (bridge(8)). `untagged`: frames of them leave without a tag; `pvid`: frames that
    come without one are of this VLAN."""

    first: int
    last: int
    untagged: bool = False
    pvid: bool = False


class PortVlans(Model, frozen=True):
    """The VLANs of a port of a bridge, or of the bridge itself as its host's port. Told in namespaces with a VLAN-aware bridge."""

    inode: int
    ifindex: int
    master: int = 0  # ifindex of the bridge; its own where the bridge itself is meant
    vlans: tuple[VlanRange, ...] = ()
    more: int = 0  # how many ranges are left out, since there are too many


class Address(Model, frozen=True):
    inode: int
    ifindex: int
    address: str  # prefix
    scope: str = "global"
    flags: int = 0
    protocol: int = 0  # IFA_PROTO: who gave it (171: netdeck), 0 where the kernel does not say


class Route(Model, frozen=True):
    inode: int
    family: int  # 4 or 6
    destination: str  # "default" or a prefix
    gateway: str = ""
    ifindex: int = 0
    table: int = 254
    protocol: int = 0
    scope: int = 0
    metric: int = 0
    kind: str = "unicast"
    source: str = ""


class Neighbour(Model, frozen=True):
    inode: int
    ifindex: int
    address: str
    mac: str = ""
    state: str = ""  # reachable, stale, failed, permanent …
    family: int = 4  # 4, 6, or 7 for an FDB entry of a bridge
    flags: int = 0
    vlan: int = 0


class Rule(Model, frozen=True):
    inode: int
    family: int
    priority: int
    selector: str = "from all"
    action: str = ""
    table: int = 254
    protocol: int = 0


class LogEntry(Model, frozen=True):
    """One line of the Events view. `subject` names the thing, `where` the container or namespace ("host" for the host)."""

    seq: int
    time: float
    kind: str  # link | address | route | neighbour | rule | namespace | network | container | endpoint | port | helper
    action: str  # new | gone | up | down | changed | created | removed | connected | disconnected | published | withdrawn | …
    subject: str
    where: str = "host"
    text: str = ""
    level: str = "info"  # info | notice | warning | error
    actor: str = ""  # user who asked, "" for the kernel


class Query(Model, frozen=True):
    """One question that a container asked netdeck's name server. `by` is ``names`` where netdeck knew the answer, else the server
    that gave it, "" where nobody did."""

    seq: int
    time: float
    container: str  # ref
    inode: int
    name: str
    type: str  # A, AAAA, PTR …
    result: str  # NOERROR, NXDOMAIN, SERVFAIL …
    by: str = ""
    answers: tuple[str, ...] = ()  # the first few
    seconds: float = 0.0  # until the answer came
    lost: int = 0  # how many more were asked before this one, which there was no room to tell


class PlannedStep(Model, frozen=True):
    """One step of a plan: `object` is the kernel object as data, `text` the same in a line for people."""

    action: str  # create | change | delete
    object: dict[str, Any]
    text: str


class Plan(Model, frozen=True):
    """What a change will do: its steps, and the commands that do the same by hand."""

    steps: tuple[PlannedStep, ...] = ()
    commands: tuple[str, ...] = ()


class OptionInfo(Model, frozen=True):
    """One option of a driver, for forms, completion and messages."""

    name: str
    kind: str  # bool | int | text | address | link | choice
    default: str
    help: str
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    long_names: tuple[str, ...] = ()
    changeable: bool = False  # can get another value while the network exists, with containers on it
    fixed: str = ""  # why it can't, where it can't
    needs: str = ""  # the option without which it has no meaning
    notes: tuple[str, ...] = ()  # what to know of a network that has it
    choice_notes: dict[str, tuple[str, ...]] = {}  # the same, of one where it has this value


class DriverInfo(Model, frozen=True):
    """A driver as a form needs it."""

    name: str
    help: str
    options: tuple[OptionInfo, ...] = ()
    subnets: bool = True  # takes subnets
    creatable: bool = True  # False for host and none: there is only the predefined one
    internal: bool = True  # takes --internal
    publishes: bool = False  # ports of containers can be published on addresses of the host
    parents: bool = False  # its networks hang on a link of the host, option `parent`; the host has no address on them
    notes: tuple[str, ...] = ()
    leases: bool = False  # addresses can come from a DHCP server of the site
    changeable: tuple[str, ...] = ()  # what else of a network can be changed while it exists: "subnets", "internal"
    automatic_gateway: bool = True  # False: a subnet has a gateway only where one was asked for, the driver may choose one itself
    problem: str = ""  # why it can't be used, "" where it can

    def notes_of(self, options: Mapping[str, str]) -> tuple[str, ...]:
        """What to know of a network with these options."""
        found = list(self.notes)
        for option in self.options:
            found += option.choice_notes.get(options.get(option.name) or option.default, ())
            found += option.notes if options.get(option.name, "false") not in ("", "false") else ()
        return tuple(found)


class ParentLink(Model, frozen=True):
    """A link of the host as the parent of a network. `why` it can't be one, in the driver's words; "" where it can. `carrier`: no, of one
    that is up and has none; of one that is down nothing is known."""

    name: str
    kind: str = ""
    up: bool = True
    addresses: tuple[str, ...] = ()
    why: str = ""
    carrier: bool = True
