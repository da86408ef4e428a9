"""The core's hold on the relay: started when the first port needs it, started anew when it ends, told what it serves."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import subprocess
import sys
import threading
from typing import NamedTuple

from drivers.objects import PortSocket
from helperd.child_process import child_environment

RESTART_SECONDS = 0.5
PATIENCE = 5.0  # seconds that a relay may take to read what it is told
ROOM = 8 << 20  # bytes that may be on the way to it: all ports, while it starts
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h
_log = logging.getLogger("netdeck.relay")


class _Served(NamedTuple):
    number: int
    item: PortSocket
    sock: socket.socket


class RelayProcess:
    """Called from the writer's thread and from one of its own; a lock keeps them apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: socket.socket | None = None
        self._served: dict[tuple[str, ...], _Served] = {}
        self._numbers = 0

    @property
    def pid(self) -> int:
        """Of the process, 0 while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    def serve(self, item: PortSocket, sock: socket.socket) -> None:
        """Carry what comes to `sock` to the target of `item`; in the place of what was served with its key before. Raises OSError where
        no relay can be started: nothing is served with that key then."""
        with self._lock:
            known = self._served.get(item.key)
            if known is None:
                self._numbers += 1
            served = _Served(known.number if known else self._numbers, item, sock)
            self._served[item.key] = served
            if self._process is None:
                try:
                    self._start()
                except BaseException:
                    del self._served[item.key]
                    raise
            else:
                self._tell(served)

    def end(self, item: PortSocket) -> None:
        """Serve it no more; when this returns, the relay has let go of the socket."""
        with self._lock:
            served = self._served.pop(item.key, None)
            if served is None or self._pipe is None or self._process is None:
                return
            message = json.dumps({"number": served.number}).encode()
            try:
                self._pipe.send(message)
                while (answer := self._pipe.recv(4096)) != message:
                    if not answer:
                        return
            except TimeoutError:
                self._process.kill()  # and with it goes the socket; another is started for the others
                self._process.wait()
            except OSError:
                return  # it has ended

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._pipe is not None:
                self._pipe.close()
                self._pipe = None
            process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
            process.wait()

    def _tell(self, served: _Served) -> None:
        if self._pipe is None:
            return
        message = {"number": served.number, "protocol": served.item.protocol, "target": [served.item.target, served.item.target_port],
                   "loopback": not served.item.crosses}
        try:
            socket.send_fds(self._pipe, [json.dumps(message).encode()], [served.sock.fileno()])
        except TimeoutError:
            if self._process is not None:
                self._process.kill()
        except OSError:
            pass  # it has ended: the next one is told of everything

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(PATIENCE)
        with contextlib.suppress(PermissionError):
            ours.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, ROOM)
        with contextlib.ExitStack() as failed:
            failed.enter_context(ours)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-s", "-m", "helperd.relay", "--core-fd", str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=child_environment(),
                    start_new_session=True)
            failed.callback(process.wait)
            failed.callback(process.kill)
            try:
                threading.Thread(target=self._watch, args=(process,), name="relay", daemon=True).start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, "no thread can be started") from error
            failed.pop_all()
        self._process, self._pipe = process, ours
        for served in self._served.values():
            self._tell(served)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        failed = False
        with self._lock:
            if self._process is not process:  # it was closed
                return
        _log.warning("the relay ended (status %d); another starts in %.1f s", status, RESTART_SECONDS)
        while True:
            threading.Event().wait(RESTART_SECONDS)
            with self._lock:
                if self._process is not process:
                    return
                if self._pipe is not None:
                    self._pipe.close()
                if not self._served:
                    self._process = self._pipe = None
                    return
                try:
                    self._start()
                    return
                except OSError as error:
                    if not failed:
                        _log.error("the relay can't be started, which is tried again and again: %s", error)
                    failed = True
