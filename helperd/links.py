"""Links of our own containers: what `run` and the files of containers need of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from helperd.container_links import link_hosts, link_variables, shown_ports, wanted_links
from helperd.records import Records
from helperd.store import Change, lease_address
from protocol.errors import InvalidValue
from protocol.model import Container, Endpoint, Network

_GIVEN = "given-env.json"  # in a container's directory, for root alone: its environment may hold secrets


class Links:
    """Reads the records. `directory` is where a container's files are."""

    def __init__(self, records: Records, directory: Callable[[str], Path]) -> None:
        self._records, self._directory = records, directory

    def added(self, container: Container, texts: Sequence[str], networks: Sequence[Network]) -> Container:
        """`container` with the links that are asked for. Raises what is wrong with them."""
        if not texts:
            return container
        if not networks:
            raise InvalidValue(f"on network {container.mode} there are no links: no other container is there", field="links",
                               value=texts[0])
        containers = self._records.containers.values()
        links = wanted_links(texts, container.name, networks, containers, self._endpoints(item.id for item in containers))
        return msgspec.structs.replace(container, links=links)

    def hosts(self, container: Container, endpoints: Sequence[Endpoint]) -> dict[str, list[str]]:
        """Address → names that the container's links give."""
        if not container.links:
            return {}
        targets = self._targets(container)
        return link_hosts(container, endpoints, targets, self._endpoints(item.id for item in targets.values()))

    def keep_environment(self, container: Container, given: Mapping[str, str]) -> None:
        """Keep what `container` was given with -e, for those that will be linked to it."""
        path = self._directory(container.id) / _GIVEN
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(dict(given), file)

    def environment(self, container: Container, uid: int) -> dict[str, str]:
        """The legacy variables of the links on the default bridge. What another user's container was given stays with it."""
        found: dict[str, str] = {}
        targets = self._targets(container)
        for link in container.links:
            target = targets.get(link.target)
            if target is None:
                continue
            endpoints = self._records.endpoints_of(container=target.id)
            item = next((item for item in endpoints if self._records.networks[item.network].predefined), None)
            if item is not None and item.addresses:
                given = self._given(target) if uid in (0, target.uid) else {}
                found |= link_variables(container.name, link, lease_address(item.addresses[0]), shown_ports(target, endpoints), given)
        return found

    def _given(self, target: Container) -> dict[str, str]:
        try:
            text = (self._directory(target.id) / _GIVEN).read_text(encoding="utf-8", errors="surrogateescape")
            return msgspec.json.decode(text, type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}

    def warnings(self, container: Container, networks: Sequence[Network]) -> list[str]:
        """Where containers may not talk to each other: a link opens what the other exposes on the default bridge, elsewhere nothing."""
        shut = [item for item in networks if item.options.get("icc") == "false"]
        if not shut:
            return []
        if not any(item.predefined for item in shut):
            return [f"icc is off on network {shut[0].name}: the link names {link.target}, but no packet passes between the two there"
                    for link in container.links]
        targets = self._targets(container).values()
        bare = [item.name for item in targets if not shown_ports(item, self._records.endpoints_of(container=item.id))]
        return [f"icc is off and {name} exposes no port: the link opens nothing until one is published, or {name} is started with --expose"
                for name in sorted(bare)]

    def _targets(self, container: Container) -> dict[str, Container]:
        names = {link.target for link in container.links}
        return {item.name: item for item in self._records.containers.values() if item.name in names and item.runtime == "netdeck"}

    def _endpoints(self, idents: Iterable[str]) -> dict[str, list[Endpoint]]:
        return {ident: self._records.endpoints_of(container=ident) for ident in list(idents)}


class Linkers:
    """Who is linked to whom, so that a change of one reaches the files of the others without a look at all."""

    def __init__(self, records: Records) -> None:
        self._of: dict[str, set[str]] = {}  # name of a container → ids of those linked to it
        self._names: dict[str, str] = {}  # id → name, of all that there are: a change that drops one says only its id
        for item in records.containers.values():
            self._note(item)

    def _note(self, container: Container) -> None:
        if container.runtime == "netdeck":
            self._names[container.id] = container.name
            for link in container.links:
                self._of.setdefault(link.target, set()).add(container.id)

    def changed(self, change: Change, records: Records) -> set[str]:
        """Take in a committed change; the ids of running containers whose links lead to one that it is about."""
        for item in change.containers:
            self._note(item)
        touched = {*change.drop_containers, *(item.id for item in change.containers), *(item.container for item in change.endpoints)}
        names = {self._names[ident] for ident in touched if ident in self._names}
        for ident in change.drop_containers:
            self._names.pop(ident, None)
            for linkers in self._of.values() if self._of else ():
                linkers.discard(ident)
        return {ident for name in names for ident in self._of.get(name, ()) if ident in records.containers}
