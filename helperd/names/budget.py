"""How much one container may have of a resource: a bucket of tokens. Pure; the caller brings the clock."""

from __future__ import annotations


class Budget:
    """`rate` tokens a second, and at most two seconds' worth of them saved."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._tokens, self._at = rate, 2 * rate, now

    def take(self, now: float) -> bool:
        """Whether there is a token at the moment `now`; it is used then."""
        self._tokens = min(2 * self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
