"""Options that behave as docker's do: ``--internal=false``, ``K=V`` pairs, ``--format json``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from protocol.errors import NetdeckError
from protocol.names import display_text

if TYPE_CHECKING:
    from tui.templates import Template

F = TypeVar("F", bound=Callable[..., Any])
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})  # Go's strconv.ParseBool, which docker uses
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass
class Session:
    """What holds for the whole command line: the helper's socket (None: the environment, else the default) and the format."""

    socket: str | None = None
    format: str = "table"
    template: Template | None = None  # where --format gave one


pass_session = click.make_pass_decorator(Session)


class DockerCommand(click.Command):
    """A command whose flags also take ``=true`` and ``=false``, and that proposes no option which it only refuses."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(self._plain_flags(ctx, args)))
        except click.NoSuchOption as error:
            real = [name for option in self.params if isinstance(option, click.Option) and not option.hidden
                    for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
            near = difflib.get_close_matches(error.option_name, real) if error.option_name.startswith("--") else None
            raise click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx) from None

    def _plain_flags(self, ctx: click.Context, args: Iterable[str]) -> Iterator[str]:
        """`args` with each ``--flag=VALUE`` written as click takes it. Stops at ``--`` and where the operands begin."""
        options = {name: option for option in self.params if isinstance(option, click.Option)
                   for name in (*option.opts, *option.secondary_opts)}
        rest = iter(args)
        for arg in rest:
            if arg == "--" or (not arg.startswith("-") and not self.allow_interspersed_args):
                yield arg
                break
            name, equals, value = arg.partition("=")
            option = options.get(name)
            if option is None or not option.is_flag:
                yield arg
                if not equals and _takes_next(arg, options):
                    yield from _one(rest)
            elif not equals:
                yield arg
            elif value in _TRUE:
                yield name
            elif value in _FALSE:
                yield from option.secondary_opts[:1]
            else:
                raise click.BadOptionUsage(name, f"{name} takes true or false, not {display_text(value)!r}", ctx)
        yield from rest


def _takes_next(arg: str, options: dict[str, click.Option]) -> bool:
    """Whether the word after `arg` is its value: ``--name x``, ``-n x``, ``-it -n x``, but not ``-nx``."""
    if arg.startswith("--"):
        return arg in options and not options[arg].is_flag
    for index, letter in enumerate(arg[1:], 2):
        option = options.get(f"-{letter}")
        if option is not None and not option.is_flag:
            return index == len(arg)
    return False


def _one(rest: Iterator[str]) -> Iterator[str]:
    value = next(rest, None)
    if value is not None:
        yield value


def pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Callback of an option given many times as ``KEY=VALUE``."""
    return tuple(_pair(ctx, param, value, bare=False) for value in values)


def pairs_or_keys(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The same, where a lone ``KEY`` means an empty value."""
    return tuple(_pair(ctx, param, value, bare=True) for value in values)


def _pair(ctx: click.Context, param: click.Parameter, value: str, *, bare: bool) -> tuple[str, str]:
    key, equals, text = value.partition("=")
    if not key or not (equals or bare):
        raise click.BadParameter(f"{display_text(value)!r} is not of the form KEY=VALUE", ctx, param)
    return key, text


def _keep_format(ctx: click.Context, param: click.Parameter, value: str) -> str:
    ctx.ensure_object(Session).format = value
    return value


def format_option(command: F) -> F:
    """``--format table|json``; it also decides how an error is told."""
    return click.option("--format", type=click.Choice(["table", "json"]), default="table", show_default=True,
                        expose_value=False, is_eager=True, callback=_keep_format,
                        help="A table for people or JSON for programs.")(command)


def _keep_template(ctx: click.Context, param: click.Parameter, value: str) -> str:
    session = ctx.ensure_object(Session)
    if value in ("table", "json", ""):
        session.format = value or "table"
        return value
    from tui.templates import is_template, parse

    if not is_template(value):
        raise click.BadParameter(f"{display_text(value)!r} is not one of table, json, or a template such as '{{{{.Name}}}}'", ctx, param)
    try:
        session.template = parse(value)
    except NetdeckError as error:
        raise click.BadParameter(error.message, ctx, param) from error
    return value


def template_option(*names: str) -> Callable[[F], F]:
    """``--format`` as `format_option`, and with a template as docker has it. `names`: short ones beside it."""
    def decorate(command: F) -> F:
        return click.option(*names, "--format", metavar="table|json|TEMPLATE", default="table", show_default=True, expose_value=False,
                            is_eager=True, callback=_keep_template,
                            help="A table for people, JSON for programs, or a template such as '{{.Name}}', '{{json .}}', "
                            "'table {{.ID}}\\t{{.Name}}'.")(command)

    return decorate


def dry_run_option(command: F) -> F:
    """``--dry-run``: show the plan, change nothing."""
    return click.option("--dry-run", is_flag=True, help="Show the steps and the equivalent commands; change nothing.")(command)
