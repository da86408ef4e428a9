"""Drivers of other packages: loaded with suspicion, and what stands for one that can't be used.

A package that is broken must not keep the helper from its work, nor cost anybody a network. Its networks stay stored and are shown
with the reason; nothing is made or taken away for them, and what the host forwards to and from their links is dropped, since
which rules they had is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint

from drivers.driver import Driver, HostView
from drivers.objects import HOST, AnyObject, Chain, Jump, Match, Object, Rule
from protocol.errors import Unavailable
from protocol.model import DriverInfo, Endpoint, Network
from protocol.names import display_text

METHODS = ("check", "network_objects", "check_endpoint", "endpoint_objects", "default_routes")
_WORDS = 300  # characters of a reason: it is shown in a line


class UnusableDriver:
    """Has the interface of a driver and refuses all that is new. `reason` says why, in words."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        self.info = DriverInfo(name=name, help="can't be used", subnets=False, creatable=False, internal=False, problem=reason)

    def refusal(self) -> Unavailable:
        """The error of whatever is asked of it."""
        return Unavailable(f"driver {self.name} can't be used: {self.reason}. Mend or remove its package, and start the helper again",
                           name=self.name, reason=self.reason)

    def check(self, network: Network, host: HostView, others: Sequence[Network]) -> Network:
        """Raises Unavailable."""
        raise self.refusal()

    def network_objects(self, network: Network, instance: str) -> tuple[AnyObject, ...]:
        """Nothing but what closes the network's own link."""
        if not network.link or not network.made_link:
            return ()
        name = f"closed-{network.link}"
        inside = (Match("iifname", (network.link,)), Match("oifname", (network.link,)))
        rules = (Rule(inside, "accept", f"{network.name}: what stays on its link"),
                 Rule((), "drop", f"{network.name}: its driver {self.name} can't be used"))
        return (Chain(HOST, name, rules), Jump(HOST, "forward-to", network.link, name),
                Jump(HOST, "forward-from", network.link, name))

    def check_endpoint(self, network: Network, endpoint: Endpoint, others: Sequence[Endpoint]) -> Endpoint:
        """Raises Unavailable."""
        raise self.refusal()

    def endpoint_objects(self, network: Network, endpoint: Endpoint, instance: str) -> tuple[AnyObject, ...]:
        """Nothing: what is there stays."""
        return ()

    def default_routes(self, network: Network, endpoint: Endpoint) -> tuple[AnyObject, ...]:
        """None."""
        return ()


def require_usable(driver: Driver) -> None:
    """Raises Unavailable, with the reason, where `driver` stands for one that can't be used."""
    if isinstance(driver, UnusableDriver):
        raise driver.refusal()


def problem(drivers: Mapping[str, Driver], name: str) -> str:
    """Why the driver `name` can't be used, "" where it can."""
    driver = drivers.get(name)
    return driver.reason if isinstance(driver, UnusableDriver) else ""


def load(entry: EntryPoint, taken: Iterable[str]) -> Driver:
    """The driver of an entry point; whatever is wrong with it, there comes one out."""
    name = entry.name
    shown = display_text(entry.value)
    if name in taken:
        return UnusableDriver(shown, f"the name {display_text(name)!r} is that of another driver")
    try:
        driver: Driver = entry.load()
        fault = _fault(driver, name)
        if not fault:
            return driver
    except (Exception, SystemExit) as error:
        fault = _words(error)
    return UnusableDriver(name, f"{fault} (package {shown})")


def _fault(driver: object, name: str) -> str:
    """What `driver` lacks of the interface, "" where nothing."""
    info = getattr(driver, "info", None)
    if not isinstance(info, DriverInfo):
        return "its info is not a protocol.model.DriverInfo"
    if getattr(driver, "name", None) != name or info.name != name:
        return f"it calls itself {display_text(str(info.name))!r} and is registered as {display_text(name)!r}"
    lacking = [method for method in METHODS if not callable(getattr(driver, method, None))]
    return f"it has no {', '.join(lacking)}" if lacking else ""


def _words(error: BaseException) -> str:
    return display_text(f"{type(error).__name__}: {error}")[:_WORDS]


def settle(drivers: Mapping[str, Driver], trusted: Iterable[str], networks: Iterable[Network],
           endpoints: Iterable[Endpoint], instance: str) -> dict[str, Driver]:
    """`drivers` with one for each stored network: where its package is gone, or fails at what is stored, one that can't be used.

    Drivers named in `trusted` are not asked.
    """
    found = dict(drivers)
    trusted = frozenset(trusted)
    attached: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        attached.setdefault(endpoint.network, []).append(endpoint)
    for network in networks:
        driver = found.get(network.driver)
        if driver is None:
            found[network.driver] = UnusableDriver(network.driver, "no package that is installed has it")
        elif network.driver not in trusted:
            try:
                _ask(driver, network, attached.get(network.id, ()), instance)
            except (Exception, SystemExit) as error:
                found[network.driver] = UnusableDriver(network.driver, f"it fails at network {network.name}: {_words(error)}")
    return found


def _ask(driver: Driver, network: Network, endpoints: Iterable[Endpoint], instance: str) -> None:
    objects: list[object] = [*driver.network_objects(network, instance)]
    for endpoint in endpoints:
        objects += driver.endpoint_objects(network, endpoint, instance)
        objects += driver.default_routes(network, endpoint)
    strange = [item for item in objects if not isinstance(item, Object)]
    if strange:
        raise TypeError(f"it gave {type(strange[0]).__name__}, which is no kernel object")
