"""Who may do what: three roles, and the configuration that gives them to users and groups."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from protocol.errors import InvalidValue

ROOT_UID = 0
OVERFLOW_UID = 65534  # what the kernel calls a user that has no number in this user namespace: nobody in particular
ADMIN_GROUP = "netdeck"


class Role(enum.IntEnum):
    """Each role may do what the ones below it may."""

    NONE = 0
    VIEW = 1
    OPERATE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As the configuration and the wire write it."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: object) -> Role:
        """Raises InvalidValue for anything but none, view, operate, admin."""
        for role in cls:
            if role.word == word:
                return role
        expected = ", ".join(role.word for role in cls)
        raise InvalidValue(f"unknown role {word!r}, expected one of {expected}", field="role", value=str(word)[:64])


class Roles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Roles by user number and by group name; `default` is for everyone who reaches the socket and is in neither.

    User 0 is always admin, and so is the group `netdeck` unless the configuration gives it another role.
    """

    default: Role = Role.NONE
    uids: dict[int, Role] = {}
    groups: dict[str, Role] = msgspec.field(default_factory=lambda: {ADMIN_GROUP: Role.ADMIN})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Roles:
        """From ``{"default": role, "uids": {"1000": role}, "groups": {"wheel": role}}``, each key optional.

        Raises InvalidValue and names what is wrong.
        """
        unknown = sorted(set(config) - {"default", "uids", "groups"})
        if unknown:
            raise InvalidValue(f"unknown key {unknown[0]!r} in roles, expected default, uids, groups", field=unknown[0])
        uids: dict[int, Role] = {}
        for text, word in _mapping(config, "uids").items():
            if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32 - 1):
                raise InvalidValue(f"roles.uids: {text!r} is not a user number: expected one like 1000. Groups go by name, in roles.groups",
                                   field="uids", value=text[:64])
            uids[int(text)] = Role.from_word(word)
        groups = {ADMIN_GROUP: Role.ADMIN}
        groups.update((name, Role.from_word(word)) for name, word in _mapping(config, "groups").items())
        return cls(Role.from_word(config.get("default", Role.NONE.word)), uids, groups)

    def role_of(self, uid: int, groups: Iterable[str]) -> Role:
        """The highest role that the user's number or one of the names of his groups gives.

        The overflow user has none, whatever the configuration says: many different users look like him.
        """
        if uid == ROOT_UID:
            return Role.ADMIN
        if uid == OVERFLOW_UID or uid < 0:
            return Role.NONE
        given = self.uids.get(uid, self.default)
        return max((given, *(self.groups.get(name, Role.NONE) for name in groups)))


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key, {})
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidValue(f"roles.{key} is not a map of names to roles", field=key)
    return value
