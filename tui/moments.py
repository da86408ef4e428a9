"""Moments as docker's --since and --until take them. Pure."""

from __future__ import annotations

import datetime
import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def seconds_since_epoch(text: str, now: float) -> float:
    """The moment that `text` names: a time ago (``10m``, ``1h30m``), seconds since 1970, or an ISO 8601 date and time.

    A date without an offset is local. Raises ValueError.
    """
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now - sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return float(text)
    except ValueError:
        return datetime.datetime.fromisoformat(text).timestamp()
