"""The workstation, started. What suits the link is set before Textual is imported, which reads it then."""

from __future__ import annotations

import locale
import os

from protocol.errors import InvalidValue
from tui.terminal.link_profile import apply

ASCII_ENV = "NETDECK_ASCII"


def run(socket: str | None = None, *, link: str | None = None, ascii: bool | None = None) -> int:
    """Run the workstation on the helper at `socket`; returns the exit code.

    `link` is "lan", "wan" or "slow" (else $NETDECK_LINK, else a guess). `ascii`: draw without Unicode (else $NETDECK_ASCII, else
    where the locale has no UTF-8). Raises InvalidValue for a link that is unknown.
    """
    try:
        profile = apply(os.environ, link)
    except ValueError as error:
        raise InvalidValue(str(error), field="link") from error
    if ascii is None:
        ascii = bool(os.environ.get(ASCII_ENV)) or locale.getpreferredencoding(False).lower().replace("-", "") != "utf8"
    from tui.workstation import Workstation

    station = Workstation(socket, profile=profile, ascii=ascii)
    station.run()
    return station.return_code or 0
