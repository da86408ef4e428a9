"""What carries a link of the host: the driver of its device, as sysfs tells it (Documentation/ABI/testing/sysfs-class-net)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_SYS = Path("/sys")


@dataclass(frozen=True, slots=True)
class Adapter:
    """`driver` is "" for a link that no device is behind (veth, bridge, VLAN …), `wireless` one of 802.11."""

    driver: str = ""
    wireless: bool = False


def adapter(name: str, sys: Path = _SYS) -> Adapter:
    """What is behind the link `name` of the process's own namespace; nothing where sysfs does not say."""
    folder = sys / "class/net" / name
    try:
        driver = os.readlink(folder / "device/driver")
    except OSError:
        driver = ""
    return Adapter(os.path.basename(driver), (folder / "phy80211").exists())
