"""What the front does with messages of clients and frames of the core. No sockets: it is given what came and a way to send."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from helperd.admission import Admission
from helperd.frames import (
    CallFrame,
    CancelFrame,
    CountersFrame,
    EndFrame,
    EpochFrame,
    FromCoreRaw,
    FromFront,
    InputFrame,
    QueryFrame,
    RawChanges,
    RawState,
    ReplyFrame,
    StatsFrame,
    SubscribeFrame,
    WatchFrame,
)
from helperd.front_clients import Client, ClientKey, Phase, Subscription
from helperd.front_config import FrontConfig
from helperd.front_outbox import PONG, Outbox, Sent
from helperd.front_roster import Roster
from helperd.roles import Role
from helperd.zap import parse_peer
from protocol.codec import encode
from protocol.errors import BadRequest, Forbidden, Internal, NetdeckError, NotFound, TooMuch, Unavailable
from protocol.messages import (
    VERSION,
    Call,
    Cancel,
    Credit,
    ErrorMessage,
    FromClient,
    Hello,
    Input,
    Ping,
    Subscribe,
    Unsubscribe,
    Watch,
    Welcome,
)
from protocol.strict import Refused, decode_from_client

MAX_ANSWERS = 1_024  # waiting for one client
MADE_BY_ZMQ = 5  # length of a routing id that libzmq made; it begins with a zero byte

_FROM_CORE = msgspec.msgpack.Decoder(FromCoreRaw)
_NOBODY: tuple[Client | None, Subscription | None] = (None, None)


class FrontService:
    """`send` hands one message to a client's connection without waiting; `post` one frame to the core."""

    def __init__(
        self,
        config: FrontConfig,
        post: Callable[[FromFront], None],
        send: Callable[[ClientKey, bytes], Sent],
        admission: Admission,
        show: Callable[[Client], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._limits = config.limits
        self._epoch = config.epoch
        self._post = post
        self._send = send
        self._show = show
        self._clock = clock
        self._roster = Roster(config.limits, config.first_client)
        self._admission = admission
        self.counts: Counter[str] = Counter()
        self.outbox = Outbox(self._roster, config.limits, self.counts, post, send, clock)
        self._handlers: Mapping[type, Callable[[Client, Any], None]] = {
            Hello: self._hello,
            Call: self._call,
            Input: self._input,
            Cancel: self._cancel,
            Subscribe: self._subscribe,
            Unsubscribe: self._unsubscribe,
            Credit: self._credit,
            Watch: self._watch,
            Ping: self._ping,
        }
        self._core_handlers: Mapping[type, Callable[[Any], None]] = {
            ReplyFrame: self._reply,
            RawState: self._state,
            RawChanges: self._changes,
            CountersFrame: self._counters,
            EndFrame: self._end,
            EpochFrame: self._new_epoch,
            QueryFrame: self._query,
        }

    # From clients

    def connections(self) -> set[tuple[int, int]]:
        """The connections of clients: which socket of ours, and the descriptor."""
        return {(client.key[0], client.descriptor) for client in self._roster}

    def on_message(self, key: ClientKey, peer_text: str, descriptor: int, frames: int, body: bytes) -> None:
        """One message: its connection, the peer that ZAP admitted, the number of frames after the routing id, the last of them."""
        self.counts["messages"] += 1
        client = self._client(key, peer_text, descriptor)
        if client is None:
            return
        now = client.seen = self._clock()
        if not client.spend(1 + len(body) / 1024, now, self._limits):
            self._too_fast(client, now)
            return
        try:
            if frames != 1:
                raise Refused(BadRequest(f"a message is one frame, not {frames} (use a DEALER socket)"))
            message = decode_from_client(body)
            try:
                self._dispatch(client, message)
            except NetdeckError as error:
                raise Refused(error, getattr(message, "id", None)) from error
        except Refused as refused:
            self.counts["refused_" + refused.error.code] += 1
            client.tokens -= self._limits.penalty
            if len(client.answers) < MAX_ANSWERS // 4:
                client.refuse(refused.error, refused.id)
            else:
                self.counts["dropped_answers"] += 1
        self.outbox.pump(client)

    def _client(self, key: ClientKey, peer_text: str, descriptor: int) -> Client | None:
        client = self._roster.get(key)
        peer = parse_peer(peer_text)
        if client is not None:
            if client.peer == peer:
                return client
            self.outbox.forget(client)  # the same routing id, another process
        if peer is None or len(key[1]) != MADE_BY_ZMQ or key[1][0] != 0:
            self.counts["refused_routing_id"] += 1
            self._send(key, _error(BadRequest("leave the routing id to ZeroMQ: do not set ZMQ_ROUTING_ID")))
            return None
        try:
            client = self._roster.add(key, peer, descriptor, self._clock())
            if self._show(client):
                return client
            self._roster.remove(client)
            self.counts["refused_unshown"] += 1
            self._send(key, _error(Unavailable("the core could not be shown this connection: connect again")))
            return None
        except TooMuch as error:
            self.counts["refused_clients"] += 1
            self._send(key, _error(error))
            return None

    def _too_fast(self, client: Client, now: float) -> None:
        self.counts["refused_rate"] += 1
        if now - client.warned >= 1.0:
            client.warned = now
            client.refuse(TooMuch("messages come too fast; some were dropped unread", limit=self._limits.rate))
            self.outbox.pump(client)

    def _dispatch(self, client: Client, message: FromClient) -> None:
        if not client.greeted and not isinstance(message, Hello):
            raise BadRequest("say hello first", hello=True)
        try:
            self._handlers[type(message)](client, message)
        except NetdeckError:
            raise
        except Exception as error:
            # A fault of ours must not take the front down with everyone in it.
            self.counts["faults"] += 1
            raise Internal(f"the front failed on a {type(message).__name__} message: {type(error).__name__}") from error

    def _hello(self, client: Client, message: Hello) -> None:
        if message.version != VERSION:
            raise BadRequest(f"version {message.version} is not spoken here", expected=[VERSION])
        role, user = self._admission.role_of(client.peer)
        if role is Role.NONE:
            raise Forbidden(f"user {user or client.peer.uid} has no role here", uid=client.peer.uid)
        client.greeted, client.role, client.name = True, role, message.client
        config = self._config
        welcome = Welcome(
            VERSION, self._epoch, role.word, client.peer.uid, user, config.instance, config.host, config.lab, config.program
        )
        client.answers.append(encode(welcome))

    def _call(self, client: Client, message: Call) -> None:
        if message.id in client.calls:
            # No id in the answer: it would end the call that has it.
            client.refuse(BadRequest(f"id {message.id!r} is in use by another call", call=message.id))
            return
        if len(client.calls) >= self._limits.calls:
            raise TooMuch(f"{len(client.calls)} calls are outstanding", limit=self._limits.calls)
        client.calls.add(message.id)
        self._post(CallFrame(client.caller(), message))

    def _input(self, client: Client, message: Input) -> None:
        if message.id in client.calls:  # else it is over: a race and no fault
            # Its bytes cost nothing: the core's window bounds them, and ends the call of a client that does not keep to it.
            client.tokens += len(message.data or b"") / 1024
            self._post(InputFrame(client.caller(), message))

    def _cancel(self, client: Client, message: Cancel) -> None:
        if message.id in client.calls:
            self._post(CancelFrame(client.caller(), message.id))

    def _subscribe(self, client: Client, message: Subscribe) -> None:
        old = client.subscriptions.get(message.id)
        if old is not None:
            self.outbox.close(client, old)
        made = self._roster.subscribe(client, message)
        interest = (message.topics, message.inodes, message.period, message.links)
        self._post(SubscribeFrame(client.caller(), made.number, *interest))

    def _unsubscribe(self, client: Client, message: Unsubscribe) -> None:
        found = client.subscriptions.get(message.id)
        if found is not None:
            self.outbox.close(client, found)

    def _credit(self, client: Client, message: Credit) -> None:
        found = client.subscriptions.get(message.id)
        if found is not None:
            found.add_credit(message.n)

    def _watch(self, client: Client, message: Watch) -> None:
        found = client.subscriptions.get(message.id)
        if found is None:
            raise NotFound(f"no subscription {message.id!r}", name=message.id)
        self._post(WatchFrame(client.caller(), found.number, message.links, message.period))

    def _ping(self, client: Client, _message: Ping) -> None:
        client.answers.append(PONG)

    # From the core

    def on_core(self, body: bytes) -> None:
        """One frame of the core. Raises msgspec.MsgspecError where it is none."""
        frame = _FROM_CORE.decode(body)
        self._core_handlers[type(frame)](frame)

    def _reply(self, frame: ReplyFrame) -> None:
        client = self._roster.numbered(frame.client)
        if client is None:
            return
        if frame.final:
            client.calls.discard(frame.id)
        if len(client.answers) >= MAX_ANSWERS or client.waiting_bytes() > self._limits.client_bytes:
            self.counts["forgotten_unread"] += 1
            self.outbox.forget(client)
            return
        client.answers.append(frame.body)
        self.outbox.pump(client)

    def _state(self, frame: RawState) -> None:
        client, found = self._roster.subscription(frame.sub) or _NOBODY
        if client is None or found is None or found.phase not in (Phase.WAITING, Phase.LOADING):
            return
        found.snapshot(self._epoch, frame.rows, frame.more)
        if client.waiting_bytes() > self._limits.client_bytes:
            self.outbox.resync(client, found, "the client did not read its snapshot")
        self.outbox.pump(client)

    def _changes(self, frame: RawChanges) -> None:
        for client in self._roster:
            for item in list(client.subscriptions.values()):
                if not item.changes(frame):
                    self.outbox.resync(client, item, "the client fell behind")
            self.outbox.pump(client)

    def _counters(self, frame: CountersFrame) -> None:
        client, found = self._roster.subscription(frame.sub) or _NOBODY
        if client is None or found is None or found.phase is Phase.ENDED:
            return
        found.latest = frame
        self.outbox.pump(client)

    def _end(self, frame: EndFrame) -> None:
        client, found = self._roster.subscription(frame.sub) or _NOBODY
        if client is not None and found is not None:
            found.end(ErrorMessage(found.id, frame.error))
            self.outbox.pump(client)

    def _new_epoch(self, frame: EpochFrame) -> None:
        self._epoch = frame.epoch
        for client in self._roster:
            for item in list(client.subscriptions.values()):
                self.outbox.resync(client, item, "the helper began a new epoch")
            self.outbox.pump(client)

    def _query(self, _frame: QueryFrame) -> None:
        values = dict(self.counts)
        values["refused_users"] = self._admission.refused
        values["clients"] = len(self._roster)
        values["calls"] = sum(len(client.calls) for client in self._roster)
        values["subscriptions"] = self._roster.subscriptions
        values["waiting_bytes"] = sum(client.waiting_bytes() for client in self._roster)
        self._post(StatsFrame(values))


def _error(error: NetdeckError) -> bytes:
    return encode(ErrorMessage(None, {"code": error.code, "message": error.message, "details": error.details}))
