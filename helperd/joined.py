"""``--network container:NAME``: a container in another's network namespace, with what is in it and its names (docker run(1))."""

from __future__ import annotations

import msgspec

from helperd.changes import CallContext
from helperd.containers.spec import Join
from helperd.containers_known import KnownContainers
from helperd.records import Records
from protocol.errors import Forbidden, Gone, InvalidValue
from protocol.model import SHARES, Container
from protocol.names import display_text
from protocol.requests import ContainerRun


def joined_name(request: ContainerRun) -> str:
    """Which container's namespace is asked for, "" for a network. Raises InvalidValue where something else is asked for beside it."""
    asked = [name for name in request.networks if name.startswith(SHARES)]
    if not asked:
        return ""
    name = asked[0].removeprefix(SHARES)
    if len(request.networks) > 1:
        raise InvalidValue(f"--network {display_text(asked[0])} goes with no other network: the container has those of the other",
                           field="networks", value=display_text(asked[0]))
    if not name:
        raise InvalidValue(f"--network {SHARES} names no container: expected {SHARES}NAME", field="networks", value=SHARES)
    settled = {
        "publish": request.publish or request.publish_all or request.expose, "ip": request.ip or request.ip6,
        "mac_address": request.mac_address, "vlans": request.vlans or request.untagged, "aliases": request.aliases, "links": request.links,
        "hostname": request.hostname, "dns": request.dns or request.dns_search or request.dns_options, "extra_hosts": request.extra_hosts,
    }
    for field, given in settled.items():
        if given:
            raise InvalidValue(f"{_WORDS[field]} can't be chosen with --network {display_text(asked[0])}: the container shares what "
                               f"{display_text(name)} has. Leave it out, or choose it for {display_text(name)}", field=field,
                               value=display_text(asked[0]))
    return name


_WORDS = {
    "publish": "ports", "ip": "an address", "mac_address": "a MAC address", "vlans": "VLANs", "aliases": "an alias", "links": "a link",
    "hostname": "a host name", "dns": "name servers", "extra_hosts": "lines of /etc/hosts",
}


async def joined(name: str, known: KnownContainers, call: CallContext) -> Container:
    """The container of that name, whose namespace the caller may enter: its owner, or root. Raises NotFound, Gone, Forbidden."""
    target = await known.running(name)
    if call.uid not in (0, target.uid) or (target.runtime != "netdeck" and call.uid != 0):
        raise Forbidden(f"container {target.ref} is not yours: only its owner and root share its network", name=target.ref)
    if target.mode == "host":
        raise InvalidValue(f"container {target.ref} is on the host's network: use --network host", field="networks", value=target.ref)
    if target.mode.startswith(SHARES):
        raise InvalidValue(f"container {target.ref} has another's network itself ({' '.join(target.networks)}): name that one",
                           field="networks", value=target.ref)
    return target


def way_in(target: Container) -> Join:
    """Its network namespace, for the sandbox."""
    return Join(target.inode, path=target.path) if target.path else Join(target.inode, pid=target.pid)


def require_still(target: Container, records: Records) -> None:
    """Raise Gone where a container of ours, whose network another is to share, has ended while that started."""
    now = records.containers.get(target.id)
    if target.runtime == "netdeck" and (now is None or now.status != "running"):
        raise Gone(f"container {target.ref} ended while the one that was to share its network started", name=target.ref)


def left_alone(ident: str, records: Records) -> tuple[Container, ...]:
    """Those that share the network of a container which ends, as they live on: in its namespace, where no network is left."""
    return tuple(msgspec.structs.replace(item, mode="none", networks=("none",), inode=records.containers[ident].inode)
                 for item in records.sharers(ident))
