"""Words of docker's that netdeck does not have, each with what to do in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from tui.network_words import ROUTE_CHOICE

F = TypeVar("F", bound=Callable[..., Any])

_AGAIN: Final = "a container that has ended stays ended, and its addresses and ports are free: netdeck run makes a new one"
_IMAGES: Final = "netdeck has no images: a container has this host's files, or a directory of yours with run --rootfs DIR"
_OVER_HOSTS: Final = "netdeck knows this host only: macvlan, ipvlan or a bridge with -o uplink=LINK reach the others by a link they share"
_FILE_COPY: Final = "a container has this host's files, or those of its --rootfs DIR: copy them there"
_ONE_BY_ONE: Final = "a container is started by netdeck run with all it needs; netdeck network connect and port publish change it later"

COMMANDS: Final[Mapping[str, str]] = {
    "start": _AGAIN, "restart": _AGAIN,
    **dict.fromkeys(("images", "image", "pull", "push", "build", "rmi", "tag", "save", "load", "import", "export", "commit", "history",
                     "search", "login", "logout", "buildx", "builder", "manifest"), _IMAGES),
    "create": "networks are made by netdeck network create, containers by netdeck run -d",
    "container": "containers are netdeck run, ps, exec, logs, stop, kill, rm and inspect",
    "attach": "netdeck logs -f CONTAINER shows what it prints from now on; netdeck run without -d stays attached (ctrl-p ctrl-q leaves)",
    "top": "netdeck exec CONTAINER ps -ef lists what runs in it",
    "stats": "the workstation shows what each container carries: netdeck, key 2; netdeck interfaces prints it",
    "volume": "a container has this host's files, or a directory of yours with run --rootfs DIR: there are no volumes",
    "cp": _FILE_COPY, "diff": _FILE_COPY,
    "wait": "netdeck run without -d ends with the container's exit code; netdeck ps -a shows it of one that has ended",
    "pause": "netdeck kill -s STOP CONTAINER stops its first process", "unpause": "netdeck kill -s CONT CONTAINER lets it go on",
    "rename": "a container keeps the name it was started with: netdeck run --name NAME",
    "update": "a network is changed by netdeck network update",
    "compose": _ONE_BY_ONE,
    **dict.fromkeys(("swarm", "service", "stack", "node", "secret"), _OVER_HOSTS),
    "system": "netdeck info shows what there is, netdeck network prune removes networks that nobody uses, netdeck events what happens",
    "context": "netdeck --socket PATH, or NETDECK_SOCKET, chooses the helper",
    "plugin": "drivers are Python packages: netdeck call driver.list shows those that are there",
    "dockerd": "netdeck helper runs the process that does the work", "daemon": "netdeck helper runs the process that does the work",
}
_FILES: Final = "a container has this host's files as you have them, so nothing needs to be mounted; --rootfs DIR gives it another /"
_USER: Final = "a container runs as you, with no privilege gained"
_LIMITS: Final = "netdeck separates networks and limits nothing else: sh -c 'ulimit -v KILOBYTES; exec COMMAND' limits a command"
_BESIDE: Final = "netdeck run -d --network container:NAME COMMAND runs one in the background, in the same network"

_DEVICES: Final = "a container has this host's devices, as you may use them; with --rootfs DIR only null, zero, random and their like"
_LINK_LOCAL: Final = "--ip and --ip6 choose addresses of the network; the kernel gives each link one of fe80::/10 where IPv6 is on"
_NEWEST: Final = "netdeck ps -a --format '{{.CreatedAt}} {{.Names}}' | sort has the newest last"
_NO_SIZE: Final = "a container has this host's files, or those of its --rootfs DIR, and none of its own whose size could be told"

RUN_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("-v", "--volume", "--mount"): _FILES,
    ("--volumes-from", "--tmpfs"): _FILES,
    ("-u", "--user", "--cap-add"): _USER,
    ("--cap-drop", "--security-opt", "--userns", "--group-add"): _USER,
    ("--restart",): _AGAIN,
    ("-m", "--memory", "--cpus", "--pids-limit", "--ulimit", "--shm-size", "--cpu-shares", "--cpuset-cpus"): _LIMITS,
    ("--pull", "--platform"): _IMAGES,
    ("--env-file",): "give each with -e NAME=VALUE, or take it from your own environment with -e NAME",
    ("-a", "--attach"): "without -d the output is shown; -i gives it your input",
    ("--ip-range", "--subnet"): "these belong to the network: netdeck network create",
    ("--sysctl",): "as root, while it runs: nsenter --net=$(netdeck inspect -f '{{.NetworkSettings.SandboxKey}}' NAME) sysctl -w KEY=VALUE",
    ("--device",): _DEVICES,
    ("--gpus", "--device-cgroup-rule"): _DEVICES,
    ("--log-driver", "--log-opt"): "the last 64 KiB of output are kept for netdeck logs; sh -c 'exec COMMAND > FILE' keeps all of it",
    ("--stop-signal",): "netdeck kill -s SIGNAL NAME sends it; netdeck stop sends TERM, and KILL where that doesn't end it",
    ("--stop-timeout",): "netdeck stop -t SECONDS NAME",
    ("--health-cmd", "--health-interval", "--health-retries", "--health-timeout", "--health-start-period", "--health-start-interval"):
        "netdeck exec NAME COMMAND looks whether it is well, as often as you call it",
    ("--cidfile",): "netdeck run -d prints the id: netdeck run -d … > FILE",
    ("--link-local-ip",): _LINK_LOCAL,
    ("--label-file",): "give each with -l NAME=VALUE",
    ("--detach-keys",): "they are ctrl-p ctrl-q",
    ("--ipc", "--pid", "--uts"): "a container has these to itself, as docker gives it without the option: leave it out",
}
#: Flags of docker's, which take no value.
RUN_FLAGS: Final[Mapping[tuple[str, ...], str]] = {
    ("--privileged",): _USER,
    ("--read-only",): _FILES,
    ("--no-healthcheck",): "there is none: leave it out",
    ("--init",): "the command is process 1 of its container: sh -c 'COMMAND; exit $?' puts a shell there, which reaps",
}
EXEC_FLAGS: Final[Mapping[tuple[str, ...], str]] = {("-d", "--detach"): _BESIDE, ("--privileged",): _USER}
EXEC_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("-u", "--user"): _USER,
    ("-w", "--workdir"): "sh -c 'cd DIR && exec COMMAND' does it",
    ("--env-file",): "give each with -e NAME=VALUE",
}
LOGS_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("--since", "--until"): "output is kept without times: --tail N shows the last lines, netdeck events --since what happened",
}
LOGS_FLAGS: Final[Mapping[tuple[str, ...], str]] = {
    ("-t", "--timestamps", "--details"): "output is kept without times: netdeck logs -f CONTAINER | ts adds them as it comes",
}
PS_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {("-n", "--last"): _NEWEST}
PS_FLAGS: Final[Mapping[tuple[str, ...], str]] = {("-l", "--latest"): _NEWEST, ("-s", "--size"): _NO_SIZE}
INSPECT_FLAGS: Final[Mapping[tuple[str, ...], str]] = {("-s", "--size"): _NO_SIZE}
STOP_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("-s", "--signal"): "stop sends TERM, and KILL after -t SECONDS: netdeck kill -s SIGNAL NAME sends another",
}
CONNECT_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("--link",): "containers of one network know each other by name, --alias gives this one another; netdeck run has --link",
    ("--driver-opt",): "options belong to the network: netdeck network create -o, network update -o",
    ("--gw-priority",): ROUTE_CHOICE,
    ("--link-local-ip",): _LINK_LOCAL,
}
PRUNE_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("--filter",): "netdeck network rm $(netdeck network ls -q -f KEY=VALUE) removes those; one that is in use stays",
}
RM_FLAGS: Final[Mapping[tuple[str, ...], str]] = {
    ("-l", "--link"): "a link goes with the container that has it",
}
EVENTS_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("-f", "--filter"): "--level warning takes what is wrong; netdeck events | grep WORD takes the lines with a word; --format json | jq "
        "'select(.kind == \"network\")' those of a kind",
}
CREATE_OPTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("--scope", "--config-from"): _OVER_HOSTS,
    ("--ipam-opt",): "--ipam-driver is default or dhcp, which have no options",
}
CREATE_FLAGS: Final[Mapping[tuple[str, ...], str]] = {
    ("--attachable",): "every container may join every network of netdeck's: leave it out",
    ("--ingress", "--config-only"): _OVER_HOSTS,
}


def refuse(options: Mapping[tuple[str, ...], str], flags: Mapping[tuple[str, ...], str] | None = None) -> Callable[[F], F]:
    """Let a command say why it does not take these options, which its help does not show. `flags` are those without a value."""

    def decorate(command: F) -> F:
        for is_flag, refused in ((False, options), (True, flags or {})):
            for number, (names, why) in enumerate(refused.items()):
                kind: dict[str, Any] = {"count": True} if is_flag else {"multiple": True}
                command = click.option(*names, f"refused_{'flag' if is_flag else 'option'}_{number}", hidden=True, expose_value=False,
                                       callback=_refusal(names, why), **kind)(command)
        return command

    return decorate


def _refusal(names: Sequence[str], why: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def tell(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            ctx.fail(f"no option {' or '.join(names)}: {why}")

    return tell
