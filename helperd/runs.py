"""Containers of our own: run, exec, stop, remove, and what happens when one ends or the helper comes back."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import secrets
import signal as signals
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from helperd.changes import CALL, CallContext, Changes
from helperd.container_user import account, environment, inside_user
from helperd.containers.endings import discard, kill_all
from helperd.containers.sandbox import ExitStatus, Sandbox, SandboxError, SandboxGone, signal_number
from helperd.containers.spec import ExecTarget, Join, SandboxSpec, Terminal
from helperd.containers_known import NEW, KnownContainers
from helperd.endpoints import Endpoints, Wish
from helperd.etc import etc_files_of, write_etc_files
from helperd.given_names import free_name
from helperd.host_facts import HostFacts
from helperd.joined import joined, joined_name, left_alone, require_still, way_in
from helperd.links import Links
from helperd.names.wishes import name_fields
from helperd.networks import Networks
from helperd.ports import DISCARDED, Ports, exposed_ports, wanted_ports
from helperd.store import Change
from helperd.streaming import pump
from helperd.streams import Stream
from protocol.errors import Conflict, Forbidden, Gone, InUse, InvalidValue, KernelRefused, NetdeckError, NotFound, TooMuch
from protocol.model import SHARES, Container, Endpoint, Network
from protocol.names import DEFAULT_NETWORK, container_name, display_text, label_key
from protocol.ports import PortWish
from protocol.requests import ContainerExec, ContainerKill, ContainerRemove, ContainerRun, ContainerStop

log = logging.getLogger("netdeck.runs")
RETRY_SECONDS = 5.0  # until the end of a container that could not be written down is tried again
# Of one user but root, of containers and of commands in them: each has a process of root's beside it, which no limit of the user's counts.
MAX_OF_USER = 128
_NETWORK_MODES: Mapping[str, Literal["new", "host", "none"]] = {"private": "new", "host": "host", "none": "none"}


class Runs:
    """The operations on containers of ours."""

    def __init__(self, changes: Changes, networks: Networks, endpoints: Endpoints, ports: Ports, known: KnownContainers,
                 facts: HostFacts, run_dir: Path) -> None:
        self._changes, self._records, self._networks = changes, changes.records, networks
        self._endpoints, self._ports, self._known, self._facts = endpoints, ports, known, facts
        self._run_dir = run_dir / "containers"
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._links = Links(self._records, self.directory)
        self._sandboxes: dict[str, Sandbox] = {}
        self._ends: dict[str, asyncio.Event] = {}  # by container: set when its end has been written down
        self._tasks: set[asyncio.Task[None]] = set()
        self._commands: Counter[int] = Counter()  # user → commands of his that run in containers

    def rewrite_etc_files(self, container: Container) -> None:
        """After a change of its endpoints."""
        if self.directory(container.id).is_dir():
            endpoints = self._records.endpoints_of(container=container.id)
            write_etc_files(self.directory(container.id), container, endpoints, self._records.networks, self._facts.resolv_conf(),
                            self._links.hosts(container, endpoints))

    def directory(self, container: str) -> Path:
        return self._run_dir / container[:32]

    # -- run ---------------------------------------------------------------------------------------------------------------

    def _require_room(self, uid: int) -> None:
        """Raises TooMuch where a user runs as much as he may."""
        running = self._commands[uid] + sum(1 for item in self._records.containers.values() if item.uid == uid
                                            and item.runtime == "netdeck" and item.status != "exited")
        if uid != 0 and running >= MAX_OF_USER:
            raise TooMuch(f"{running} containers and commands of yours run, which is the most that a user may have: stop some",
                          limit=MAX_OF_USER)

    def _chosen_networks(self, request: ContainerRun) -> tuple[str, list[Network]]:
        """(mode, networks) that the request asks for."""
        found = [self._records.network("bridge" if name == DEFAULT_NETWORK else name) for name in request.networks or (DEFAULT_NETWORK,)]
        special = [item for item in found if item.driver in ("host", "none")]
        if special and len(found) > 1:
            raise InvalidValue(f"network {special[0].name} goes with no other network", field="networks", value=special[0].name)
        if len({item.id for item in found}) != len(found):
            raise InvalidValue("the same network is named twice", field="networks", value=", ".join(request.networks))
        if (request.publish or request.publish_all) and special and special[0].driver == "none":
            raise InvalidValue(f"on network {special[0].name} no port can be published: nothing leads there", field="publish",
                               value=", ".join(request.publish))
        if not special:
            return "private", found
        if request.ip or request.ip6 or request.mac_address or request.aliases:
            raise InvalidValue(f"on network {special[0].name} there is no address, MAC address or alias to choose",
                               field="networks", value=special[0].name)
        return special[0].driver, []

    def _new_container(self, request: ContainerRun, mode: str, call: CallContext, shared: Container | None) -> Container:
        names = {item.name for item in self._records.containers.values()}
        name = container_name(request.name) if request.name else free_name(names)
        if name in names:
            raise Conflict(f"a container with the name {name} exists already: remove it first, or choose another name",
                           name=name, with_=name)
        for key in request.labels:
            label_key(key)
        ident = secrets.token_hex(32)
        own = socket.gethostname() if mode == "host" else ident[:12]  # on the host's stack with the host's name, as docker does
        if shared is not None and shared.runtime == "netdeck":
            own = shared.hostname
        hostname = container_name(request.hostname) if request.hostname else own
        return Container(id=ident, name=name, ref=name, runtime="netdeck", status="created", created=time.time(),
                         command=tuple(display_text(item) for item in request.command), uid=call.uid, hostname=hostname, mode=mode,
                         auto_remove=request.auto_remove, labels=dict(request.labels), exposed=exposed_ports(request.expose),
                         **name_fields(request, self._records.networks.values()))

    def _wishes(self, request: ContainerRun, networks: list[Network]) -> list[Wish]:
        return [Wish(network, request.ip if first else None, request.ip6 if first else None, request.aliases,
                     request.mac_address if first else None, request.vlans if first else (),
                     request.untagged if first else None) for network, first in
                zip(networks, [True] + [False] * len(networks), strict=False)]

    async def run(self, request: ContainerRun, call: CallContext, stream: Stream) -> Any:
        name = joined_name(request)
        shared = await joined(name, self._known, call) if name else None
        mode, networks = (f"{SHARES}{shared.id}", []) if shared is not None else self._chosen_networks(request)
        container = self._new_container(request, mode, call, shared)
        container = self._links.added(container, request.links, networks)
        wishes = self._wishes(request, networks)
        ports = wanted_ports(request)
        preview: tuple[Endpoint, ...] = ()
        if request.dry_run or (ports and wishes):  # what stands in the way of a port is told before anything is started
            preview, _ = self._endpoints.wanted(container, wishes, NEW, anew=True)
            preview = self._ports.with_ports(preview, ports if wishes else (), container)
        if request.dry_run:
            running = msgspec.structs.replace(container, status="running")
            change = Change("container.run", call.uid, containers=(running,), endpoints=preview)
            async with self._changes.lock:
                told = [text for item in networks for text in await self._networks.health.ready(item, dry_run=True)]
            told += await self._facts.warnings_now(*networks)
            return {"container": container, "warnings": told, "plan": self._networks.plan(change), "dry_run": True}
        self._require_room(call.uid)
        self._changes.store.put(Change("container.create", call.uid, containers=(container,)))
        self._records.apply(Change("container.create", call.uid, containers=(container,)), {})
        try:
            sandbox = await self._start(request, container, call, shared)
            try:
                running, mended = await self._attach(container, sandbox, wishes, ports, call, shared)
                output = sandbox.attach()
                await sandbox.go()
            except BaseException:
                await sandbox.close()
                raise
        except BaseException as error:
            await self._forget_whole(container, call)
            if isinstance(error, SandboxError):
                raise _refused(error) from error
            raise
        self._watch(running, sandbox)
        warnings = [*mended, *await self._facts.warnings_now(*networks), *sandbox.warnings, *self._links.warnings(running, networks),
                    *self._endpoints.vlans_unchosen(running),
                    *([DISCARDED] if mode == "host" and (request.publish or request.publish_all) else ())]
        answer = {"container": running, "warnings": warnings, "dry_run": False}
        if request.detach:
            output.close()
            return answer
        for text in warnings:
            call.progress(f"warning: {text}", 0, 0)
        await pump(sandbox, output, stream)
        if stream.closed:
            return answer
        status = await sandbox.wait()
        await self._settled(container.id)  # whoever is told of the end finds its address free and, with auto_remove, its name
        return {**answer, "exit_code": status.shell_code}

    async def _start(self, request: ContainerRun, container: Container, call: CallContext, shared: Container | None) -> Sandbox:
        directory = self.directory(container.id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._links.keep_environment(container, request.env)
        given = self._links.environment(container, call.uid) | request.env
        files = write_etc_files(directory, container, (), {}, self._facts.resolv_conf())
        if shared is not None and shared.runtime == "netdeck":
            files = etc_files_of(self.directory(shared.id))
        spec = SandboxSpec(id=container.id[:12], run_dir=str(directory), argv=request.command, hostname=container.hostname,
                           **account(call), env=environment(given, call, container.hostname, tty=request.tty),
                           cwd=request.workdir or "/", terminal=Terminal(request.rows, request.columns) if request.tty else None,
                           interactive=request.interactive, rootfs=request.rootfs,
                           network=way_in(shared) if shared is not None else _NETWORK_MODES[container.mode],
                           hosts_file=files.hosts, resolv_file=files.resolv, hostname_file=files.hostname)
        return await Sandbox.start(spec)

    async def _attach(self, container: Container, sandbox: Sandbox, wishes: list[Wish], ports: Sequence[PortWish],
                      call: CallContext, shared: Container | None) -> tuple[Container, list[str]]:
        """Connect the sandbox to its networks and write it down as running, with what had to be mended first."""
        names = tuple(wish.network.name for wish in wishes) or (f"{SHARES}{shared.ref}" if shared is not None else container.mode,)
        async with self._endpoints.ready(container, wishes, NEW) as wishes, self._endpoints.once_asked(container, wishes, NEW):
            for wish in wishes:
                if wish.network.id not in self._records.networks:
                    raise NotFound(f"network {wish.network.name} was removed while the container started", name=wish.network.name)
            mended = [text for wish in wishes for text in await self._networks.health.ready(wish.network)]
            if shared is not None:
                require_still(shared, self._records)
            running = msgspec.structs.replace(
                container, status="running", pid=sandbox.pid, starttime=sandbox.starttime, networks=names, attached=bool(wishes),
                inode=0 if container.mode == "host" or shared is not None else sandbox.netns_inode)
            endpoints, last = self._endpoints.wanted(running, wishes, NEW)
            endpoints = self._ports.with_ports(endpoints, ports if wishes else (), running)
            await self._changes.carry_out(Change("container.run", call.uid, containers=(running,), endpoints=endpoints), last)
        return running, mended

    def _watch(self, container: Container, sandbox: Sandbox) -> None:
        self._sandboxes[container.id] = sandbox
        self._in_background(container.id, self._await_end(container.id, sandbox))

    def _in_background(self, container: str, end: Coroutine[Any, Any, None]) -> None:
        self._ends[container] = asyncio.Event()
        # In a context of its own: its end is no part of the call that started it, which may have been cancelled by then.
        task = asyncio.create_task(end, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_end(self, container: str, sandbox: Sandbox) -> None:
        await self._let_go(container, await sandbox.wait())
        await sandbox.close()

    async def _let_go(self, container: str, status: ExitStatus | None) -> None:
        """Write down the end of a container, sooner or later."""
        try:
            while True:
                if await self._released(container, status):
                    break
                self._ends[container].set()  # who waits for it need not wait for better times
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._ends.pop(container).set()

    async def _released(self, container: str, status: ExitStatus | None) -> bool:
        """Try to write down the end of a container; False where that failed and is to be tried again."""
        try:
            await self.ended(container, status)
        except Exception as error:
            log.error("container %s ended and could not be released: %s", container[:12], error,
                      exc_info=not isinstance(error, NetdeckError))
            self._changes.needs_repair.set()
            return False
        return True

    async def ended(self, ident: str, status: ExitStatus | None) -> None:
        """A container of ours has ended: its endpoints are released, its record says how it ended, or goes."""
        async with self._changes.lock:
            self._sandboxes.pop(ident, None)
            container = self._records.containers.get(ident)
            if container is None:
                return
            if container.auto_remove or container.status == "created":
                await self._changes.carry_out(self._removal(ident, container.uid))
                discard(self.directory(ident))
                return
            code = status.shell_code if status is not None else None
            exited = msgspec.structs.replace(container, status="exited", exit_code=code, pid=0, inode=0, starttime=0, attached=False,
                                             waiting=())
            change = self._removal(ident, container.uid)
            await self._changes.carry_out(msgspec.structs.replace(change, kind="container.exit", drop_containers=(),
                                                                  containers=(exited, *change.containers)))

    def _removal(self, ident: str, uid: int) -> Change:
        """The change that takes a container away with its endpoints."""
        drop = tuple(item.id for item in self._records.endpoints_of(container=ident))
        return Change("container.remove", uid, drop_endpoints=drop, drop_containers=(ident,), containers=left_alone(ident, self._records))

    async def _forget_whole(self, container: Container, call: CallContext) -> None:
        """`_forget` to its end, even if the caller gives up (once more) meanwhile."""
        task = asyncio.create_task(self._forget(container, call), context=contextvars.Context())
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        task.result()

    async def _forget(self, container: Container, call: CallContext) -> None:
        """A start that failed: nothing of it is left."""
        CALL.set(CallContext(uid=call.uid, user=call.user, op=call.op))
        await kill_all(str(self.directory(container.id)))
        async with self._changes.lock:
            if container.id in self._records.containers:
                with contextlib.suppress(NetdeckError):
                    await self._changes.carry_out(self._removal(container.id, call.uid))
        discard(self.directory(container.id))

    # -- exec, stop, remove --------------------------------------------------------------------------------------------------

    async def execute(self, request: ContainerExec, call: CallContext, stream: Stream) -> Any:
        container = await self._known.running(request.container)
        if call.uid not in (0, container.uid) or (container.runtime != "netdeck" and call.uid != 0):
            raise Forbidden(f"container {container.ref} is not yours: only its owner and root run commands in it", name=container.ref)
        self._require_room(call.uid)
        terminal = Terminal(request.rows, request.columns) if request.tty else None
        target: Mapping[str, Any] = {"exec_in": ExecTarget(container.pid, container.starttime)} if container.pid else {
            "network": Join(path=container.path, inode=container.inode)}
        user = inside_user(container, call)
        spec = SandboxSpec(id=container.id[:12], run_dir="", argv=request.command, hostname=container.hostname, **account(user),
                           env=environment(request.env, user, container.hostname, tty=request.tty), terminal=terminal,
                           interactive=request.interactive, **target)
        self._commands[call.uid] += 1
        try:
            sandbox = await Sandbox.start(spec)
            try:
                output = sandbox.attach()
                await sandbox.go()
                await pump(sandbox, output, stream)
                status = await sandbox.wait()
            finally:
                await sandbox.close()
        except SandboxError as error:
            raise _refused(error) from error
        finally:
            self._commands[call.uid] -= 1
        return {"exit_code": status.shell_code}

    def _mine(self, name: str, call: CallContext) -> Container:
        container = self._records.container(name)
        if container is None:
            whose = (": of other runtimes only those that are attached are known here, and they are stopped and removed by their runtime"
                     if ":" in name else ": `netdeck ps -a` lists all")
            raise NotFound(f"no container {display_text(name)!r}{whose}", name=display_text(name))
        if container.runtime != "netdeck":
            raise InvalidValue(f"container {container.ref} belongs to {container.runtime}: stop or remove it there, or take it off "
                               "its networks with `netdeck network disconnect`", field="name", value=container.ref)
        if call.uid not in (0, container.uid):
            raise Forbidden(f"container {container.ref} is not yours: only its owner and root stop or remove it", name=container.ref)
        if container.status == "created" or (container.status == "running" and container.id not in self._ends):
            raise InUse(f"container {container.ref} is being started: wait until it runs", name=container.ref, users=[])
        return container

    async def stop(self, request: ContainerStop, call: CallContext, stream: Stream) -> Any:
        container = self._mine(request.name, call)
        sandbox = self._sandboxes.get(container.id)
        if sandbox is None:
            await self._settled(container.id)
            container = self._records.containers.get(container.id, container)
            return {"container": container, "exit_code": container.exit_code}
        status = await sandbox.stop(request.timeout)
        await self._settled(container.id)
        return {"container": self._records.containers.get(container.id, container), "exit_code": status.shell_code}

    async def kill(self, request: ContainerKill, call: CallContext, stream: Stream) -> Any:
        container = self._mine(request.name, call)
        try:
            number = signal_number(request.signal)
        except ValueError:
            raise InvalidValue(f"no signal is called {display_text(request.signal)!r}: expected a name like TERM or a number",
                               field="signal", value=display_text(request.signal)) from None
        sandbox = self._sandboxes.get(container.id)
        if sandbox is None:
            await self._settled(container.id)
            raise Gone(f"container {container.ref} is not running (it has exited)", name=container.ref)
        sandbox.signal(number)
        if number == signals.SIGKILL:
            await self._settled(container.id)
        return {"container": self._records.containers.get(container.id, container)}

    async def _settled(self, ident: str) -> None:
        """Wait until the end of a container has been written down."""
        end = self._ends.get(ident)
        if end is not None:
            await end.wait()

    async def remove(self, request: ContainerRemove, call: CallContext, stream: Stream) -> Any:
        container = self._mine(request.name, call)
        if container.status == "running":
            if not request.force:
                raise InUse(f"container {container.ref} is running: stop it first, or use rm -f", name=container.ref, users=[])
            sandbox = self._sandboxes.get(container.id)
            if sandbox is not None:
                await sandbox.stop(0)
            await self._settled(container.id)
        async with self._changes.lock:
            if container.id in self._records.containers:
                await self._changes.carry_out(self._removal(container.id, call.uid))
        discard(self.directory(container.id))
        return {"container": container}

    # -- after a restart -----------------------------------------------------------------------------------------------------

    async def reconnect(self) -> None:
        """After a start of the helper: take up what runs, note what has ended, kill what nobody knows."""
        for container in [item for item in self._records.containers.values() if item.runtime == "netdeck"]:
            directory = str(self.directory(container.id))
            if container.status == "running":
                try:
                    self._watch(container, await Sandbox.reconnect(directory))
                except SandboxGone as error:
                    self._in_background(container.id, self._let_go(container.id, error.status))
                    await self._settled(container.id)
            elif container.status == "created":
                await kill_all(directory)
                self._in_background(container.id, self._let_go(container.id, None))
                await self._settled(container.id)
        known = {self.directory(ident).name for ident in self._records.containers}
        for path in self._run_dir.iterdir():
            if path.name not in known:
                await kill_all(str(path))
                discard(path)

    async def close(self) -> None:
        """Leave: the containers run on."""
        for task in self._tasks:
            task.cancel()
        for sandbox in self._sandboxes.values():
            await sandbox.close()


def _refused(error: SandboxError) -> NetdeckError:
    told = KernelRefused(str(error))
    told.details["exit_code"] = error.exit_code
    return told
