"""The wire with nothing but pyzmq and msgpack, as a script would speak it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import msgpack
import zmq

from tests.waiting import LONGEST_SECONDS


class RawClient:
    """A DEALER that sends maps and receives maps; `send_bytes` sends anything."""

    def __init__(self, path: str, identity: bytes = b"", greet: bool = True, receive_queue: int = 1000) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_queue)
        if identity:
            self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.connect("ipc://" + path)
        if greet:
            self.send({"type": "hello", "version": 1})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(0)

    def send(self, message: Any) -> None:
        self.socket.send(msgpack.packb(message))

    def send_bytes(self, body: bytes) -> None:
        self.socket.send(body)

    def receive_now(self, timeout: float = 0.0) -> Any:
        """The next message, or None."""
        if not self.socket.poll(int(timeout * 1000)):
            return None
        return msgpack.unpackb(self.socket.recv())

    async def receive(self, timeout: float = LONGEST_SECONDS) -> Any:
        """The next message; None where none comes."""
        return await asyncio.to_thread(self.receive_now, timeout)

    async def receive_type(self, kind: str, timeout: float = LONGEST_SECONDS) -> Any:
        """The next message of a type, dropping others."""
        while True:
            message = await self.receive(timeout)
            assert message is not None, f"no {kind} came"
            if message["type"] == kind:
                return message
