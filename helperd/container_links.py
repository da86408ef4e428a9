"""Links between containers, as docker's ``--link``: which are asked for, the names and the variables that follow. Pure.

A link is by name, as an operator means it: a container that is made anew with the name of one that was linked to takes its place,
if it is the same user's. Names go to /etc/hosts of the linking container; the variables are those of docker's default bridge
(moby, daemon/links/links.go) and stay as they were when the container began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from helperd.store import lease_address
from protocol.errors import Conflict, Gone, InvalidValue, NotFound
from protocol.model import Container, ContainerLink, Endpoint, Network
from protocol.names import alias_name, display_text, suggestion

Ports = Iterable[tuple[int, str]]  # (number, protocol)
_NOT_SHARED = frozenset({"HOME", "PATH"})


def wanted_links(texts: Sequence[str], name: str, networks: Sequence[Network], containers: Iterable[Container],
                 endpoints: Mapping[str, Sequence[Endpoint]]) -> tuple[ContainerLink, ...]:
    """The links of a container `name` on `networks`, each written ``C`` or ``C:ALIAS``. `endpoints`: by container id.

    Raises NotFound, Gone, Conflict, InvalidValue.
    """
    known = {item.name: item for item in containers if item.runtime == "netdeck"}
    found: dict[str, ContainerLink] = {}
    for text in texts:
        asked, colon, given = text.partition(":")
        target = known.get(asked) or _by_id(asked, known)
        if asked == name or (target is not None and target.name == name):
            raise InvalidValue(f"link {display_text(text)!r}: a container is not linked to itself", field="links", value=display_text(text))
        if target is None:
            raise NotFound(f"link {display_text(text)!r}: no container {display_text(asked)!r} of netdeck's"
                           f"{suggestion(asked, known)}", name=display_text(asked), field="links")
        alias = alias_name(given) if colon else target.name
        if alias in found and found[alias].target != target.name:
            raise InvalidValue(f"alias {alias} is given to two links: to {found[alias].target} and to {target.name}", field="links",
                               value=display_text(text))
        _require_reachable(target, text, networks, endpoints)
        circle = _way(target.name, name, known)
        if circle:
            raise Conflict(f"link {display_text(text)!r} would close a circle of links: {name} -> {' -> '.join(circle)}", field="links",
                           value=display_text(text))
        found[alias] = ContainerLink(target.name, alias, target.uid)
    return tuple(found.values())


def _by_id(text: str, known: Mapping[str, Container]) -> Container | None:
    found = [item for item in known.values() if len(text) >= 12 and item.id.startswith(text)]
    return found[0] if len(found) == 1 else None


def _require_reachable(target: Container, text: str, networks: Sequence[Network], endpoints: Mapping[str, Sequence[Endpoint]]) -> None:
    if target.status != "running":
        raise Gone(f"link {display_text(text)!r}: container {target.name} does not run (it has {target.status})", name=target.name)
    ids = {item.network for item in endpoints.get(target.id, ())}
    if not any(item.id in ids for item in networks):
        wanted = " or ".join(item.name for item in networks) or "a network of its own"
        raise InvalidValue(f"link {display_text(text)!r}: container {target.name} is not on network {wanted}, it is on "
                           f"{', '.join(target.networks) or 'none'}", field="links", value=display_text(text))


def _way(start: str, end: str, known: Mapping[str, Container]) -> list[str]:
    """The names from `start` over links to `end`, [] if no link leads there."""
    before: dict[str, str] = {start: ""}
    queue = [start]
    for name in queue:
        if name == end:
            way = [name]
            while before[way[0]]:
                way.insert(0, before[way[0]])
            return way
        container = known.get(name)
        for link in container.links if container is not None else ():
            if link.target not in before:
                before[link.target] = name
                queue.append(link.target)
    return []


def follows(link: ContainerLink, target: Container) -> bool:
    """Whether `link` leads to the container that has the name now: it runs, and is the same user's."""
    return target.runtime == "netdeck" and target.uid == link.owner and target.status == "running"


def link_hosts(container: Container, endpoints: Sequence[Endpoint], targets: Mapping[str, Container],
               endpoints_of: Mapping[str, Sequence[Endpoint]]) -> dict[str, list[str]]:
    """Address → names, for /etc/hosts: of each linked container that there is, on the networks that both are on. `targets`: containers by
    name; `endpoints_of`: endpoints by container id."""
    mine = {item.network for item in endpoints}
    found: dict[str, list[str]] = {}
    for link in container.links:
        target = targets.get(link.target)
        if target is None or not follows(link, target):
            continue
        for item in endpoints_of.get(target.id, ()):
            if item.network in mine:
                for prefix in item.addresses:
                    names = found.setdefault(lease_address(prefix), [])
                    names += [name for name in (link.alias, target.id[:12], target.name) if name not in names]
    return found


def link_variables(name: str, link: ContainerLink, address: str, ports: Ports, given: Mapping[str, str]) -> dict[str, str]:
    """The legacy variables of a link of the container `name`: to `address`, with its ports and the environment that it was given."""
    prefix = link.alias.replace("-", "_").replace(".", "_").upper()
    found = {f"{prefix}_NAME": f"/{name}/{link.alias}"}
    shown = f"[{address}]" if ":" in address else address
    for number, protocol in sorted(set(ports), key=lambda item: (item[1] != "tcp", item[1], item[0])):
        url = f"{protocol}://{shown}:{number}"
        found.setdefault(f"{prefix}_PORT", url)
        key = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found |= {key: url, f"{key}_ADDR": address, f"{key}_PORT": str(number), f"{key}_PROTO": protocol}
    found |= {f"{prefix}_ENV_{key}": value for key, value in given.items() if key not in _NOT_SHARED}
    return found


def shown_ports(container: Container, endpoints: Iterable[Endpoint]) -> list[tuple[int, str]]:
    """The ports that a container exposes or publishes."""
    named = [text.partition("/") for text in container.exposed]
    published = [(port.port, port.protocol) for item in endpoints for port in item.ports]
    return [*((int(number), protocol) for number, _, protocol in named), *published]
