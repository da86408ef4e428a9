"""Who is connected to the front: clients by connection and by number, subscriptions by number, and the numbers themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from helperd.front_clients import Client, ClientKey, Subscription
from helperd.front_config import Limits
from helperd.zap import Peer
from protocol.errors import TooMuch
from protocol.messages import Subscribe


class Roster:
    """`first` starts the numbers, so that they never come again in one core's life."""

    def __init__(self, limits: Limits, first: int) -> None:
        self._limits = limits
        self._clients: dict[ClientKey, Client] = {}
        self._by_number: dict[int, Client] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._client_numbers = itertools.count(first)
        self._subscription_numbers = itertools.count(first)

    def __iter__(self) -> Iterator[Client]:
        """A copy: clients may be removed meanwhile."""
        return iter(list(self._clients.values()))

    def __len__(self) -> int:
        return len(self._clients)

    def get(self, key: ClientKey) -> Client | None:
        """The client of a connection."""
        return self._clients.get(key)

    def numbered(self, number: int) -> Client | None:
        """The client that the core knows by `number`."""
        return self._by_number.get(number)

    def subscription(self, number: int) -> tuple[Client, Subscription] | None:
        """The subscription that the core knows by `number`, and whose it is."""
        found = self._subscriptions.get(number)
        client = None if found is None else self._by_number.get(found.client)
        return None if found is None or client is None else (client, found)

    @property
    def subscriptions(self) -> int:
        """How many are open."""
        return len(self._subscriptions)

    def add(self, key: ClientKey, peer: Peer, descriptor: int, now: float) -> Client:
        """A new client. Raises TooMuch where there are as many as may be, of all users or of this one."""
        of_user = sum(1 for other in self._clients.values() if other.peer.uid == peer.uid)
        if len(self._clients) >= self._limits.clients:
            raise TooMuch("too many clients are connected", limit=self._limits.clients)
        if peer.uid and of_user >= self._limits.clients_of_user:
            raise TooMuch("too many clients of your user are connected", limit=self._limits.clients_of_user)
        client = Client(key, next(self._client_numbers), peer, descriptor, now, self._limits.burst, refilled=now)
        self._clients[key] = self._by_number[client.number] = client
        return client

    def remove(self, client: Client) -> bool:
        """Forget a client with all that is its own. False where that was done before."""
        if self._clients.pop(client.key, None) is None:
            return False
        self._by_number.pop(client.number, None)
        for item in client.subscriptions.values():
            self._subscriptions.pop(item.number, None)
        client.subscriptions.clear()
        client.answers.clear()
        return True

    def subscribe(self, client: Client, message: Subscribe) -> Subscription:
        """A new subscription. Raises TooMuch where the client has as many as it may."""
        if len(client.subscriptions) >= self._limits.subscriptions:
            limit = self._limits.subscriptions
            raise TooMuch(f"{len(client.subscriptions)} subscriptions are open", limit=limit)
        made = Subscription.of(next(self._subscription_numbers), client.number, message)
        client.subscriptions[message.id] = self._subscriptions[made.number] = made
        return made

    def unsubscribe(self, client: Client, item: Subscription) -> None:
        """Forget a subscription."""
        client.subscriptions.pop(item.id, None)
        self._subscriptions.pop(item.number, None)
