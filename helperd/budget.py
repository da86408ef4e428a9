"""How much one container may have of a resource: a bucket of tokens. Pure; the caller brings the clock."""

from __future__ import annotations


class Budget:
    """`rate` tokens a second, and at most two seconds' worth of them saved."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._tokens, self._at = rate, 2 * rate, now

    def take(self, now: float) -> bool:
        """Whether there is a token at the moment `now`; it is used then."""
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def left(self, now: float) -> bool:
        """Whether anything is left at the moment `now`. For what is known only afterwards: see `spend`."""
        self._refill(now)
        return self._tokens > 0

    def spend(self, tokens: float) -> None:
        """Take what was used, though it be more than there is: what is owed comes back at the same rate."""
        self._tokens -= tokens

    def _refill(self, now: float) -> None:
        self._tokens = min(2 * self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
