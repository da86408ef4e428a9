"""Whether a user may come in, and with which role; answers are remembered for a while, since each asks the account database."""

from __future__ import annotations

import time

from helperd.accounts import groups_of, user_name
from helperd.roles import Role, Roles
from helperd.zap import Peer

REMEMBER_SECONDS = 30.0
REMEMBER_USERS = 1_024


class Admission:
    """`refused` counts the connections that were not let in."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._known: dict[tuple[int, int], tuple[float, Role, str]] = {}
        self.refused = 0

    def role_of(self, peer: Peer) -> tuple[Role, str]:
        """Role and login name of the peer's user."""
        now = time.monotonic()
        known = self._known.get((peer.uid, peer.gid))
        if known is not None and known[0] > now:
            return known[1], known[2]
        role = self._roles.role_of(peer.uid, groups_of(peer.uid, peer.gid))
        name = user_name(peer.uid)
        if len(self._known) >= REMEMBER_USERS:
            self._known.clear()
        self._known[(peer.uid, peer.gid)] = (now + REMEMBER_SECONDS, role, name)
        return role, name

    def admit(self, peer: Peer) -> str:
        """Why the peer is not let in; "" where it is."""
        role, name = self.role_of(peer)
        if role is not Role.NONE:
            return ""
        self.refused += 1
        return f"user {name or peer.uid} has no role here"
