"""The calls that run: one task each, their streams, their cancellation, and the answer that each gets exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from helperd.accounts import account
from helperd.changes import CallContext
from helperd.frames import Caller, CallFrame, CancelFrame, FromCore, InputFrame, reply
from helperd.operations import Dispatcher
from helperd.roles import ROOT_UID, Roles
from helperd.streams import Stream
from protocol.errors import Internal, NetdeckError, TooMuch, to_wire
from protocol.messages import CallId, ErrorMessage, Progress, Result
from protocol.requests import STREAMING

log = logging.getLogger("netdeck.calls")
# Of one user but root, over all his connections, those that he has closed among them: what he asked for may still wait its turn.
MAX_CALLS_OF_USER = 512
MAX_BYTES_OF_USER = 16_777_216
BEHIND = 0.001  # seconds after an answer, so that what comes behind it does not hold up those who carry it
# Who watches is told of these behind the answer.
_ANSWER_FIRST = frozenset(("network.connect", "network.disconnect", "port.publish", "port.withdraw"))
Post = Callable[[FromCore], None]


class Running(msgspec.Struct):
    """One call that runs."""

    task: asyncio.Task[None]
    context: CallContext
    stream: Stream
    streams: bool
    size: int


class Calls:
    """Takes calls from the front, gives answers to it."""

    def __init__(self, dispatcher: Dispatcher, roles: Roles, post: Post) -> None:
        self._dispatcher, self._roles, self._post = dispatcher, roles, post
        self._running: dict[tuple[int, CallId], Running] = {}
        self._held: dict[int, tuple[int, int]] = {}  # user → calls that run, bytes of their arguments

    def start(self, frame: CallFrame) -> None:
        caller, call = frame.caller, frame.call
        mark = (caller.client, call.id)
        if mark in self._running:
            self._fail(caller, call.id, TooMuch(f"call id {call.id!r} is still running: choose another id"))
            return
        size = len(msgspec.msgpack.encode(call.args))
        count, held = self._held.get(caller.uid, (0, 0))
        if caller.uid != ROOT_UID and (count >= MAX_CALLS_OF_USER or held + size > MAX_BYTES_OF_USER):
            self._fail(caller, call.id, TooMuch(f"{count} calls of your user run, with {held} bytes of arguments: wait until some have "
                                                "ended", limit=MAX_CALLS_OF_USER))
            return
        self._held[caller.uid] = count + 1, held + size
        stream = Stream(lambda name, data: self._post(reply(caller, Progress(call.id, stream=name, data=data))),
                        lambda size: self._post(reply(caller, Progress(call.id, taken=size))))
        user = account(caller.uid, caller.gid).name
        context = CallContext(uid=caller.uid, gid=caller.gid, pid=caller.pid, user=user, op=call.op, key=call.key,
                              progress=lambda text, step, steps: self._tell(caller, call.id, text, step, steps))
        streams = call.op in STREAMING
        context.behind = [] if call.op in _ANSWER_FIRST else None
        task = asyncio.create_task(self._carry(frame, context, stream))
        self._running[mark] = Running(task, context, stream, streams, size)
        task.add_done_callback(lambda _: self._ended(caller.uid, mark))

    def _ended(self, uid: int, mark: tuple[int, CallId]) -> None:
        count, held = self._held.pop(uid)
        if count > 1:
            self._held[uid] = count - 1, held - self._running[mark].size
        del self._running[mark]

    def _tell(self, caller: Caller, ident: CallId, text: str, step: int, steps: int) -> None:
        # A message for each step of a long plan is more than anybody reads.
        if steps > 20 and step % 20 and step != steps:
            return
        self._post(reply(caller, Progress(ident, text=text, step=step, steps=steps)))

    async def _carry(self, frame: CallFrame, context: CallContext, stream: Stream) -> None:
        caller, call = frame.caller, frame.call
        role = self._roles.role_of(caller.uid, account(caller.uid, caller.gid).groups).word
        try:
            value = await self._dispatcher.call(call.op, call.args, role, context, stream, call.deadline)
            self._post(reply(caller, Result(call.id, value)))
        except NetdeckError as error:
            self._fail(caller, call.id, error)
        except asyncio.CancelledError:
            self._fail(caller, call.id, Internal("the helper is ending"))
            raise
        except Exception as error:
            log.exception("call %s", call.op)
            self._fail(caller, call.id, Internal(f"{call.op}: {type(error).__name__}"))
        finally:
            behind, context.behind = context.behind or (), None
            for function in behind:
                asyncio.get_running_loop().call_later(BEHIND, function)

    def _fail(self, caller: Caller, ident: CallId, error: NetdeckError) -> None:
        self._post(reply(caller, ErrorMessage(ident, to_wire(error))))

    def input(self, frame: InputFrame) -> None:
        running = self._running.get((frame.caller.client, frame.input.id))
        if running is not None and not running.stream.feed(frame.input):
            running.context.cancelled = "it was sent more input than its window"
            running.stream.close()

    def cancel(self, frame: CancelFrame) -> None:
        running = self._running.get((frame.caller.client, frame.id))
        if running is not None:
            running.context.cancelled = "the caller cancelled"
            # Behind the task's first step: one that is cancelled before it never runs, and would give no answer.
            asyncio.get_running_loop().call_soon(running.task.cancel)

    def gone(self, client: int) -> None:
        """The client left: its streams end; changes run on, since they can be looked at later."""
        for (owner, _), running in list(self._running.items()):
            if owner == client and running.streams:
                running.stream.close()

    async def close(self) -> None:
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
