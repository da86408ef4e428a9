"""What waits for the front's clients: sent as their connections take it, dropped where they don't read, and who is gone."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable

from helperd.frames import CountersSentFrame, FromFront, GoneFrame, UnsubscribeFrame
from helperd.front_clients import Client, ClientKey, Phase, Subscription
from helperd.front_config import Limits
from helperd.front_roster import Roster
from protocol.codec import encode
from protocol.messages import Pong, Resync

UNGREETED_SECONDS = 10.0
PROBES = 8

PONG = encode(Pong())


class Sent(enum.Enum):
    """How sending went: `FULL` is worth another try, `GONE` is not."""

    OK = "ok"
    FULL = "full"
    GONE = "gone"


class Outbox:
    """`send` hands one message to a client's connection without waiting; `post` one frame to the core."""

    def __init__(self, roster: Roster, limits: Limits, counts: Counter[str], post: Callable[[FromFront], None],
                 send: Callable[[ClientKey, bytes], Sent], clock: Callable[[], float] = time.monotonic) -> None:
        self._roster, self._limits, self.counts = roster, limits, counts
        self._post, self._send, self._clock = post, send, clock
        self._suspects: dict[ClientKey, int] = {}
        self._blocked: set[ClientKey] = set()

    def resync(self, client: Client, item: Subscription, reason: str) -> None:
        """End a subscription whose client has to subscribe again."""
        if item.phase is Phase.ENDED:
            return
        self.counts["resyncs"] += 1
        item.end(Resync(item.id, reason))
        self._post(UnsubscribeFrame(client.number, item.number))

    def close(self, client: Client, item: Subscription) -> None:
        """End a subscription that its client is done with."""
        if item.phase is not Phase.ENDED:
            self._post(UnsubscribeFrame(client.number, item.number))
        self._roster.unsubscribe(client, item)

    def pump(self, client: Client) -> None:
        """Send what may be sent, answers before the rest, until the connection takes no more."""
        while client.answers:
            if not self._sent(client, client.answers[0]):
                return
            client.answers.popleft()
        for item in list(client.subscriptions.values()):
            while (body := item.next()) is not None:
                if not self._sent(client, body):
                    return
                if item.sent():
                    self._post(CountersSentFrame(client.number, item.number))
            if item.phase is Phase.ENDED:
                self._roster.unsubscribe(client, item)
        self._blocked.discard(client.key)

    def _sent(self, client: Client, body: bytes) -> bool:
        result = self._send(client.key, body)
        if result is Sent.FULL:
            self._blocked.add(client.key)
        elif result is Sent.GONE:
            self.forget(client)
        return result is Sent.OK

    def forget(self, client: Client) -> None:
        """The client is gone, or must be treated so."""
        if not self._roster.remove(client):
            return
        self._blocked.discard(client.key)
        self._suspects.pop(client.key, None)
        self._post(GoneFrame(client.number))

    def on_disconnect(self, socket: int, descriptor: int) -> None:
        """libzmq closed a connection. Its number may be in use again already, so whose it was is found out by `probe`."""
        for client in self._roster:
            if client.key[0] == socket and client.descriptor == descriptor:
                self._suspects[client.key] = PROBES

    @property
    def restless(self) -> bool:
        """Whether `retry` has something to do soon."""
        return bool(self._blocked or self._suspects)

    def retry(self) -> None:
        """Try again what could not be sent, and whether clients that may be gone are."""
        for key in list(self._blocked):
            client = self._roster.get(key)
            if client is not None:
                self.pump(client)
        for key, left in list(self._suspects.items()):
            client = self._roster.get(key)
            if client is not None and self._send(key, PONG) is Sent.GONE:
                self.forget(client)
            elif client is not None and left > 1:
                self._suspects[key] = left - 1
            else:
                del self._suspects[key]

    def tick(self) -> None:
        """Once a second: forget the silent, and hold the sum of what waits within its limit."""
        now = self._clock()
        total = 0
        waiting: list[tuple[int, Client]] = []
        for client in self._roster:
            silence = self._limits.silence if client.greeted else UNGREETED_SECONDS
            if now - client.seen > silence:
                self.counts["forgotten_silent"] += 1
                self.forget(client)
                continue
            size = client.waiting_bytes()
            total += size
            waiting.append((size, client))
        for size, client in sorted(waiting, key=lambda pair: -pair[0]):
            if total <= self._limits.total_bytes:
                break
            for item in list(client.subscriptions.values()):
                self.resync(client, item, "too much was waiting for the client")
            total -= size
            self.pump(client)
