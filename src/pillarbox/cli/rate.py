"""Rates as options take them: `100/1m` is so many in so much time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pillarbox.cli.duration import Duration

if TYPE_CHECKING:
    from pillarbox.relay.rate import Rate

__all__ = ["MessageRate"]

# A shorter time would be over before the answer of a database that is far away.
LEAST_SECONDS = 1.0
MOST_DIGITS = 9


class MessageRate(click.ParamType):  # type: ignore[type-arg]  # of newer versions of click
    """So many messages in so much time: `100/1m`, `20/1s`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        """Read it."""
        from pillarbox.relay.rate import Rate

        if isinstance(value, Rate):
            return value
        messages, _, time = str(value).partition("/")
        try:
            seconds = Duration().convert(time, param, ctx)
        except click.BadParameter:
            seconds = 0.0
        is_number = messages.isascii() and messages.isdigit() and len(messages) <= MOST_DIGITS
        if not (is_number and int(messages) and seconds):
            self.fail(
                f"{value!r} is no rate; write how many messages in which time, such as 100/1m or"
                " 20/1s",
                param,
                ctx,
            )
        if seconds < LEAST_SECONDS:
            self.fail(f"{value!r} has a time of less than a second; write 20/1s", param, ctx)
        return Rate(int(messages), seconds)
