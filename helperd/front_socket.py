"""The sockets of the front: ZeroMQ's ROUTER on the helper's listening socket, ZAP, and the pipe to the core, in one loop."""

from __future__ import annotations

import os
import socket
import struct
import time

import msgspec
import zmq
from zmq.utils import z85

from helperd.admission import Admission
from helperd.frames import ReadyFrame
from helperd.front_clients import Client, ClientKey
from helperd.front_config import FrontConfig, TcpAccess
from helperd.front_connections import Connections
from helperd.front_outbox import Sent
from helperd.front_pipe import CorePipe
from helperd.front_service import FrontService
from helperd.showing import show
from helperd.zap import IPC_DOMAIN, TCP_DOMAIN, ZAP_ENDPOINT, Peer, zap_answer
from protocol.messages import MAX_MESSAGE

HANDSHAKE_MS = 3_000
# Seconds, and milliseconds for what is sent and not acknowledged (tcp(7), TCP_USER_TIMEOUT).
KEEPALIVE = ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 15), (zmq.TCP_KEEPALIVE_INTVL, 5), (zmq.TCP_KEEPALIVE_CNT, 3),
             (zmq.TCP_MAXRT, 30_000))
SEND_QUEUE = 32  # messages that libzmq holds for one connection before it says that it is full
RECEIVE_QUEUE = 64
TURN = 64  # messages of clients, and frames of the core, handled before the other side gets a turn
CORE_BACKLOG = 4_194_304  # bytes unsent to the core at which clients must wait
RETRY_MS = 20
TICK_MS = 1_000
SHOW_SECONDS = 1.0  # that the front waits for room to show the core a connection
_EVENT = struct.Struct("=Hi")
_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)  # to combine flags of an enumeration takes longer than to read a frame


class FrontSocket:
    """Everything that libzmq does for the front. `serve` returns only by an exception (CoreGone when the core ends)."""

    def __init__(self, listening: socket.socket, pipe: CorePipe, config: FrontConfig, showing: socket.socket | None) -> None:
        self._pipe = pipe
        self._showing = showing
        self._context = zmq.Context(io_threads=1)
        self._context.max_sockets = 16
        self._admission = Admission(config.roles)
        self._service = FrontService(config, pipe.post, self._send, self._admission, self._show)
        self._keys: dict[bytes, Peer] = {}
        self._zap = self._context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind(ZAP_ENDPOINT)
        self._routers = [self._ipc(listening)]
        if config.tcp is not None:
            self._routers.append(self._tcp(config.tcp))
        self._monitors = [router.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED) for router in self._routers]
        self._connections = Connections(config.limits.connections)

    def _router(self, domain: bytes) -> zmq.Socket[bytes]:
        router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.ZAP_DOMAIN, domain)
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        router.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        router.setsockopt(zmq.SNDHWM, SEND_QUEUE)
        router.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
        router.setsockopt(zmq.LINGER, 0)
        # No heartbeats: libzmq 4.3.5 aborts at one on a connection that ended while the queue was full (timer_event calls out_event,
        # which asserts !_io_error). The kernel tells of the end of a peer, and who says nothing is forgotten.
        return router

    def _ipc(self, listening: socket.socket) -> zmq.Socket[bytes]:
        router = self._router(IPC_DOMAIN)
        # With a listening socket of ours libzmq neither binds nor removes the file.
        router.setsockopt(zmq.USE_FD, listening.fileno())
        router.bind("ipc://" + os.fsdecode(listening.getsockname()))
        return router

    def _tcp(self, access: TcpAccess) -> zmq.Socket[bytes]:
        router = self._router(TCP_DOMAIN)
        for option, value in KEEPALIVE:
            router.setsockopt(option, value)
        router.curve_server = True
        router.curve_publickey = access.public_key.encode("ascii")
        router.curve_secretkey = access.secret_key.encode("ascii")
        for text, uid in access.keys.items():
            self._keys[z85.decode(text.encode("ascii"))] = Peer(uid, uid, 0)
        router.bind(access.endpoint)
        return router

    def _send(self, key: ClientKey, body: bytes) -> Sent:
        try:
            self._routers[key[0]].send_multipart((key[1], body), zmq.DONTWAIT)
        except zmq.Again:
            return Sent.FULL
        except zmq.ZMQError:
            return Sent.GONE
        return Sent.OK

    def _show(self, client: Client) -> bool:
        # Over tcp there is a key in place of a process, which the front alone has checked.
        return client.key[0] != 0 or self._showing is None or show(self._showing, client.number, client.descriptor, client.peer)

    def serve(self) -> None:
        """Serve until the core ends (raises CoreGone)."""
        poller = zmq.Poller()
        for readable in (self._zap, *self._monitors):
            poller.register(readable, _IN)
        self._pipe.post(ReadyFrame(os.getpid()))
        service, outbox = self._service, self._service.outbox
        ticked = retried = time.monotonic()
        while True:
            poller.register(self._pipe.fileno(), _IN | (_OUT if self._pipe.unsent else 0))
            for router in self._routers:
                poller.register(router, 0 if self._pipe.unsent > CORE_BACKLOG else _IN)
            wait = 0 if self._pipe.holds_frame else RETRY_MS if outbox.restless else TICK_MS
            ready = dict(poller.poll(wait))
            self._pipe.flush()
            if self._pipe.holds_frame or ready.get(self._pipe.fileno(), 0) & ~_OUT:
                for body in self._pipe.bodies(TURN):
                    service.on_core(body)
            if self._zap in ready:
                self._authenticate()
            for index, monitor in enumerate(self._monitors):
                if monitor in ready:
                    self._connected(index, monitor)
            for index, router in enumerate(self._routers):
                if router in ready:
                    self._receive(index, router)
            now = time.monotonic()
            if outbox.restless and (now - retried) * 1000 >= RETRY_MS:
                retried = now
                outbox.retry()
            if (now - ticked) * 1000 >= TICK_MS:
                ticked = now
                outbox.tick()

    def _authenticate(self) -> None:
        request = self._zap.recv_multipart()
        self._zap.send_multipart(zap_answer(request, self._admission.admit, self._keys))

    def _connected(self, index: int, monitor: zmq.Socket[bytes]) -> None:
        """What the monitor says: who came and who went."""
        try:
            while True:
                event, descriptor = _EVENT.unpack(monitor.recv_multipart(zmq.DONTWAIT)[0])
                if event == zmq.EVENT_DISCONNECTED:
                    self._connections.closed((index, descriptor))
                    self._service.outbox.on_disconnect(index, descriptor)
                elif (too_many := self._connections.accepted((index, descriptor), self._service.connections)) is not None:
                    self._service.counts["ended_connections"] += 1
                    self._connections.end(too_many)
        except zmq.Again:
            return

    def _receive(self, index: int, router: zmq.Socket[bytes]) -> None:
        for _ in range(TURN):
            try:
                frames = router.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            last = frames[-1]
            try:
                peer = str(last.get("User-Id"))
                descriptor = int(last.get(zmq.SRCFD))
            except (zmq.ZMQError, ValueError, TypeError):
                self._service.counts["refused_peers"] += 1
                continue
            self._service.on_message((index, frames[0].bytes), peer, descriptor, len(frames) - 1, last.bytes)


def read_config(body: bytes) -> FrontConfig:
    """The core's first frame. Raises msgspec.MsgspecError where it is none."""
    return msgspec.msgpack.decode(body, type=FrontConfig)
