"""The small process that stands beside each container of ours, and outlives the helper.

Run as `python -I -S shim.py` with one end of a stream socket pair as descriptor 0. It reads a SPEC frame, forks
process 1 of the container (`inside.py`), keeps its terminal or pipes, reaps it, and speaks the frames of `frames.py` with
the socket pair and whoever connects to `RUN_DIR/shim.sock`. It stays in the host's namespaces itself; only the child
enters the container's. When it dies the kernel kills the container (PR_SET_PDEATHSIG).

Needs SYS_ADMIN, NET_ADMIN, SETUID, SETGID, SETPCAP, CHOWN; KILL and DAC_OVERRIDE for containers of other users.
The standard library alone is imported, and little of it, because one of these runs per container.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

if __name__ == "__main__":
    # Last, so that nothing beside this package can stand in for the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from helperd.containers import frames, inside, syscalls
from helperd.containers.command import NOT_STARTED, Failure, require_mapped
from helperd.containers.outlets import Client, say_goodbye
from helperd.containers.run_dir import OUTPUT, listen_in, write_whole
from helperd.containers.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from helperd.containers.spec import SpecWire

STARTING, READY, GOING, RUNNING, EXITED = range(5)
MAX_CLIENTS = 16
LINGER = 30.0  # seconds that the last output waits for a reader that doesn't read
GOODBYE = 5.0  # seconds that the peers of a container that has ended have to close their connections
SILENCE = 0.2  # seconds of silence after which output still held open by others counts as ended
_SO_PEERCRED_SIZE = 12
_FILES = 1024  # open at once, of a container: what the kernel gives a system (linux/fs.h, INR_OPEN_CUR)


class Shim:
    """One container and its connections; everything happens in `serve`, one poll at a time."""

    def __init__(self, spec: SpecWire, first: Client, listener: socket.socket | None) -> None:
        self.spec = spec
        self.clients = [first]
        self.stdio = Stdio(spec, self.clients)
        self.listener = listener
        self.phase = STARTING
        self.pid = 0
        self.pidfd = -1
        self.control: socket.socket | None = None
        self.greeting: dict[str, object] = {}
        self.exit: bytes = b""
        self.ended = 0.0  # when the silence of a command that has ended began
        self.failure: tuple[str, int] | None = None
        self.deadline = time.monotonic() + spec["go_timeout"]

    # Start ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fork the child. Raises Failure and OSError."""
        spec = self.spec
        require_mapped(spec)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stdio: tuple[int, int, int] | None = None
        if spec["terminal"] is None:
            stdio = self.stdio.make_pipes()
        if spec["exec_in"] is not None:
            inside.enter_pids(spec["exec_in"])
        else:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()  # or the child would not see the shim's end of it close
            inside.main(spec, theirs, stdio)
        theirs.close()
        for fd in stdio or ():
            os.close(fd)
        inside.forget_target()
        self.control = ours
        self.pidfd = os.pidfd_open(self.pid)

    # The loop ---------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run until the container has ended and its last output is with those who wanted it."""
        while not self._finished():
            poll = select.poll()
            for fd, events in self._watched().items():
                poll.register(fd, events)
            self._handle(dict(poll.poll(self._timeout())))
            self._check_time()
            for client in list(self.clients):
                if client.unsent and not client.flush():
                    self._drop(client)
        with contextlib.suppress(OSError):  # the directory may be gone
            write_whole(self.spec["run_dir"], OUTPUT, self.stdio.kept())
        say_goodbye(self.clients, GOODBYE)

    def _watched(self) -> dict[int, int]:
        watched = self.stdio.watched()
        if self.control is not None:
            watched[self.control.fileno()] = select.POLLIN
        if self.phase != EXITED:
            watched[self.pidfd] = select.POLLIN
        if self.listener is not None:
            watched[self.listener.fileno()] = select.POLLIN
        for client in self.clients:
            watched[client.sock.fileno()] = select.POLLIN | (select.POLLOUT if client.unsent else 0)
        return watched

    def _handle(self, ready: dict[int, int]) -> None:
        # Order matters: why the command could not start comes before its exit; connections come last, because a new one
        # may get the descriptor of something closed just now.
        if self.control is not None and self.control.fileno() in ready:
            self._on_control()
        streams = [(fd, events) for fd, events in ready.items() if fd in self.stdio.watched()]
        for fd, events in streams:
            self.stdio.on_ready(fd, events)
        talking = [client for client in self.clients if client.sock.fileno() in ready]
        connecting = self.listener is not None and self.listener.fileno() in ready
        if self.phase != EXITED and self.pidfd in ready:
            self._on_exit()
        for client in talking:
            self._on_client(client)
        if connecting:
            self._on_connect()

    def _timeout(self) -> int | None:
        """Milliseconds until something is to be done although nothing happened; None for never."""
        if self.phase in (STARTING, READY):
            return max(0, int((self.deadline - time.monotonic()) * 1000)) + 1
        return 50 if self.phase == EXITED or self.deadline else None

    def _check_time(self) -> None:
        now = time.monotonic()
        if self.phase in (STARTING, READY):
            if now > self.deadline or not self.clients:
                self._kill(signal.SIGKILL)
                self.deadline = now + LINGER
        elif self.phase == EXITED:
            self.deadline = max(self.deadline, self.stdio.last_output + LINGER)
            if self.stdio.blocked:
                self.ended = now  # what a reader holds up is no silence
            elif now - max(self.ended, self.stdio.last_output) > SILENCE:
                self.stdio.catch_up()  # a reader may have made room since they were polled
                if self.stdio.last_output < now:
                    self.stdio.end_all()
        elif not self.clients and self.listener is None:
            # A command executed for a connection that is gone: hang up, then kill.
            if not self.deadline:
                self.deadline = now + 2
                self._kill(signal.SIGHUP)
            elif now > self.deadline:
                self._kill(signal.SIGKILL)

    def _finished(self) -> bool:
        if self.phase != EXITED:
            return False
        settled = self.stdio.finished and not any(client.unsent for client in self.clients)
        return settled or time.monotonic() > self.deadline

    # Child ------------------------------------------------------------------------------------------------------------

    def _on_control(self) -> None:
        assert self.control is not None
        try:
            packet = inside.receive(self.control)
        except OSError:
            packet = None
        if packet is None:
            self.control.close()
            self.control = None
            if self.phase == GOING and self.failure is None:
                self.phase = RUNNING
                self.deadline = 0.0
                self._tell(frames.STARTED)
            return
        message, fd = packet
        if "error" in message:
            self.failure = (str(message["error"]), int(str(message["code"])))
            return
        if fd is not None:
            self.stdio.take_terminal(fd)
        self.phase = READY
        self._greet_first(message)

    def _greet_first(self, message: dict[str, object]) -> None:
        self.greeting = {
            "id": self.spec["id"],
            "pid": self.pid,
            "starttime": inside.start_time(self.pid),
            "shim_pid": os.getpid(),
            "shim_starttime": inside.start_time("self"),
            "netns": message["netns"],
            "warnings": message["warnings"],
        }
        write_whole(self.spec["run_dir"], "shim.json", json.dumps(self.greeting).encode("ascii"))
        for client in self.clients:
            self._greet(client)

    def _greet(self, client: Client) -> None:
        if self.greeting:
            greeting = {**self.greeting, "started": self.phase >= RUNNING}
            client.send(frames.READY, json.dumps(greeting).encode("ascii"))
        if self.phase == EXITED:
            client.send(frames.EXIT, self.exit)

    def _on_exit(self) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return
        while self.control is not None:
            self._on_control()
        self.stdio.catch_up()  # what it wrote at its very end counts as printed when its exit is told
        code: int | None = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        error = None
        if self.failure is not None:
            error, code = self.failure
        elif self.phase < RUNNING:
            error = "the container ended before its command was started"
        self._set_exit(code, killed_by, error)

    def _set_exit(self, code: int | None, killed_by: int | None, error: str | None) -> None:
        self.phase = EXITED
        self.ended = time.monotonic()
        self.deadline = self.ended + LINGER
        self.stdio.close_input()
        status = {"code": code, "signal": killed_by, "error": error, "time": time.time()}
        self.exit = json.dumps(status).encode("ascii")
        with contextlib.suppress(OSError):  # the directory may be gone, those who are connected are told all the same
            write_whole(self.spec["run_dir"], "exit", self.exit)
        self._tell(frames.EXIT, self.exit)

    def fail(self, message: str) -> None:
        """The container could not be made at all: tell it and be done."""
        self._set_exit(NOT_STARTED, None, message)
        self.stdio.end_all()

    def _kill(self, number: int) -> None:
        if self.phase == EXITED:
            return
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, number)

    # Connections ------------------------------------------------------------------------------------------------------

    def _on_connect(self) -> None:
        assert self.listener is not None
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _SO_PEERCRED_SIZE)
        _, uid, _ = struct.unpack("iII", peer)
        if uid not in (0, os.geteuid()) or len(self.clients) >= MAX_CLIENTS:
            sock.close()
            return
        client = Client(sock)
        self.clients.append(client)
        self._greet(client)

    def _drop(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            client.sock.close()

    def _on_client(self, client: Client) -> None:
        if client not in self.clients or not client.flush():
            self._drop(client)
            return
        try:
            received = client.read()
            for kind, payload in received or ():
                _ON_FRAME[kind](self, client, payload)
        except (ValueError, KeyError, struct.error, IndexError):  # not one of our frames
            received = None
        if received is None:
            self._drop(client)

    def _tell(self, kind: int, payload: bytes = b"") -> None:
        for client in self.clients:
            client.send(kind, payload)

    def on_go(self, _client: Client, _payload: bytes) -> None:
        """GO."""
        if self.phase == READY and self.control is not None:
            self.phase = GOING
            self.deadline = 0.0
            with contextlib.suppress(OSError):
                self.control.send(b"G")

    def on_stdin(self, client: Client, payload: bytes) -> None:
        """STDIN."""
        self.stdio.put(client, payload)

    def on_eof(self, _client: Client, _payload: bytes) -> None:
        """EOF."""
        self.stdio.put_end()

    def on_resize(self, _client: Client, payload: bytes) -> None:
        """RESIZE."""
        self.stdio.resize(*frames.SIZE.unpack(payload))

    def on_signal(self, _client: Client, payload: bytes) -> None:
        """SIGNAL."""
        if payload[0] in signal.valid_signals():
            self._kill(payload[0])

    def on_attach(self, client: Client, payload: bytes) -> None:
        """ATTACH."""
        self.stdio.attach(client, *frames.WANTED.unpack(payload))

    def on_detach(self, client: Client, _payload: bytes) -> None:
        """DETACH."""
        client.attached = False
        client.unacknowledged = 0

    def on_ack(self, client: Client, payload: bytes) -> None:
        """ACK."""
        client.acknowledge(frames.COUNT.unpack(payload)[0])


_ON_FRAME = {
    frames.GO: Shim.on_go,
    frames.STDIN: Shim.on_stdin,
    frames.EOF: Shim.on_eof,
    frames.RESIZE: Shim.on_resize,
    frames.SIGNAL: Shim.on_signal,
    frames.ATTACH: Shim.on_attach,
    frames.DETACH: Shim.on_detach,
    frames.ACK: Shim.on_ack,
}


def _read_spec(sock: socket.socket) -> SpecWire | None:
    buffer = bytearray()
    while data := sock.recv(65536):
        buffer += data
        for kind, payload in frames.decode(buffer):
            if kind == frames.SPEC and not buffer:
                spec: SpecWire = json.loads(payload)
                return spec
            return None
    return None


def main() -> None:
    """Serve one container."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, most), most))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    first = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(0))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1):
        os.dup2(null, fd)
    spec = _read_spec(first)
    if spec is None:
        return
    listener = None
    if spec["run_dir"]:
        try:
            log = os.open(f"{spec['run_dir']}/shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return  # whoever asked for the container has given up meanwhile
        os.dup2(log, 2)
        os.close(log)
        listener = listen_in(spec["run_dir"])
    os.close(null)
    shim = Shim(spec, Client(first), listener)
    try:
        shim.start()
    except Failure as failure:
        shim.fail(failure.message)
    except OSError as error:
        shim.fail(f"cannot make a container: {error.strerror or error}")
    shim.serve()


if __name__ == "__main__":
    main()
