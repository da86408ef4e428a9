"""Who is carried by the relay, and who gives way: so many of one port, so many of all, and no port lives at another's expense. Pure;
standard library only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Room(Generic[Item]):
    """At most `most` items, `of_one` of them of one port. Where a port is full, its longest idle item gives way, once it has been
    idle for `stale` seconds; where all is full, one of the port that has the most, as long as it has more than the one that asks."""

    def __init__(self, most: int, of_one: int, stale: float, let_go: Callable[[Item], None]) -> None:
        self.most, self.of_one, self.stale = most, of_one, stale
        self._let_go = let_go  # called of an item that gives way, when it is out already
        self._ports: dict[int, OrderedDict[Item, float]] = {}  # longest idle first, with when it was used last
        self._count = 0

    def enter(self, port: int, item: Item, now: float) -> bool:
        """Whether there is room for one more, perhaps in the place of another."""
        own: OrderedDict[Item, float] = self._ports.get(port, OrderedDict())
        if self._count >= self.most:
            largest = max(self._ports, key=lambda number: len(self._ports[number]))
            if len(self._ports[largest]) > len(own) + 1:
                self._give_way(largest)
        if len(own) >= self.of_one or self._count >= self.most:
            if not own or now - next(iter(own.values())) < self.stale:
                return False
            self._give_way(port)
        self._ports.setdefault(port, OrderedDict())[item] = now
        self._count += 1
        return True

    def used(self, port: int, item: Item, now: float) -> None:
        """It carried something."""
        own = self._ports.get(port)
        if own is not None and item in own:
            own[item] = now
            own.move_to_end(item)

    def leave(self, port: int, item: Item) -> None:
        """It is over; one that gave way is out already."""
        own = self._ports.get(port)
        if own is None or own.pop(item, None) is None:
            return
        self._count -= 1
        if not own:
            del self._ports[port]

    def of(self, port: int) -> list[Item]:
        """All of one port."""
        return list(self._ports.get(port, ()))

    def idle(self, before: float) -> list[tuple[int, Item]]:
        """With their ports, those that were last used earlier."""
        return [(port, item) for port, own in self._ports.items() for item, used in own.items() if used < before]

    def _give_way(self, port: int) -> None:
        item = next(iter(self._ports[port]))
        self.leave(port, item)
        self._let_go(item)
