"""Network namespaces: naming one safely, and doing something inside one.

A namespace is known by its nsfs inode; a path or a pid only says where to look for it. Opening one therefore always
compares the inode, and a process is held by a pidfd while its namespace is taken, so that a reused pid or a replaced
bind mount ends in `NamespaceGone` and never in somebody else's network.

Work inside a namespace is done by a thread that enters it, calls a function and comes back (0.1 ms). A thread that
could not come back is ended and never used again. File descriptors are held only while needed: an open one, or a
netlink socket opened inside, keeps a dead namespace alive.

Sources: setns(2), namespaces(7), pidfd_open(2), linux/nsfs.h, linux/pidfd.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from protocol.errors import Gone

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # linux/sched.h
NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
PIDFD_GET_NET_NAMESPACE = 0xFF04  # linux/pidfd.h, since 6.11
NETLINK_ROUTE = 0  # linux/netlink.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
SOL_NETLINK = 270  # linux/socket.h
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.setns.restype = ctypes.c_int


class NamespaceGone(Gone):
    """The namespace that was asked for is no longer where it was found; details: `path`, `inode`, `pid`."""

    def __init__(self, ref: NamespaceRef, why: str) -> None:
        super().__init__(f"network namespace {ref.inode} is no longer at {ref.path}: {why}",
                         path=ref.path, inode=ref.inode, pid=ref.pid)


@dataclass(frozen=True, slots=True)
class NamespaceRef:
    """Where a namespace was seen, and which one it was.

    `path` is a bind mount such as `/run/netns/x`, or `/proc/PID/ns/net`; `inode` is the identity (nsfs inode number);
    `pid` is set when the namespace is to be reached through that process, `others` are processes that may be in it when it is
    no longer there.
    """

    path: str
    inode: int
    pid: int | None = None
    others: tuple[int, ...] = ()


def own_inode() -> int:
    """Return the inode of the namespace this process (its main thread) lives in."""
    return os.stat("/proc/self/ns/net").st_ino


def own_namespace() -> NamespaceRef:
    """Return a reference to the namespace this process lives in."""
    return NamespaceRef("/proc/self/ns/net", own_inode())


def identify(path: str) -> NamespaceRef:
    """Return a reference to the namespace bind-mounted at `path`.

    Raises OSError when nothing is there, and `NamespaceGone` when what is there is no network namespace.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        ref = NamespaceRef(path, os.fstat(fd).st_ino)
        _require_network_namespace(fd, ref)
    finally:
        os.close(fd)
    return ref


def identify_process(pid: int) -> NamespaceRef:
    """Return a reference to the namespace of a process. Raises OSError when the process is gone."""
    path = f"/proc/{pid}/ns/net"
    return NamespaceRef(path, os.stat(path).st_ino, pid)


def open_namespace(ref: NamespaceRef) -> int:
    """Return a descriptor of exactly the namespace `ref` names; the caller closes it, soon.

    Raises `NamespaceGone` when the path, the process or the namespace is another one by now, and PermissionError when
    the caller may not look.
    """
    try:
        return _open_way(ref)
    except NamespaceGone:
        for pid in ref.others:
            with contextlib.suppress(NamespaceGone):
                return _open_way(NamespaceRef(f"/proc/{pid}/ns/net", ref.inode, pid))
        raise


def _open_way(ref: NamespaceRef) -> int:
    try:
        fd = _open_by_process(ref, ref.pid) if ref.pid is not None else _open_path(ref.path)
    except PermissionError:
        raise
    except OSError as error:
        raise NamespaceGone(ref, os.strerror(error.errno or 0)) from error
    try:
        _require_network_namespace(fd, ref)
        found = os.fstat(fd).st_ino
        if found != ref.inode:
            raise NamespaceGone(ref, f"namespace {found} is there now")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_path(path: str) -> int:
    # O_NONBLOCK: a FIFO planted at the path must not hang the helper.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _open_by_process(ref: NamespaceRef, pid: int) -> int:
    pidfd = os.pidfd_open(pid)
    try:
        try:
            return int(fcntl.ioctl(pidfd, PIDFD_GET_NET_NAMESPACE))
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL):
                raise
        fd = _open_path(f"/proc/{pid}/ns/net")
        try:
            # The process was there after the path was opened, so the path was this process's.
            signal.pidfd_send_signal(pidfd, 0)
        except BaseException:
            os.close(fd)
            raise
        return fd
    finally:
        os.close(pidfd)


