"""What ``ls`` and ``ps`` show of a row: docker's fields for ``--format``, and ``--filter`` of containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click

from protocol.names import display_text, suggestion
from tui.docker_flags import Session
from tui.tables import short_id

HEADERS: Final = {
    "ID": "ID", "Names": "NAMES", "RunningFor": "CREATED", "CreatedAt": "CREATED AT", "Subnets": "SUBNETS", "Traits": "TRAITS",
}
CONTAINER_FILTERS: Final = ("name", "id", "status", "label", "network", "runtime")


def network_fields(row: Mapping[str, Any], traits: Sequence[str], *, whole: bool) -> dict[str, str]:
    """A network in docker's words, each value as text."""
    return {
        "ID": row["id"] if whole else short_id(row["id"]), "Name": row["name"], "Driver": row["driver"], "Scope": "local",
        "IPv4": _word(row["ipv4"]), "IPv6": _word(row["ipv6"]), "Internal": _word(row["internal"]), "Labels": labels_text(row["labels"]),
        "CreatedAt": moment(row["created"]), "Subnets": subnets_text(row), "Traits": ",".join(traits),
    }


def subnets_text(row: Mapping[str, Any]) -> str:
    """The subnets of a network, ``dhcp`` where the site gives addresses, "" where there is none."""
    return ", ".join(subnet["subnet"] for subnet in row["subnets"]) or ("dhcp" if row.get("ipam") == "dhcp" else "")


def container_fields(row: Mapping[str, Any], ports: str, *, whole: bool) -> dict[str, str]:
    """A container in docker's words, each value as text."""
    running_for = age(time.time() - row["created"]) + " ago" if row["created"] else ""
    return {
        "ID": row["id"] if whole else short_id(row["id"]), "Names": row["ref"], "Name": row["ref"], "Runtime": row["runtime"],
        "Command": command_text(row, whole=whole), "CreatedAt": moment(row["created"]), "RunningFor": running_for, "Ports": ports,
        "State": row["status"], "Status": status_text(row), "Networks": ",".join(row["networks"]), "Labels": labels_text(row["labels"]),
        "Pid": str(row["pid"] or ""), "Hostname": row["hostname"],
    }


def status_text(row: Mapping[str, Any]) -> str:
    """``up 5m``, ``exited (0)``."""
    if row["status"] == "exited":
        return "exited" if row["exit_code"] is None else f"exited ({row['exit_code']})"
    if row["status"] == "running" and row["created"]:
        return f"up {age(time.time() - row['created'])}"
    return str(row["status"])


def age(seconds: float) -> str:
    """Seconds in the largest unit of which there is one: ``3h``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def command_text(row: Mapping[str, Any], *, whole: bool) -> str:
    """The command of a container, 40 characters of it unless `whole`."""
    text = " ".join(row["command"])
    return text if whole or len(text) <= 40 else text[:39] + "…"


def labels_text(labels: Mapping[str, str]) -> str:
    """As docker writes them: ``k=v,k2=v2``."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def moment(seconds: float) -> str:
    """A time of this host's clock, "" for none."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z %Z") if seconds else ""


def _word(value: bool) -> str:
    return str(bool(value)).lower()


def container_matches(row: Mapping[str, Any], filters: Sequence[tuple[str, str]]) -> bool:
    """Whether a container passes all filters, as docker has them: one key given twice means either, of labels all must be there.
    `name` matches a part, `id` the beginning, the others the whole."""
    tests: Mapping[str, Callable[[str], bool]] = {
        "name": lambda value: value in row["ref"],
        "id": lambda value: row["id"].startswith(value),
        "status": lambda value: value == row["status"],
        "network": lambda value: value in row["networks"],
        "runtime": lambda value: value == row["runtime"],
    }
    for key, value in filters:
        if key == "label":
            if not label_matches(row["labels"], value):
                return False
        elif not any(tests[key](other) for other_key, other in filters if other_key == key):
            return False
    return True


def label_matches(labels: Mapping[str, str], wanted: str) -> bool:
    """``KEY``: it is there; ``KEY=VALUE``: with that value."""
    label, equals, value = wanted.partition("=")
    return label in labels and (not equals or labels[label] == value)


def check_filters(filters: Sequence[tuple[str, str]], known: Sequence[str], values: Mapping[str, Sequence[str]]) -> None:
    """Raise UsageError for a filter that is unknown, or a value that its key can't have."""
    for key, value in filters:
        if key not in known:
            raise click.UsageError(f"no filter {display_text(key)!r}{suggestion(key, known)}: there are {', '.join(known)}",
                                   click.get_current_context())
        if key in values and value not in values[key]:
            raise click.UsageError(f"the filter {key} is {' or '.join(values[key])}, not {display_text(value)!r}",
                                   click.get_current_context())


def show_template(session: Session, rows: Sequence[Mapping[str, Any]], headers: Mapping[str, str] = HEADERS) -> bool:
    """Print `rows` by the template of ``--format``; False where none was given. A field that there is not is wrong usage."""
    if session.template is None:
        return False
    from protocol.errors import InvalidValue
    from tui.templates import render

    try:
        text = render(session.template, rows, headers)
    except InvalidValue as error:
        raise click.BadParameter(error.message, click.get_current_context(), param_hint="--format") from error
    click.echo(text, nl=False)
    return True
