"""Settings of the host that are mended and stay mended: in the running kernel, and in a file that sysctl(8) reads at each boot."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import msgspec

from drivers.objects import HOST, Sysctl
from protocol.errors import Unavailable

FILE = "90-netdeck.conf"
_HEADER = "# Written by netdeck doctor, on the operator's word. Delete a line to leave its setting to others.\n"


class Setting(msgspec.Struct, frozen=True):
    """One setting of the host: `name` with ``*`` where `link` stands in it, its value now and the one that it shall have."""

    name: str
    link: str
    before: str
    value: str

    @property
    def object(self) -> Sysctl:
        return Sysctl(HOST, self.name, self.value, self.link)

    @property
    def key(self) -> str:
        """As sysctl.d(5) has it: with slashes where it has the name of a link, which may have dots."""
        return self.name.replace(".", "/").replace("*", self.link) if self.link else self.name


def commands(settings: Sequence[Setting], directory: Path | None) -> tuple[str, ...]:
    """What is done, as commands. Without a directory nothing is kept over a restart."""
    made = [f"sysctl -w {quote(f'{setting.key}={setting.value}')}" for setting in settings]
    if directory is not None:
        made += [f"echo {quote(f'{setting.key} = {setting.value}')} >> {directory / FILE}" for setting in settings]
    return tuple(made)


def undo_commands(settings: Sequence[Setting], directory: Path | None) -> tuple[str, ...]:
    """What takes it back."""
    made = [f"sysctl -w {quote(f'{setting.key}={setting.before}')}" for setting in reversed(settings)]
    if directory is not None:
        made += ["sed -i " + quote("\\|^" + setting.key + " =|d") + f" {directory / FILE}" for setting in settings]
    return tuple(made)


def keep(settings: Sequence[Setting], directory: Path) -> None:
    """Write the settings into the file, in place of lines that it has for them; whole or not at all. Raises Unavailable."""
    path = directory / FILE
    wanted = {setting.key: setting.value for setting in settings}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else _HEADER
        lines = [line for line in text.splitlines() if line.partition("=")[0].strip() not in wanted]
        lines += [f"{key} = {value}" for key, value in wanted.items()]
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".netdeck-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{path} can't be written, so the setting would be gone after a restart of the host: {error}",
                          path=str(path)) from error