def _require_network_namespace(fd: int, ref: NamespaceRef) -> None:
    try:
        kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError as error:
        raise NamespaceGone(ref, "the file there is not a namespace") from error
    if kind != CLONE_NEWNET:
        raise NamespaceGone(ref, "the namespace there is not a network namespace")


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@contextlib.contextmanager
def _opened(target: NamespaceRef | int) -> Iterator[int]:
    """A descriptor for `target`; one given by the caller stays the caller's."""
    if isinstance(target, int):
        yield target
        return
    fd = open_namespace(target)
    try:
        yield fd
    finally:
        os.close(fd)


class _Visitor(threading.local):
    """Of a `NamespaceThread`: a descriptor of its home, and whether it is there. Of any other thread `home` is -1."""

    home = -1
    away = False
    lost = False


_visitor = _Visitor()


def _visit(target: NamespaceRef | int, function: Callable[[], T]) -> T:
    """Call `function` inside `target` in this thread, which is a `NamespaceThread` at home, and come back."""
    with _opened(target) as fd:
        _setns(fd)
    _visitor.away = True
    try:
        return function()
    finally:
        if _return_home(_visitor.home):
            _visitor.away = False
        else:
            _visitor.lost = True


class _Job(Generic[T]):
    """`wanted` says whether anybody still waits for it, `done` and `failed` tell what became of it."""

    __slots__ = ("done", "failed", "function", "target", "wanted")

    def __init__(
        self,
        target: NamespaceRef | int | None,
        function: Callable[[], T],
        wanted: Callable[[], bool],
        done: Callable[[T], object],
        failed: Callable[[BaseException], object],
    ) -> None:
        self.target = target
        self.function = function
        self.wanted, self.done, self.failed = wanted, done, failed

    def carry_out(self) -> bool:
        """Do the work; return False when the thread could not get back home."""
        if not self.wanted():
            return True
        try:
            result = self.function() if self.target is None else _visit(self.target, self.function)
        except BaseException as error:  # it belongs to whoever waits for it
            self.failed(error)
        else:
            self.done(result)
        return not _visitor.lost


def _return_home(home: int) -> bool:
    try:
        _setns(home)
        return os.stat("/proc/thread-self/ns/net").st_ino == os.fstat(home).st_ino
    except OSError:
        return False


