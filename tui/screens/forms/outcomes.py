"""How a change of several objects is told: what was done in one line, and each that was refused with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol.errors import NetdeckError

if TYPE_CHECKING:
    from tui.workstation import Workstation

Outcome = tuple[str, NetdeckError | None]
_NAMED = 4


def names(found: Sequence[str]) -> str:
    """A few names, and how many more."""
    shown = ", ".join(found[:_NAMED])
    return f"{shown} and {len(found) - _NAMED} more" if len(found) > _NAMED else shown


def done_words(words: str, outcomes: Sequence[Outcome]) -> str:
    """What was done, `words` behind the names; "" where nothing was."""
    done = list(dict.fromkeys(name for name, error in outcomes if error is None))
    return f"{names(done)} {words}" if done else ""


def tell_outcomes(app: Workstation, words: str, outcomes: Sequence[Outcome], more: str = "") -> None:
    """Say what was done (`words` follow the names, `more` comes behind) and why the rest was not."""
    if done := done_words(words, outcomes):
        app.tell(done + more)
    failed = [(name, error) for name, error in outcomes if error is not None]
    for name, error in failed[:_NAMED]:
        app.show_error(error if name in error.message else f"{name}: {error.message}")
    if len(failed) > _NAMED:
        app.show_error(f"and {len(failed) - _NAMED} more were refused")
