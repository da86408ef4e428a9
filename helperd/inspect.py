"""Networks and containers in docker's JSON shape, with ours added. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drivers.host_access import host_link
from drivers.parsed import lies_in
from drivers.vlans import filters
from drivers.vlans import words as vlan_words
from helperd.cut_off import cut_off
from protocol.model import Container, Endpoint, Lease, Network, Port
from protocol.ports import order

_NEVER = 0xFFFFFFFF  # seconds of a lease


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, as docker writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _address(endpoint: Endpoint, version: int) -> str:
    for prefix in endpoint.addresses:
        if ipaddress.ip_interface(prefix).version == version:
            return prefix
    return ""


def _gateway(network: Network, endpoint: Endpoint, version: int) -> str:
    """That of the subnet which its address is in: a network may have several."""
    own = _address(endpoint, version)
    if endpoint.lease is not None and version == 4:
        return endpoint.lease.gateway if own else ""
    return next((item.gateway or "" for item in network.subnets if own and lies_in(own, item.subnet)), "")


def network_document(network: Network, endpoints: Sequence[Endpoint], containers: Mapping[str, Container],
                     notes: Sequence[str] = (), state: str = "ready") -> dict[str, Any]:
    """What ``network inspect`` prints for one network: the keys of docker's engine API, then `Netdeck` with ours."""
    config = []
    for subnet in network.subnets:
        row: dict[str, Any] = {"Subnet": subnet.subnet}
        if subnet.ip_range:
            row["IPRange"] = subnet.ip_range
        if subnet.gateway:
            row["Gateway"] = subnet.gateway
        if subnet.aux:
            row["AuxiliaryAddresses"] = dict(subnet.aux)
        config.append(row)
    members = {}
    for endpoint in endpoints:
        container = containers.get(endpoint.container)
        members[endpoint.container] = {
            "Name": container.ref if container else endpoint.container[:12],
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac,
            "IPv4Address": _address(endpoint, 4),
            "IPv6Address": _address(endpoint, 6),
            "Interface": endpoint.ifname,
            "HostInterface": endpoint.host_link,
            "Aliases": list(endpoint.aliases),
            "Ports": port_bindings(endpoint.ports),
            **({"DHCP": lease_document(endpoint.lease)} if endpoint.lease is not None else {}),
            **({"VLANs": vlan_words(network, endpoint)} if filters(network) else {}),
            **({"Conflicts": conflicts_document(endpoint)} if endpoint.conflicts else {}),
            **_cut_off(network, endpoint, container.ref if container else endpoint.container[:12]),
        }
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": timestamp(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": network.ipv4,
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": network.ipam, "Options": {}, "Config": config},
        "Internal": network.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": members,
        "Options": dict(network.options),
        "Labels": dict(network.labels),
        "Netdeck": {
            "Link": network.link,
            "LinkIsOurs": network.made_link,
            "State": state,
            "HostAccess": {"Link": host_link(network), "Addresses": list(network.host_addresses)} if network.host_addresses else None,
            "Predefined": network.predefined,
            "Owner": network.owner,
            "Notes": list(notes),
            "Problem": network.problem,
        },
    }


def _cut_off(network: Network, endpoint: Endpoint, ref: str) -> dict[str, str]:
    """What cuts the container `ref` off in the network, and what mends it, as the events say it."""
    words = cut_off(network, endpoint.state, f"{ref} is")
    return {"CutOff": words} if words else {}


def conflicts_document(endpoint: Endpoint) -> list[dict[str, str]]:
    """Who else on the site has addresses of an endpoint."""
    return [{"Address": item.address, "MacAddress": item.mac, "Link": item.link, "Since": timestamp(item.since)}
            for item in endpoint.conflicts]


def lease_document(lease: Lease) -> dict[str, Any]:
    """A lease as `inspect` shows it; `State` is ``bound`` or why it is over."""
    def at(seconds: int) -> str:
        return "never" if seconds == _NEVER else timestamp(lease.obtained + seconds)

    return {"State": f"lost: {lease.lost}" if lease.lost else "bound", "Address": lease.prefix, "Server": lease.server,
            "Gateway": lease.gateway, "DNS": list(lease.dns), "Domain": lease.domain, "Obtained": timestamp(lease.obtained),
            "Renew": at(lease.renew), "Rebind": at(lease.rebind), "Expires": at(lease.seconds), "Note": lease.note}


def port_bindings(ports: Iterable[Port], exposed: Iterable[str] = ()) -> dict[str, list[dict[str, str]] | None]:
    """Published ports as docker's API has them: ``{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}``; None stands for one
    that is exposed and not published."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed)
    for port in sorted(ports, key=order):
        name = f"{port.port}/{port.protocol}"
        found[name] = [*(found.get(name) or ()), {"HostIp": port.host, "HostPort": str(port.host_port)}]
    return found


def container_document(container: Container, pairs: Sequence[tuple[Network, Endpoint]], inside: Mapping[str, Any]) -> dict[str, Any]:
    """What ``inspect`` prints for one container. `inside` holds the live links, addresses and routes of its namespace."""
    networks = {}
    for network, endpoint in pairs:
        networks[network.name] = {
            "NetworkID": network.id,
            "EndpointID": endpoint.id,
            "Aliases": list(endpoint.aliases),
            "MacAddress": endpoint.mac,
            "IPAddress": _address(endpoint, 4).partition("/")[0],
            "IPPrefixLen": int(_address(endpoint, 4).partition("/")[2] or 0),
            "GlobalIPv6Address": _address(endpoint, 6).partition("/")[0],
            "GlobalIPv6PrefixLen": int(_address(endpoint, 6).partition("/")[2] or 0),
            "Gateway": _gateway(network, endpoint, 4),
            "IPv6Gateway": _gateway(network, endpoint, 6),
            "Interface": endpoint.ifname,
            "HostInterface": endpoint.host_link,
            **({"DHCP": lease_document(endpoint.lease)} if endpoint.lease is not None else {}),
            **({"VLANs": vlan_words(network, endpoint)} if filters(network) else {}),
            **({"Conflicts": conflicts_document(endpoint)} if endpoint.conflicts else {}),
            **_cut_off(network, endpoint, container.ref),
        }
    running = container.status == "running"
    ports = [port for _, endpoint in pairs for port in endpoint.ports]
    return {
        "Id": container.id,
        "Name": container.name,
        "Created": timestamp(container.created) if container.created else "",
        "Path": container.command[0] if container.command else "",
        "Args": list(container.command[1:]),
        "State": {"Status": container.status, "Running": running, "Pid": container.pid if running else 0,
                  "ExitCode": container.exit_code},
        "Config": {"Hostname": container.hostname, "User": str(container.uid), "Labels": dict(container.labels),
                   "ExposedPorts": {name: {} for name in port_bindings(ports, container.exposed)}},
        "HostConfig": {"NetworkMode": container.mode, "AutoRemove": container.auto_remove,
                       "PortBindings": port_bindings((*ports, *container.waiting)),
                       "Links": [f"/{item.target}:/{container.name}/{item.alias}" for item in container.links]},
        "NetworkSettings": {"SandboxKey": container.path or (f"/proc/{container.pid}/ns/net" if running else ""),
                            "Ports": port_bindings(ports, container.exposed), "Networks": networks},
        "Netdeck": {"Ref": container.ref, "Runtime": container.runtime, "Namespace": container.inode, **inside},
    }