class NamespaceThread:
    """One thread that visits namespaces, one after the other.

    `run` waits for the result, `submit` returns a future, `begin` one of the event loop's, `run_async` is awaited. Functions should
    be short: they queue behind each other. A target of None means the process's own namespace; an int is a descriptor that the caller keeps
    open until the result is there. A function without a target may call `in_namespace`, which then needs no other thread.
    """

    def __init__(self, name: str = "namespaces") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job[object] | None] | None = None

    def submit(self, target: NamespaceRef | int | None, function: Callable[[], T]) -> Future[T]:
        """Queue `function` to run inside `target`."""
        future: Future[T] = Future()
        self._put(_Job(target, function, future.set_running_or_notify_cancel, future.set_result, future.set_exception))
        return future

    def begin(self, target: NamespaceRef | int | None, function: Callable[[], T]) -> asyncio.Future[T]:
        """`submit` for the event loop, in half of the time that it takes to wrap the future of a thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(setter: Callable[[Any], None], value: object) -> None:
            if not future.done():
                setter(value)

        def told(setter: Callable[[Any], None]) -> Callable[[object], None]:
            def tell_loop(value: object) -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(tell, setter, value)

            return tell_loop

        self._put(_Job(target, function, lambda: not future.cancelled(), told(future.set_result), told(future.set_exception)))
        return future

    def _put(self, job: _Job[T]) -> None:
        with self._lock:
            if self._jobs is None:
                self._jobs = queue.SimpleQueue()
                threading.Thread(target=self._serve, args=(self._jobs,), name=self._name, daemon=True).start()
            self._jobs.put(job)  # type: ignore[arg-type]  # the queue is heterogeneous in T

    def run(self, target: NamespaceRef | int | None, function: Callable[[], T]) -> T:
        """Run `function` inside `target` and return what it returns; raises what it raises, or `NamespaceGone`."""
        return self.submit(target, function).result()

    async def run_async(self, target: NamespaceRef | int | None, function: Callable[[], T]) -> T:
        """`run` for the event loop."""
        return await self.begin(target, function)

    def close(self) -> None:
        """End the thread after the work queued so far. A later call starts a new one."""
        with self._lock:
            if self._jobs is not None:
                self._jobs.put(None)
                self._jobs = None

    def _serve(self, jobs: queue.SimpleQueue[_Job[object] | None]) -> None:
        # /proc/self is the main thread, which never leaves the namespace it was started in.
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A thread begins where the one that started it is, which may be one that is lost.
            if not _return_home(home):
                self._refuse(jobs)
                return
            _visitor.home = home
            while (job := jobs.get()) is not None:
                if not job.carry_out():
                    self._abandon(jobs)
                    return
                del job
        finally:
            os.close(home)

    def _refuse(self, jobs: queue.SimpleQueue[_Job[object] | None]) -> None:
        """Fail what is queued; the next call starts anew from its own thread."""
        with self._lock:
            if self._jobs is jobs:
                self._jobs = None
            while not jobs.empty():
                job = jobs.get()
                if job is not None and job.wanted():
                    job.failed(OSError(errno.EPERM, "no thread in the own network namespace could be had"))

    def _abandon(self, jobs: queue.SimpleQueue[_Job[object] | None]) -> None:
        """Hand what is still queued to a new thread, because this one is lost in another namespace."""
        with self._lock:
            if self._jobs is jobs or not jobs.empty():
                threading.Thread(target=self._serve, args=(jobs,), name=self._name, daemon=True).start()


_shared = NamespaceThread()


def _after_fork() -> None:
    """A child has the object and not its thread: it gets one of its own."""
    global _shared
    _shared = NamespaceThread()


os.register_at_fork(after_in_child=_after_fork)


def in_namespace(target: NamespaceRef | int | None, function: Callable[[], T]) -> T:
    """Run `function` inside `target`, and wait for it: in a `NamespaceThread` that is at home by itself, else on the shared one.

    Raises what `function` raises, `NamespaceGone`, and OSError in a thread that could not come back from an earlier visit.
    """
    require_home()
    if _visitor.home < 0 or _visitor.away or target is None:
        return _shared.run(target, function)
    result = _visit(target, function)
    require_home()
    return result


def require_home() -> None:
    """Raise OSError in a `NamespaceThread` that could not come back from a visit: whatever it does now is done elsewhere."""
    if _visitor.lost:
        raise OSError(errno.EPERM, "this thread could not come back to its own network namespace")


async def in_namespace_async(target: NamespaceRef | int | None, function: Callable[[], T]) -> T:
    """`in_namespace` for the event loop."""
    return await _shared.run_async(target, function)


def netlink_socket(
    target: NamespaceRef | int | None = None,
    protocol: int = NETLINK_ROUTE,
    *,
    receive_buffer: int = 0,
    strict: bool = True,
) -> socket.socket:
    """Return a bound raw netlink socket that lives in `target` (None: the own namespace).

    `receive_buffer` in bytes is forced past the system's limit when above 0. `strict` asks the kernel to check dump
    requests and to filter by them. The socket keeps the namespace alive: close it soon.
    Raises `NamespaceGone` and OSError.
    """
    sock = in_namespace(target, lambda: _new_socket(protocol)) if target is not None else _new_socket(protocol)
    try:
        if receive_buffer:
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
            except PermissionError:  # in a user namespace only the system's limit can be had
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        if strict and protocol == NETLINK_ROUTE:
            sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        sock.bind((0, 0))
        sock.connect((0, 0))  # to the kernel: root of a container could send there too, and is refused by this
    except BaseException:
        sock.close()
        raise
    return sock


def _new_socket(protocol: int) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
