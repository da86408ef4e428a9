"""What the helper says, in a form's own words: where it names a flag of the command line, the form names its field. Pure.

The helper's words are those of the command line, for whoever is not before a form. A whole command in them stays as it is: it is typed
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

NETWORK_FIELDS: Final[Mapping[str, str]] = {
    "--subnet": "subnet", "--gateway": "gateway", "--ip-range": "ip range", "--aux-address": "reserved", "--internal": "internal",
    "--ipv4": "IPv4", "--ipv6": "IPv6", "--ipam-driver": "given by", "--label": "labels", "--driver": "driver",
}
ATTACH_FIELDS: Final[Mapping[str, str]] = {
    "--ip": "IPv4", "--ip6": "IPv6", "--mac-address": "MAC", "--vlan": "VLANs", "--untagged": "untagged", "--alias": "aliases",
}
#: Words of docker's that name no flag; forms have plainer ones.
_NAMES: Final[Mapping[str, str]] = {"ip-range": "ip range", "aux-address": "reserved address", "aux-addresses": "reserved addresses"}
_VALUES: Final[Mapping[str, str]] = {"1": " on", "true": " on", "0": " off", "false": " off"}

_PART: Final = re.compile(
    r"(?P<command>`[^`]*`|\bnetdeck (?:(?![.,;:)](?:\s|$)).)*)"
    r"|-o (?P<option>[a-z][a-z0-9_]*)(?:=(?P<value>[^\s,;:)]*[^\s,;:).]))?"
    r"|(?P<flag>--[a-z][a-z0-9-]*)(?P<dhcp> dhcp\b)?"
    r"|(?<![\w-])(?P<name>aux-address(?:es)?|ip-range)(?![\w=-])"
)


def in_form(text: str, fields: Mapping[str, str]) -> str:
    """`text` with the flags in `fields` and options (``-o NAME=VALUE``) as ``"FIELD"``; a flag that the form has no field for stays."""

    def said(found: re.Match[str]) -> str:
        flag, option = found["flag"], found["option"]
        if found["name"]:
            return _NAMES[found["name"]]
        if found["command"] or (flag and flag not in fields):
            return found[0]
        if option:
            value = found["value"] or ""
            return f'"{option}"' + _VALUES.get(value, "" if (value.isupper() and value.isalpha()) or not value else f" {value}")
        return f'"{fields[flag]}"' + (" DHCP" if found["dhcp"] else "")

    return _PART.sub(said, text) if fields else text
