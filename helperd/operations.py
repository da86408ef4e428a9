"""One table: operation → request type, role, handler. And the way of one call through it.

A call is looked up, its role checked, its arguments converted to the operation's struct, and only then handed to its handler.
A call with a key that was carried out before gets the answer of then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from helperd.changes import CALL, CallContext
from helperd.store import Store
from helperd.streams import Stream
from protocol.errors import BadRequest, Cancelled, Forbidden, Internal, NetdeckError
from protocol.names import display_text, suggestion
from protocol.reading import read_request
from protocol.requests import OPERATIONS, ROLES, Request

log = logging.getLogger("netdeck.operations")

Handler = Callable[[Any, CallContext, Stream], Awaitable[Any]]


class Operation(msgspec.Struct, frozen=True):
    """What the table holds of one operation."""

    request: type[Request]
    role: str
    streams: bool
    handler: Handler


def table(handlers: Mapping[str, Handler]) -> dict[str, Operation]:
    """The dispatch table. Raises ValueError unless there is exactly one handler for each operation of the protocol."""
    if set(handlers) != set(OPERATIONS):
        raise ValueError(f"handlers and operations differ: {set(handlers) ^ set(OPERATIONS)}")
    return {name: Operation(request, role, streams, handlers[name])
            for name, (request, role, streams) in OPERATIONS.items()}


def allowed(role: str, least: str) -> bool:
    """True if `role` is `least` or more. An unknown role may nothing."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(least)


class Dispatcher:
    """Carries calls out."""

    def __init__(self, operations: Mapping[str, Operation], store: Store) -> None:
        self._operations = operations
        self._store = store
        self._running: dict[tuple[int, str], tuple[str, asyncio.Future[Any]]] = {}  # (operation, its answer)

    def checked(self, op: str, args: Mapping[str, Any], role: str) -> tuple[Operation, Request]:
        """The operation and its request. Raises BadRequest, Forbidden."""
        operation = self._operations.get(op)
        if operation is None:
            raise BadRequest(f"no operation {display_text(op)!r}{suggestion(op, self._operations)}: known are "
                             + ", ".join(sorted(self._operations)), operation=display_text(op))
        if not allowed(role, operation.role):
            raise Forbidden(f"{op} needs the role {operation.role}, yours is {role}: ask who administers this host to add you "
                            "to the group netdeck or to [roles] in the helper's configuration", needed=operation.role, role=role)
        return operation, read_request(op, args, operation.request)

    async def call(self, op: str, args: Mapping[str, Any], role: str, context: CallContext, stream: Stream,
                   deadline: float | None = None) -> Any:
        """Carry one call out and return its value; raises NetdeckError and nothing else."""
        operation, request = self.checked(op, args, role)
        if context.key and operation.streams:
            raise BadRequest(f"{op} is a streaming call and takes no key", operation=op)
        timer = asyncio.get_running_loop().call_later(deadline, _expire, context, asyncio.current_task(), deadline) \
            if deadline is not None else None
        try:
            if not context.key:
                return await self._run(operation, request, context, stream)
            return await self._once((context.uid, context.key), operation, request, context, stream)
        except asyncio.CancelledError:
            if context.cancelled:
                raise Cancelled(f"{context.op} was given up: {context.cancelled}") from None
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _once(self, mark: tuple[int, str], operation: Operation, request: Request, context: CallContext, stream: Stream) -> Any:
        while (running := self._running.get(mark)) is not None:
            _same_operation(mark[1], running[0], context.op)
            try:
                return await asyncio.shield(running[1])
            except Cancelled:
                continue  # whoever sent it first gave up, this caller did not
        before = self._store.answer(*mark)
        if before is not None:
            _same_operation(mark[1], before[0], context.op)
            return msgspec.msgpack.decode(before[1]) if before[1] else {"carried_out": True, "answer_lost": True}
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._running[mark] = (context.op, future)
        try:
            value = await self._run(operation, request, context, stream)
            self._store.remember(*mark, context.op, msgspec.msgpack.encode(value))
            future.set_result(value)
            return value
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            future.set_exception(error if isinstance(error, NetdeckError) else Cancelled("given up") if cancelled else
                                 Internal(str(error)))
            future.exception()
            raise
        finally:
            del self._running[mark]

    async def _run(self, operation: Operation, request: Request, context: CallContext, stream: Stream) -> Any:
        token = CALL.set(context)
        try:
            return msgspec.to_builtins(await operation.handler(request, context, stream), builtin_types=(bytes,))
        except NetdeckError:
            raise
        except Exception as error:
            log.exception("%s failed", context.op)
            raise Internal(f"{context.op} failed inside netdeck ({type(error).__name__}: {display_text(str(error))}); "
                           "the helper's log has more") from error
        finally:
            with contextlib.suppress(ValueError):
                CALL.reset(token)


def _same_operation(key: str, before: str, now: str) -> None:
    if before != now:
        raise BadRequest(f"key {key!r} was used before for {before}: choose a new key", key=key)


def _expire(context: CallContext, task: asyncio.Task[Any] | None, deadline: float) -> None:
    context.cancelled = f"its deadline of {deadline:g} s passed"
    if task is not None:
        task.cancel()
