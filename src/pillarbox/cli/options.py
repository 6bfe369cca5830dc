"""What every server of ours is told on the command line, and how a command is made.

A command is a module of this folder, named in the table of __init__.py, that has a function under
two decorators::

    @command("sink", example="pillarbox sink --dump ./mails")
    @listening_options
    @cloup.option("--dump", metavar="DIR", help="Keep each message in this folder.")
    def sink(listening: Listening, dump: str | None) -> None:
        \"\"\"Accept mail and discard it.\"\"\"
        from pillarbox.cli.run import run          # here, so that --help loads no event loop

        run(lambda: Sink(dump), listening)

Without `@listening_options` it is one that does not listen, and is called with its own options
alone. The first line of its docstring is its help. Options get their environment variables and
their keys in the configuration file from `@command`. Whatever is wrong is raised as
`Failure("what, and what to write instead")`; run.py tells what a server is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import cloup

from pillarbox.cli.errors import Failure
from pillarbox.config import Config, ConfigError
from pillarbox.listen import ListenAddress

__all__ = ["Listening", "listening_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and how a server listens: what the common options say."""

    addresses: tuple[ListenAddress, ...]
    config: Config
    workers: int
    loop: str
    log_format: str
    log_level: str


def _address(text: str) -> ListenAddress:
    try:
        return ListenAddress.parse(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


class _Seconds(click.FloatRange):
    """A time that passes: more than nothing, less than for ever."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number of seconds."""
        seconds = super().convert(value, param, ctx)
        assert isinstance(seconds, float)
        if not math.isfinite(seconds):
            self.fail(
                f"{value!r} is not a valid number of seconds; write one such as 300", param, ctx
            )
        return seconds


_COUNT = click.IntRange(min=1)

_GROUPS = (
    cloup.option_group(
        "Listening",
        cloup.option(
            "--listen",
            metavar="HOST:PORT",
            type=_address,
            multiple=True,
            default=["127.0.0.1:1025"],
            help="Where to listen; again for more. '[::1]:25' and 'unix:/path' do as well,"
            " port 0 picks a free one.",
        ),
        cloup.option("--hostname", metavar="NAME", help="The name in the greeting.",
                     show_default="the machine's"),
    ),
    cloup.option_group(
        "Limits",
        cloup.option("--max-message-bytes", metavar="N", type=click.IntRange(min=0),
                     default=33_554_432, help="The largest message taken; 0 is no limit."),
        cloup.option("--max-recipients", metavar="N", type=_COUNT, default=1000,
                     help="The most recipients of one message."),
        cloup.option("--max-connections", metavar="N", type=_COUNT, default=1000,
                     help="The most connections at once, for each worker."),
        cloup.option("--max-connections-per-ip", metavar="N", type=_COUNT, default=100,
                     help="The most of them from one address."),
        cloup.option("--idle-timeout", metavar="SECONDS", type=_Seconds(), default=300,
                     help="Close a connection that is silent for so long."),
    ),
    cloup.option_group(
        "Running",
        cloup.option("--workers", metavar="N", type=_COUNT, default=1,
                     help="How many processes share the port."),
        cloup.option("--loop", type=click.Choice(["auto", "asyncio", "uvloop"]), default="auto",
                     help="The event loop; auto takes uvloop where it is installed."),
        cloup.option("--log-format", type=click.Choice(["text", "json"]), default="text",
                     help="How log lines look on standard error."),
        cloup.option("--log-level", default="info",
                     type=click.Choice(["debug", "info", "warning", "error"]),
                     help="The least that is logged."),
    ),
)  # fmt: skip

_Function = TypeVar("_Function", bound=Callable[..., Any])


def listening_options(function: _Function) -> Callable[..., Any]:
    """Give a command the common options, as its first argument `listening`."""

    @functools.wraps(function)
    def with_listening(**options: Any) -> Any:
        return function(_take_listening(options), **options)

    decorated: Callable[..., Any] = with_listening
    for group in reversed(_GROUPS):
        decorated = group(decorated)
    return decorated


def _take_listening(options: dict[str, Any]) -> Listening:
    """Take the common options out of all of them."""
    hostname = options.pop("hostname")
    named = {} if hostname is None else {"hostname": hostname}
    try:
        config = Config(
            **named,
            max_message_bytes=options.pop("max_message_bytes"),
            max_recipients=options.pop("max_recipients"),
            max_connections=options.pop("max_connections"),
            max_connections_per_ip=options.pop("max_connections_per_ip"),
            idle_timeout_seconds=options.pop("idle_timeout"),
        )
    except ConfigError as error:
        raise Failure(str(error)) from None
    addresses = tuple(options.pop("listen"))
    if not addresses:
        raise Failure("--listen is empty; write an address such as 127.0.0.1:1025")
    return Listening(
        addresses=addresses,
        config=config,
        **{name: options.pop(name) for name in ("workers", "loop", "log_format", "log_level")},
    )
