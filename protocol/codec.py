"""Messages to bytes and, for clients, bytes to messages. The wire is plain msgpack: a map with the key ``type``.

What a *client* sent is decoded by `protocol.strict`, with more care and by the process without privilege.
"""

from __future__ import annotations

import msgspec

from protocol.errors import BadRequest, Internal
from protocol.messages import FromClient, FromHelper

_ENCODER = msgspec.msgpack.Encoder()
_FROM_HELPER = msgspec.msgpack.Decoder(FromHelper)

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode(message: FromClient | FromHelper) -> bytes:
    """One message as msgpack. Raises Internal where a value has no msgpack form (a lone surrogate, an integer over 64 bits)."""
    try:
        return _ENCODER.encode(message)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, TypeError, RecursionError) as error:
        raise Internal(f"a {type(message).__name__} message can't be encoded: {error}") from error


def decode_from_helper(body: bytes) -> FromHelper:
    """A message of the helper. Fields that are not known are ignored. Raises BadRequest for anything else that is wrong."""
    try:
        message: FromHelper = _FROM_HELPER.decode(body)
    except DECODE_ERRORS as error:
        raise BadRequest(f"not a message of the helper: {error}") from error
    return message
