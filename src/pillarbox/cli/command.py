"""Commands and the group of them: what click and cloup do not do by themselves.

`Command` takes each option from the environment and a configuration file as well (config_file.py)
and shows an example. `CommandGroup` loads a command when it is asked for, has a default one, and
prints each error as one line (errors.py). How to make a command: options.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, NoReturn

import click
import cloup

from pillarbox.cli.config_file import read_tables, table_for
from pillarbox.cli.errors import CONFIG_FILE, error_line

__all__ = ["Command", "CommandGroup", "command", "config_option", "remember_file"]

INTERRUPTED = 130
"""What a shell gives for a program that Ctrl-C ended."""


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function the command `name`.

    Args:
        name: What the user types.
        example: A command line that does something useful as it stands, for the help.
    """
    return cloup.command(name, cls=Command, example=example)


class Command(cloup.Command):
    """A command whose options can stand in the environment and in a file.

    Of `PILLARBOX_SINK_LISTEN` and `PILLARBOX_LISTEN` the first, the more specific one, wins.
    """

    def __init__(
        self, *args: Any, example: str, params: list[click.Parameter], **kwargs: Any
    ) -> None:
        params = [*params, config_option(_take_table)]
        super().__init__(*args, params=params, epilog=f"\b\nExample:\n  {example}", **kwargs)
        for param in self.params:
            if isinstance(param, click.Option) and param.expose_value and param.envvar is None:
                option = max(param.opts, key=len).lstrip("-").replace("-", "_").upper()
                param.envvar = [f"PILLARBOX_{(self.name or '').upper()}_{option}"]
                param.envvar.append(f"PILLARBOX_{option}")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and see that each error knows whose it is: click forgets it for some."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


def config_option(callback: Callable[[click.Context, click.Parameter, Any], Any]) -> cloup.Option:
    """Make `--config`; whatever it reads is there before any other option is looked at."""
    return cloup.Option(
        ["--config"],
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=callback,
        help="Take options from this TOML file, which has a table for each command.",
    )


def remember_file(ctx: click.Context, _param: click.Parameter, file: str | None) -> None:
    """Note the file that stands before the command, for whichever command it will be."""
    ctx.meta[CONFIG_FILE] = file or os.environ.get("PILLARBOX_CONFIG")


def _take_table(ctx: click.Context, _param: click.Parameter, file: str | None) -> None:
    """Take the command's table as the defaults of its options."""
    ctx.meta[CONFIG_FILE] = file = file or ctx.meta.get(CONFIG_FILE)
    if file and not ctx.resilient_parsing:
        group = ctx.parent.command if ctx.parent else None
        names = group.list_commands(ctx) if isinstance(group, click.Group) else []
        tables = read_tables(file, names)
        name = ctx.command.name or ""
        ctx.default_map = table_for(ctx.command, tables.get(name, {}), where=f"{file}, [{name}]")


class _Named(cloup.Command):
    """A command's line in the help, for which the command need not be loaded."""

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self.module = module


class CommandGroup(cloup.Group):
    """The commands, each loaded from `MODULE:ATTRIBUTE` when it is used.

    Args:
        sections: For each heading of the help, each command's name, place and one-line help.
        default_command: What runs when no command is given.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Iterable[tuple[str, str, str]]],
        default_command: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args,
            sections=[
                cloup.Section(heading, [_Named(*entry) for entry in entries])
                for heading, entries in sections.items()
            ],
            **kwargs,
        )
        self.default_command = default_command

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load a command."""
        found = super().get_command(ctx, name)
        if isinstance(found, _Named):
            module, _, attribute = found.module.partition(":")
            loaded = getattr(import_module(module), attribute)
            assert isinstance(loaded, click.Command)
            return loaded
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of its options, where none is named."""
        at = 0
        while at < len(args) and args[at].partition("=")[0] == "--config":
            at += 1 if "=" in args[at] else 2
        own = {name for param in self.get_params(ctx) for name in param.opts}
        if at == len(args) or (at < len(args) and args[at].startswith("-") and args[at] not in own):
            args = [*args[:at], self.default_command, *args[at:]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it without a word, where click would write a blank line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)

    def main(  # type: ignore[override]  # click's overloads, of which we keep the general one
        self, args: Iterable[str] | None = None, **kwargs: Any
    ) -> NoReturn:
        """Run, and end the program: 0, or 2 and one line about what to change."""
        kwargs |= {"standalone_mode": False, "prog_name": "pillarbox"}
        try:
            status = super().main(None if args is None else list(args), **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()
        except click.ClickException as error:
            print(error_line(error), file=sys.stderr)  # noqa: T201
            status = 2
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output is gone, and wants no complaint about it. Python flushes
            # once more at its end, which then has to go somewhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        sys.exit(status if isinstance(status, int) else 0)
