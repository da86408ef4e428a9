"""/etc/netdeck/config.toml: who may do what. A missing file means the defaults; a wrong one stops the start with its reason."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from helperd.roles import Roles
from protocol.errors import InvalidValue
from protocol.names import suggestion

_SECTIONS = ("roles",)


def roles_from(path: Path) -> dict[str, Any]:
    """The ``[roles]`` of the file as a map: ``default = "view"``, ``uids = {1000 = "operate"}``, ``groups = {netops = "admin"}``.

    Raises InvalidValue with the file and what is wrong in it.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidValue(f"{path} can't be read: {error}", field=str(path)) from error
    for name in data:
        if name not in _SECTIONS:
            raise InvalidValue(f"{path} has a section [{name}] that is not known{suggestion(name, _SECTIONS)}", field=name)
    roles = data.get("roles", {})
    if not isinstance(roles, dict):
        raise InvalidValue(f"{path}: roles is {type(roles).__name__}, expected a section [roles]", field="roles")
    try:
        Roles.from_config(roles)
    except InvalidValue as error:
        raise InvalidValue(f"{path}, section [roles]: {error.message}", field="roles") from error
    return roles
