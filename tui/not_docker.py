"""Words of docker's that netdeck does not have, each with what to do in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_AGAIN: Final = "a container that has ended stays ended, and its addresses and ports are free: netdeck run makes a new one"
_IMAGES: Final = "netdeck has no images: a container has this host's files, or a directory of yours with run --rootfs DIR"

COMMANDS: Final[Mapping[str, str]] = {
    "start": _AGAIN, "restart": _AGAIN,
    "images": _IMAGES, "image": _IMAGES, "pull": _IMAGES, "push": _IMAGES, "build": _IMAGES,
    "kill": "netdeck stop -t 0 CONTAINER does it",
    "create": "networks are made by netdeck network create, containers by netdeck run -d",
    "container": "containers are netdeck run, ps, exec, logs, stop, rm and inspect",
    "stats": "the workstation shows what each container carries: netdeck, key 2; netdeck interfaces prints it",
    "volume": "a container has this host's files, or a directory of yours with run --rootfs DIR: there are no volumes",
}
_FILES: Final = "a container has this host's files as you have them, so nothing needs to be mounted; --rootfs DIR gives it another /"
_USER: Final = "a container runs as you, with no privilege gained"

RUN_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("-v", "--volume", "--mount"): _FILES,
    ("-u", "--user", "--privileged", "--cap-add"): _USER,
    ("--restart",): _AGAIN,
}


def refuse(options: Mapping[tuple[str, ...], str]) -> Callable[[F], F]:
    """Let a command say why it does not take these options, which its help does not show."""

    def decorate(command: F) -> F:
        for number, (names, why) in enumerate(options.items()):
            told = _refusal(names, why)
            command = click.option(*names, f"refused_{number}", multiple=True, hidden=True, expose_value=False, callback=told)(command)
        return command

    return decorate


def _refusal(names: Sequence[str], why: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], None]:
    def tell(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
        if values:
            ctx.fail(f"no option {' or '.join(names)}: {why}")

    return tell
