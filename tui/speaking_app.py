"""An application that says how things went: in plain text, whatever the text holds."""

from __future__ import annotations

from textual.app import ReturnType

from protocol.errors import NetdeckError
from protocol.names import display_text
from tui.terminal.app import QuickApp
from tui.terminal.clipboard import TooLargeError


class SpeakingApp(QuickApp[ReturnType]):
    """Outcomes are shown for a moment; markup in them is text."""

    def tell(self, text: str) -> None:
        """Say how something went."""
        self.notify(display_text(text), timeout=5, markup=False)

    def show_error(self, error: BaseException | str) -> None:
        """Say what went wrong."""
        text = error.message if isinstance(error, NetdeckError) else str(error)
        self.notify(display_text(text), severity="error", timeout=10, markup=False)

    def copy(self, text: str, what: str) -> None:
        """Onto the clipboard of the user's terminal."""
        try:
            self.copy_text(text)
        except TooLargeError as error:
            self.show_error(error)
        else:
            self.tell(f"copied {what}")
