"""Bytes of a stranger to a message, or to one clear error.

In this order: length; `msgpack.unpackb` with a limit on everything, no extension types, no doubled keys; depth and number of items;
type (`msgspec.convert`, unknown fields refused); `protocol.limits.check`. Never msgpack's streaming `Unpacker`: its faults after a
failed read have corrupted memory (CVE-2026-57585).
"""

from __future__ import annotations

from typing import Any, NoReturn, get_args

import msgpack
import msgspec

from protocol.errors import BadRequest, NetdeckError, TooMuch
from protocol.limits import MAX_ID_TEXT, U64, check
from protocol.messages import MAX_DATA, MAX_DEPTH, MAX_ITEMS, MAX_MESSAGE, MAX_TEXT, CallId, FromClient
from protocol.names import shortened, suggestion
from protocol.reading import refusal

MAX_ITEMS_IN_ALL = 16_384  # of all arrays and maps of one message together: what bounds the time that a message takes


class Refused(Exception):
    """A message that was not accepted: `error` to send back, `id` where it could be read."""

    def __init__(self, error: NetdeckError, ident: CallId | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.id = ident


def _no_extensions(code: int, _data: bytes) -> NoReturn:
    raise BadRequest(f"msgpack extension type {code} is not used on this wire")


class _Count:
    """Hooks for `unpackb` that stop it at `MAX_ITEMS_IN_ALL`: a quarter of a megabyte of empty arrays would take it 0.1 s."""

    def __init__(self) -> None:
        self.left = MAX_ITEMS_IN_ALL

    def _take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise TooMuch(f"more than {MAX_ITEMS_IN_ALL} items in one message", limit=MAX_ITEMS_IN_ALL)

    def array(self, items: list[Any]) -> list[Any]:
        self._take(len(items) + 1)
        return items

    def map(self, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        self._take(len(pairs) + 1)
        made = dict(pairs)
        if len(made) != len(pairs):
            raise BadRequest("a map has the same key twice")
        return made


def unpack(body: bytes) -> Any:
    """Plain values of one msgpack message. Raises BadRequest or TooMuch; never anything else, whatever the bytes."""
    if len(body) > MAX_MESSAGE:
        raise TooMuch(f"message of {len(body)} bytes, at most {MAX_MESSAGE}", limit=MAX_MESSAGE)
    count = _Count()
    try:
        return msgpack.unpackb(
            body,
            raw=False,
            use_list=True,
            strict_map_key=True,
            object_pairs_hook=count.map,
            list_hook=count.array,
            ext_hook=_no_extensions,
            max_str_len=MAX_TEXT,
            max_bin_len=MAX_DATA,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except NetdeckError:
        raise
    except UnicodeDecodeError as error:
        raise BadRequest("a string is not UTF-8") from error
    except msgpack.StackError as error:
        raise TooMuch(f"nested deeper than {MAX_DEPTH}", limit=MAX_DEPTH) from error
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        # msgpack tells a broken limit only in its text; extensions break the limit of length 0.
        text = str(error)
        if "max_ext_len" in text:
            raise BadRequest("msgpack extension types are not used on this wire") from error
        if "exceeds max_" in text:
            raise TooMuch(f"a value is too long: {text}", limit=MAX_ITEMS) from error
        raise BadRequest(f"not msgpack: {text[:200] or type(error).__name__}") from error


def check_shape(value: Any) -> None:
    """Raises TooMuch where `value` is nested deeper than `MAX_DEPTH`, BadRequest where a key isn't text. No recursion."""
    level: list[Any] = [value]
    for _depth in range(MAX_DEPTH):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                if not all(type(key) is str for key in one):
                    raise BadRequest("a map has a key that is not text")
                inner.extend(part for part in one.values() if isinstance(part, dict | list))
            elif isinstance(one, list):
                inner.extend(part for part in one if isinstance(part, dict | list))
        if not inner:
            return
        level = inner
    raise TooMuch(f"nested deeper than {MAX_DEPTH}", limit=MAX_DEPTH)


def readable_id(value: Any) -> CallId | None:
    """The `id` of a message that is wrong otherwise, where it can serve in an answer."""
    ident = value.get("id") if isinstance(value, dict) else None
    if type(ident) is int and 0 <= ident <= U64:
        return ident
    if type(ident) is str and 0 < len(ident) <= MAX_ID_TEXT:
        return ident
    return None


_KINDS = {kind.__struct_config__.tag: kind for kind in get_args(FromClient)}


def _not_a_message(value: Any, error: Exception) -> BadRequest:
    tag = value.get("type") if isinstance(value, dict) else None
    kind = _KINDS.get(tag) if isinstance(tag, str) else None
    if kind is None:
        known = sorted(map(str, _KINDS))
        what = "`type` is missing" if tag is None else f"`type` {shortened(str(tag))!r} is not known{suggestion(str(tag)[:64], known)}"
        return BadRequest(f"not a message of this wire: {what}: expected {', '.join(known)}; see SPEC.md", field="type", expected=known)
    return refusal(str(tag), {name: one for name, one in value.items() if name != "type"}, kind, str(error))


def decode_from_client(body: bytes) -> FromClient:
    """The message that `body` holds. Raises Refused, whatever the bytes."""
    try:
        value = unpack(body)
    except NetdeckError as error:
        raise Refused(error) from error
    try:
        check_shape(value)
        if not isinstance(value, dict):
            raise BadRequest("a message is a map")
        message: FromClient = msgspec.convert(value, FromClient, strict=True, builtin_types=(bytes,))
        check(message)
    except NetdeckError as error:
        raise Refused(error, readable_id(value)) from error
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused(_not_a_message(value, error), readable_id(value)) from error
    return message
