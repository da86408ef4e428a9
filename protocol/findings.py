"""What `doctor.list` tells: one struct for each thing that is wrong on this host, or may be soon. Pure."""

from __future__ import annotations

from typing import Final

from protocol.model import Model

SEVERITIES: Final = ("error", "warning", "notice")  # something does not work; something may not; good to know


class Finding(Model, frozen=True):
    """One finding. `id` stays the same as long as it is the same thing that is wrong.

    `commands` mend it: `doctor.fix` carries them out (or does the same) where `automatic`, else they are for the operator, because
    they change what is not netdeck's. `undo` takes them back.
    """

    id: str
    severity: str
    what: str
    why: str
    remedy: str
    details: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    automatic: bool = False
    networks: tuple[str, ...] = ()
