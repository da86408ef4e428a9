"""The base of all kernel objects: see `drivers.objects`."""

from __future__ import annotations

from typing import ClassVar

import msgspec

Key = tuple[str, ...]


class Object(msgspec.Struct, frozen=True, tag_field="object"):
    """Base of all kernel objects."""

    place: str

    rank: ClassVar[int] = 0

    @property
    def key(self) -> Key:
        raise TypeError(f"{type(self).__name__} has no key")

    @property
    def on(self) -> tuple[str, str] | None:
        """(place, link) whose end takes this object along, None where nothing does."""
        return None
