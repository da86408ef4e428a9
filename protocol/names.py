"""What a name may be, and how a hostile one is shown. Pure.

Names that netdeck accepts are a subset of what the kernel and Docker accept; names that it only *shows* come from the kernel,
from /proc and from containers, and are hostile text until they have gone through `display_text`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from protocol.errors import InvalidValue

IFNAMSIZ = 16  # linux/if.h, with the closing NUL
SHOWN = 40  # characters of a value that an error repeats
NAME_RULE = "1 to 63 of A-Z a-z 0-9 _ . - and a letter or digit first"
DEFAULT_NETWORK = "default"  # docker's word for the predefined network bridge
ALIAS_RULE = "1 to 63 of A-Z a-z 0-9 _ . - not ending in . or -"
_NETWORK = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_LINK = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
_LABEL_KEY = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_./-]{0,127}\Z")
_ALIAS = re.compile(r"\A[A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?\Z")
_MAC = re.compile(r"\A[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


def decode_kernel_text(raw: bytes) -> str:
    """Bytes from the kernel as text that can always be encoded again for the wire."""
    return raw.decode("utf-8", "backslashreplace")


def display_text(value: str) -> str:
    """`value` with everything that a terminal could act on, or that could mislead the eye, written as an escape.

    Control characters, format characters (bidirectional overrides among them), line and paragraph separators, blanks other
    than the plain one become ``\\xNN`` or ``\\uNNNN``: the result is printable as `str.isprintable` has it. Markup of a UI
    library is *not* touched: whoever renders markup must not feed names to it.
    """
    if value.isprintable():
        return value
    out: list[str] = []
    for char in value:
        if char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(out)


def shortened(value: str) -> str:
    """`value` for an error that repeats it: displayed, and cut where it is longer than anybody reads."""
    text = display_text(value[: SHOWN + 1])
    return text if len(value) <= SHOWN and len(text) <= 2 * SHOWN else f"{text[:SHOWN]}..."


def _checked(pattern: re.Pattern[str], value: str, field: str, expected: str) -> str:
    if pattern.match(value):
        return value
    raise InvalidValue(f"{field} '{shortened(value)}' is not allowed: expected {expected}; choose another",
                       field=field, value=shortened(value), expected=expected)


def network_name(value: str) -> str:
    """`value` if it may name a network. Raises InvalidValue."""
    if value == DEFAULT_NETWORK:
        raise InvalidValue(f"network name {value!r} is not allowed: as in docker it means the predefined network bridge; choose another",
                           field="network name", value=value)
    return _checked(_NETWORK, value, "network name", NAME_RULE)


def container_name(value: str) -> str:
    """`value` if it may name a container of ours. Raises InvalidValue."""
    return _checked(_NETWORK, value, "container name", NAME_RULE)


def link_name(value: str, field: str = "link name") -> str:
    """`value` if netdeck will make a link of that name. Raises InvalidValue.

    The kernel takes more (linux/netdevice.h, dev_valid_name); ``all`` and ``default`` are directories of the sysctl tree.
    """
    if value in ("all", "default", "lo"):
        what = " for its loopback link, which leads nowhere" if value == "lo" else ""
        raise InvalidValue(f"{field} {value!r} is reserved by the kernel{what}: choose another", field=field, value=value)
    return _checked(_LINK, value, field, "1 to 15 of A-Z a-z 0-9 _ . - and a letter or digit first")


def alias_name(value: str) -> str:
    """`value` if it may be a network alias of an endpoint (a DNS label or dotted name). Raises InvalidValue."""
    return _checked(_ALIAS, value, "alias", ALIAS_RULE)


def label_key(value: str) -> str:
    """`value` if it may be the key of a label. Raises InvalidValue."""
    return _checked(_LABEL_KEY, value, "label key", "1 to 128 of A-Z a-z 0-9 _ . / - and a letter or digit first")


def aux_name(value: str) -> str:
    """`value` if it may name an auxiliary address. Raises InvalidValue."""
    return _checked(_NETWORK, value, "aux-address name", NAME_RULE)


def mac_address(value: str) -> str:
    """`value` as a lower-case unicast MAC address. Raises InvalidValue."""
    text = value.lower().replace("-", ":")
    if not _MAC.match(text):
        raise InvalidValue(f"MAC address {display_text(value)!r} is not one: expected six bytes like 02:42:ac:11:00:02",
                           field="mac_address", value=display_text(value))
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise InvalidValue(f"MAC address {text} is not a unicast address: the lowest bit of the first byte must be 0 and it "
                           "must not be all zero", field="mac_address", value=text)
    return text


def nearest(value: str, known: Iterable[str]) -> str | None:
    """The known name that `value` was probably meant to be, or None."""
    found = difflib.get_close_matches(value, list(known), n=1, cutoff=0.55)
    return found[0] if found else None


def suggestion(value: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or the empty string, to be put behind a message."""
    near = nearest(value, known)
    return f" (did you mean {near!r}?)" if near else ""
