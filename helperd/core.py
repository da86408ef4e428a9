"""The core process: everything wired together, from start to end."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from drivers.driver import registry
from drivers.objects import NameServer, PortSocket
from helperd.addresses import Addresses
from helperd.bridge_settings import bridge_request
from helperd.calls import Calls
from helperd.changes import CallContext, Changes
from helperd.configuration import Configuration
from helperd.containers_known import KnownContainers, Scanner
from helperd.default_bridge import DefaultBridge, pools_with
from helperd.dhcp.leases import Leases
from helperd.doctor.doctor import Doctor
from helperd.endpoints import Endpoints
from helperd.frames import (
    CallFrame,
    CancelFrame,
    CountersSentFrame,
    FromFront,
    GoneFrame,
    InputFrame,
    SubscribeFrame,
    UnsubscribeFrame,
    WatchFrame,
)
from helperd.front_config import FrontConfig
from helperd.front_process import FrontProcess
from helperd.host_access import HostAccess
from helperd.host_facts import RESOLV_CONF, HostFacts
from helperd.kernel.firewall import Firewall
from helperd.kernel.firewall_watch import FirewallChange
from helperd.kernel.name_sockets import NameSockets
from helperd.kernel.namespaces import NamespaceThread, own_inode
from helperd.kernel.observer import Observer
from helperd.kernel.port_sockets import PortSockets
from helperd.kernel.ruleset import Ruleset
from helperd.kernel.writer import Writer
from helperd.listener import Listener
from helperd.live import Live, namespace_refs
from helperd.logs import Logs
from helperd.names.directory import Directory
from helperd.names.query_log import QueryLog
from helperd.neighbours import Neighbours
from helperd.network_health import NetworkHealth
from helperd.network_state import NetworkStates
from helperd.network_update import NetworkUpdates
from helperd.networks import Networks
from helperd.operations import Dispatcher, Handler, table
from helperd.parent_links import ParentLinks
from helperd.parent_watch import ParentWatch
from helperd.ports import Ports
from helperd.publish import Publisher, Watcher
from helperd.records import Records
from helperd.repair import Repair, left_over, left_uplinks
from helperd.roles import Roles
from helperd.rule_counts import RuleCounts
from helperd.runs import Runs
from helperd.site_probes import SiteProbes
from helperd.store import Store
from helperd.streams import Stream
from helperd.subscriptions import Subscriptions
from helperd.views import Views
from protocol.errors import NetdeckError
from protocol.messages import VERSION

log = logging.getLogger("netdeck.core")
PROGRAM = "netdeck 0.1.0"


def boot_id() -> str:
    """Another one after each start of the machine (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Settings(msgspec.Struct, frozen=True):
    """What the command line and the configuration file of the helper decide."""

    state_dir: Path
    run_dir: Path
    lab: bool = False
    configuration: Configuration = Configuration()
    sysctl_dir: Path | None = None  # where settings of the host are kept for its next boot, None to keep none


class Core:
    """One helper."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self.settings = settings
        self.store = Store(settings.state_dir)
        before = {item.id: item for item in self.store.containers()}
        networks = {item.id: item for item in self.store.networks()}
        self.cut_off = self.store.recover()
        self.records = Records(self.store, registry())
        self.firewall = Firewall()
        self.sockets = PortSockets()
        self.name_sockets = NameSockets(self.store.instance)
        self.writer = Writer(self.firewall, self.sockets, self.name_sockets)
        self.observer = Observer(self.store.instance, self.firewall, self.sockets, self.name_sockets)
        self.changes = Changes(self.store, self.records, self.writer, self.observer)
        self.threads = NamespaceThread("containers")
        self.epoch = f"{int(time.time()):x}-{secrets.token_hex(4)}"
        scanner = Scanner()
        self.known = KnownContainers(self.records, scanner, self.threads, self.name_sockets)
        self.live = Live(lambda: namespace_refs(scanner.scan().values()), self._firewall_changed)
        self.facts = HostFacts(self.live.world, own_inode(), settings.configuration.dns)
        self.repair = Repair(self.changes, self.firewall, self.live.world, left_over(self.cut_off, before),
                             left_uplinks(self.cut_off, networks, self.records))
        self.health = NetworkHealth(self.changes, self.repair, self.live.world)
        bridge, pools = settings.configuration.bridge, pools_with(self.store.instance, settings.configuration.pools)
        self.ruleset = Ruleset()
        self.neighbours = Neighbours(self.changes, self.facts, self.ruleset, self.live.world)
        self.networks = Networks(self.changes, self.facts, self.health, pools, bridge_request(bridge))
        self.default_bridge = DefaultBridge(self.changes, self.facts, bridge, pools)
        self.probes = SiteProbes(self.records, self.live.world)
        self.doctor = Doctor(self.changes, self.facts, self.neighbours, self.repair, self.firewall, self.live.world, self.default_bridge,
                             pools, settings.sysctl_dir, self.probes)
        self.rule_counts = RuleCounts(self.firewall, self.records)
        self.updates = NetworkUpdates(self.changes, self.networks, self.facts)
        self.host_access = HostAccess(self.changes, self.networks, self.facts, self.probes)
        self.ports = Ports(self.changes, self.networks, self.known, self.facts, self.sockets)
        self.leases = Leases(self.changes, self.facts, self.live.world, self.probes)
        self.endpoints = Endpoints(self.changes, self.networks, self.ports, self.known, self.facts, self.leases, self.probes)
        self.addresses = Addresses(self.changes, self.networks, self.endpoints, self.known, self.live, self.probes.conflicts)
        self.publisher = Publisher(self.changes, self.live.world, self.known, self.health)
        self.runs = Runs(self.changes, self.networks, self.endpoints, self.ports, self.known, self.facts, settings.run_dir)
        self.logs = Logs(self.records, self.runs.directory)
        self.parents = ParentWatch(self.changes, self.live.world)
        self.parents.mend = self.changes.needs_repair.set
        self.parents.shown = self.publisher.states_changed
        self.states = NetworkStates(self.changes, self.live.world, self.parents)
        self.states.shown = self.publisher.states_changed
        self.publisher.networks_changed = self.parents.changed
        self.networks.state = self.publisher.state = self.states.of
        self.publisher.with_conflicts = self.probes.conflicts.of
        self.networks.shown_endpoint = self.publisher.shown
        self.probes.conflicts.shown = self.publisher.endpoint
        self.publisher.etc_changed = self.runs.rewrite_etc_files
        self.names = Directory(self.changes, self.name_sockets, self.threads, RESOLV_CONF, settings.configuration.dns)
        self.names.host_changed = self._host_servers_changed
        self.watcher = Watcher(self.changes, self.endpoints, self.known, self.publisher, self.live.world,
                               self.name_sockets)
        self.views = Views(self.records, self.known, self.live, self.publisher.shown)
        roles = Roles.from_config(settings.configuration.roles)
        self.front = FrontProcess(listener, FrontConfig(
            epoch=self.epoch, roles=roles, instance=self.store.instance, host=socket.gethostname(), lab=settings.lab,
            program=PROGRAM), self._frame)
        self.subscriptions = Subscriptions(self.live, self.front, roles)
        self.subscriptions.queries_watched = self.names.watch
        self.names.queries = QueryLog(self.records.containers, self.subscriptions.tell).tell
        self.dispatcher = Dispatcher(table(self._handlers()), self.store)
        self.calls = Calls(self.dispatcher, roles, self.front.post)
        self._takers: Mapping[type, Callable[[Any], None]] = {
            CallFrame: self.calls.start, InputFrame: self.calls.input, CancelFrame: self.calls.cancel,
            SubscribeFrame: self.subscriptions.subscribe, UnsubscribeFrame: self.subscriptions.unsubscribe,
            WatchFrame: self.subscriptions.watch, CountersSentFrame: self.subscriptions.counters_sent, GoneFrame: self._gone,
        }

    def _handlers(self) -> dict[str, Handler]:
        networks, endpoints, runs, views = self.networks, self.endpoints, self.runs, self.views
        return {
            "network.create": networks.create, "network.list": networks.listing, "network.inspect": networks.inspect,
            "network.update": self.updates.update, "network.remove": networks.remove, "network.prune": networks.prune,
            "network.host-access": self.host_access.switch,
            "network.connect": endpoints.connect, "network.disconnect": endpoints.disconnect,
            "container.run": runs.run, "container.exec": runs.execute, "container.logs": self.logs.logs,
            "container.stop": runs.stop, "container.kill": runs.kill, "container.remove": runs.remove, "container.list": views.containers,
            "container.inspect": views.inspect, "port.list": self.ports.listing, "port.publish": self.ports.publish,
            "port.withdraw": self.ports.withdraw, "interface.list": views.interfaces, "event.list": views.events,
            "address.list": self.addresses.listing, "address.release": self.addresses.release,
            "driver.list": views.drivers, "driver.parents": ParentLinks(self.records, self.facts).listing,
            "info": self.info, "doctor.list": self.doctor.listing, "doctor.fix": self.doctor.fix,
            "firewall.rules": self.rule_counts.rules,
        }

    async def start(self) -> None:
        """From the stored state to a helper that answers. Raises NetdeckError where it can't work on this host."""
        await self.live.start()
        await self.known.scan()
        await self.repair.load_firewall()
        await self.runs.reconnect()
        if self.store.flag(f"boot {boot_id()}"):
            # The machine was restarted: numbers of namespaces and processes of before now mean others.
            self.watcher.lost.update(self.records.containers)
        try:
            await self.watcher.look()
        except NetdeckError as error:  # a container of before that can't be released, say: it is tried again and again
            log.warning("looking for containers: %s", error.message)
        async with self.changes.lock:
            # Sockets went with the last process, those of name servers and those that hold ports: to open them again is no repair.
            steps = [step for step in await self.repair.reconcile() if not isinstance(step.object, NameServer | PortSocket)]
        for entry in self.cut_off:
            self.live.world.log("helper", "recovered", entry.kind.replace(".", " "), level="notice",
                                text="a change that was cut off was taken back or finished")
        if steps:
            self.repair.tell(steps)
        made = await self.networks.ensure_predefined()
        self._tell_unusable()
        for text in self.front.listener.warnings:
            self.live.world.log("helper", "unreachable", "socket", text=text, level="warning")
        await self.health.look()
        self.publisher.everything()
        await self.default_bridge.follow(made="bridge" in made)
        await self.neighbours.begin()
        self.live.world.log("helper", "started", PROGRAM, text=f"pid {os.getpid()}")

    def _tell_unusable(self) -> None:
        for driver in self.records.drivers.values():
            if driver.info.problem:
                log.warning("driver %s can't be used: %s", driver.name, driver.info.problem)
                self.live.world.log("helper", "unusable", f"driver {driver.name}", text=driver.info.problem, level="warning")

    async def run(self) -> None:
        """Serve until cancelled."""
        jobs = (self.front, self.subscriptions, self.watcher, self.repair, self.health, self.neighbours, self.rule_counts,
                self.ports, self.names, self.leases, self.probes, self.parents, self.states)
        tasks = [asyncio.create_task(job.run()) for job in jobs]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.stop()

    async def stop(self) -> None:
        """End the process's work; networks and containers stay as they are."""
        await self.calls.close()
        await self.runs.close()
        self.publisher.close()
        self.subscriptions.close()
        await self.live.stop()
        await self.writer.close()
        await self.observer.close()
        await self.firewall.close()
        await self.ruleset.close()
        self.sockets.close()
        await asyncio.to_thread(self.name_sockets.close)
        self.threads.close()
        self.store.close()

    async def _frame(self, frame: FromFront) -> None:
        self.changes.tell()  # whoever asks after an answer asks about what it said
        taker = self._takers.get(type(frame))
        if taker is not None:
            taker(frame)

    def _gone(self, frame: GoneFrame) -> None:
        self.calls.gone(frame.client)
        self.subscriptions.gone(frame)

    def _host_servers_changed(self) -> None:
        for container in self.records.containers.values():
            if container.runtime == "netdeck" and container.status == "running":
                self.runs.rewrite_etc_files(container)

    def _firewall_changed(self, change: FirewallChange) -> None:
        if change.ours:
            self.repair.firewall_changed(change)
        self.neighbours.heard()

    async def info(self, request: Any, call: CallContext, stream: Stream) -> dict[str, Any]:
        """Operation `info`."""
        try:
            front = await self.front.stats()
        except NetdeckError:
            front = {}
        world = self.live.world
        return {
            "program": PROGRAM, "version": VERSION, "instance": self.store.instance, "epoch": self.epoch,
            "host": socket.gethostname(), "lab": self.settings.lab, "pid": os.getpid(), "namespace": own_inode(),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "front": front,
            "names": await self.names.resolver.stats(),
            "networks": len(self.records.networks), "endpoints": len(self.records.endpoints),
            "containers": len(self.records.containers), "links": sum(1 for _ in world.rows("links")),
            "namespaces": sum(1 for _ in world.rows("namespaces")),
        }
