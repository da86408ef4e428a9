"""The keys of the optional tcp endpoint, from a directory that only root may read.

``server.toml`` holds ``public`` and ``secret``, the helper's own pair; every other ``NAME.toml`` one authorised client:
``key``, its public key, and ``uid``, the user that it stands for. Keys are Z85 text (rfc.zeromq.org/spec/32), 40 characters.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from helperd.front_config import TcpAccess
from helperd.roles import OVERFLOW_UID
from protocol.errors import InvalidValue, Unavailable

SERVER = "server.toml"
KEY_LENGTH = 40
_Z85 = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")


def read_access(endpoint: str, directory: str | os.PathLike[str]) -> TcpAccess:
    """What a front needs to serve `endpoint` (``tcp://ADDRESS:PORT``).

    Raises Unavailable where a file can't be read, InvalidValue where one is readable by others or holds what is no key.
    """
    if not endpoint.startswith("tcp://"):
        raise InvalidValue(f"{endpoint!r} is not a tcp:// endpoint", field="tcp", value=endpoint)
    folder = Path(directory)
    server = _read(folder / SERVER)
    keys: dict[str, int] = {}
    for path in sorted(folder.glob("*.toml")):
        if path.name == SERVER:
            continue
        entry = _read(path)
        uid = entry.get("uid")
        if type(uid) is not int or not 0 <= uid < 2**32 - 1 or uid == OVERFLOW_UID:
            raise InvalidValue(f"{path}: `uid` is not the number of a user", field="uid", path=str(path))
        key = _key(entry, "key", path)
        if key in keys:
            raise InvalidValue(f"{path}: this key is authorised already", field="key", path=str(path))
        keys[key] = uid
    place = folder / SERVER
    return TcpAccess(endpoint, _key(server, "public", place), _key(server, "secret", place), keys)


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
                raise InvalidValue(f"{path} must be a file that belongs to the helper's user alone: chmod 600", path=str(path))
            return tomllib.load(file)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}", path=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not TOML: {error}", path=str(path)) from error


def _key(entry: dict[str, Any], name: str, path: Path) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or len(value) != KEY_LENGTH or not set(value) <= _Z85:
        raise InvalidValue(f"{path}: `{name}` is not a CURVE key of {KEY_LENGTH} characters of Z85", field=name, path=str(path))
    return value
