"""The keys of the configuration file that are about the default network `bridge`: the request that they make, and their check.
Pure: the host is not looked at."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from drivers.driver import HostView, builtin, parse_options
from helperd.subnets import HostRanges, check_subnets
from protocol.errors import InvalidValue, NetdeckError
from protocol.model import Network
from protocol.requests import NetworkCreate, SubnetRequest

NAME = "bridge"
OPTIONS = {"mtu": "mtu", "icc": "icc", "ip-masq": "masquerade"}  # key → option of the driver
_GATEWAY = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}
_WHAT = re.compile(r"\A(?:gateway|ip-range|aux-address \w+) (?=[0-9a-f])")  # what a key's value is to a network: the key is named
_KEYS = {4: ("bip", "fixed-cidr", "default-gateway"), 6: ("bip6", "fixed-cidr-v6", "default-gateway-v6")}


class BridgeSettings(msgspec.Struct, frozen=True):
    """The keys of the file that are about the default bridge; None and "" where they are left out."""

    bip: str = ""
    bip6: str = ""
    fixed_cidr: str = ""
    fixed_cidr_v6: str = ""
    ipv6: bool | None = None
    default_gateway: str = ""
    default_gateway_v6: str = ""
    mtu: int | None = None
    icc: bool | None = None
    ip_masq: bool | None = None

    def get(self, key: str) -> str:
        """A key by its name in the file, as text; "" where it is left out."""
        value = getattr(self, key.replace("-", "_"))
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    @property
    def wants_ipv6(self) -> bool:
        return self.ipv6 if self.ipv6 is not None else any(self.get(key) for key in _KEYS[6])


def rests_on(key: str) -> tuple[str, ...]:
    """The keys that are looked at together with `key`."""
    return next((keys for keys in _KEYS.values() if key in keys), (key,))


def subnet_request(settings: BridgeSettings, family: int) -> SubnetRequest | None:
    """The subnet of a family that the settings name, None where they name none."""
    bip, fixed, gateway = (settings.get(key) for key in _KEYS[family])
    if not bip:
        return SubnetRequest(subnet=fixed, aux={_GATEWAY[family]: gateway} if gateway else {}) if fixed else None
    interface = ipaddress.ip_interface(bip)
    return SubnetRequest(subnet=str(interface.network), gateway=str(interface.ip), ip_range=fixed or None,
                         aux={_GATEWAY[family]: gateway} if gateway and gateway != str(interface.ip) else {})


def bridge_request(settings: BridgeSettings) -> NetworkCreate:
    """The request that makes the network."""
    requests = [subnet_request(settings, family) for family in ((4, 6) if settings.wants_ipv6 else (4,))]
    options = {option: settings.get(key) for key, option in OPTIONS.items() if settings.get(key)}
    return NetworkCreate(name=NAME, driver="bridge", subnets=tuple(item for item in requests if item is not None), options=options,
                         ipv6=settings.wants_ipv6)


def check_bridge(settings: BridgeSettings) -> Iterator[tuple[str, str]]:
    """(key, what is wrong), for all that can be seen without the host. The values have their form. Pure."""
    driver = builtin()["bridge"]
    for key, option in OPTIONS.items():
        if settings.get(key):
            try:
                parse_options(driver.info, {option: settings.get(key)})
            except InvalidValue as error:
                yield key, error.message
    yield from _check_family(settings, 4)
    yield from _check_family(settings, 6)
    if settings.ipv6 is False:
        yield from ((key, "is for IPv6, which ipv6 = false switches off: leave out one of the two") for key in _KEYS[6]
                    if settings.get(key))
    elif settings.wants_ipv6 and settings.mtu is not None:
        network = Network(id="0" * 64, name=NAME, driver="bridge", created=0.0, ipv6=True, options={"mtu": str(settings.mtu)},
                          predefined=True)
        try:
            driver.check(network, HostView(instance=""), ())
        except InvalidValue as error:
            yield "mtu", error.message


def _check_family(settings: BridgeSettings, family: int) -> Iterator[tuple[str, str]]:
    """Each key with those that it rests on, so that each is told by itself."""
    bip, fixed, gateway = _KEYS[family]
    for key in (bip, fixed, gateway):
        text = settings.get(key)
        if text and ipaddress.ip_interface(text).version != family:
            yield key, f"{text} is IPv{10 - family}, expected IPv{family}"
            return
    if settings.get(gateway) and not settings.get(bip) and not settings.get(fixed):
        yield gateway, f"{settings.get(gateway)} has no subnet: give {bip} or {fixed}"
        return
    interface = ipaddress.ip_interface(settings.get(bip)) if settings.get(bip) else None
    if interface is not None and interface.ip == interface.network.network_address and interface.network.num_addresses > 2:
        yield bip, (f"{settings.get(bip)} is the network address of its subnet, expected the address of the bridge in it, like "
                    f"{interface.network[1]}/{interface.network.prefixlen}")
        return
    told = False
    for key, others in ((bip, (fixed, gateway)), (fixed, (gateway,)), (gateway, ())):
        if told or not settings.get(key):
            continue
        kept = msgspec.structs.replace(settings, **{other.replace("-", "_"): "" for other in others})
        request = subnet_request(kept, family)
        assert request is not None
        try:
            check_subnets(NAME, (request,), ipv4=family == 4, ipv6=family == 6, networks=(), host=HostRanges(), pools={})
        except NetdeckError as error:
            told = key == bip  # the others rest on it
            yield key, _WHAT.sub("", error.message)
