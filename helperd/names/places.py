"""Questions that wait for upstream servers: how many of one container, how many in all, and who gives one up. Pure."""

from __future__ import annotations

from collections.abc import Callable


class Place:
    """One question of the container `who`. `end` is called where it loses its place to another's."""

    __slots__ = ("end", "who")

    def __init__(self, who: str) -> None:
        self.who = who
        self.end: Callable[[], object] = lambda: None


class Places:
    """At most `each` places of one container and `in_all` of all of them. Where all are taken, a container gets one of whoever has
    more than itself, the oldest: nobody keeps one with few questions from asking."""

    def __init__(self, each: int, in_all: int) -> None:
        self._each, self._in_all = each, in_all
        self._held: dict[str, dict[Place, None]] = {}  # the oldest first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, who: str) -> Place | None:
        """A place, None where there is none for `who`."""
        own = len(self._held.get(who, ()))
        if own >= self._each:
            return None
        if self._count >= self._in_all:
            most = max(self._held.values(), key=len, default={})
            if len(most) <= own:
                return None
            oldest = next(iter(most))
            self.leave(oldest)
            oldest.end()
        place = Place(who)
        self._held.setdefault(who, {})[place] = None
        self._count += 1
        return place

    def leave(self, place: Place) -> None:
        """The question has ended. Nothing where the place was taken away before."""
        held = self._held.get(place.who, {})
        if place in held:
            del held[place]
            self._count -= 1
            if not held:
                del self._held[place.who]
