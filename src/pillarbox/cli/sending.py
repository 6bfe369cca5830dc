"""Letters over the network: one with the dialogue shown, or many to fill a server.

The exit status is 0 where every recipient of every message was accepted and 1 where something was
refused; where there is no session, or none any more, it is a `Failure`. How the server is got at
is access.py's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from pillarbox.asyncio.client import Client
from pillarbox.asyncio.client_error import SessionError, SessionRefused
from pillarbox.cli.access import Access
from pillarbox.cli.letter import Letter
from pillarbox.log import visible
from pillarbox.protocol.client_event import Outcome
from pillarbox.protocol.event import BodyType

__all__ = ["Sending", "send_many", "send_one"]


@dataclass(frozen=True, slots=True)
class Sending:
    """What to send, and where to."""

    letters: Sequence[Letter]
    access: Access
    body: BodyType | None = None

    async def over(self, client: Client, number: int = 0) -> Outcome:
        """Send the letter whose turn it is."""
        letter = self.letters[number % len(self.letters)]
        return await client.send(
            letter.mail_from,
            letter.rcpt_tos,
            letter.compose(),
            body=self.body,
            smtputf8=letter.smtputf8,
        )


def _refusals(outcome: Outcome) -> list[str]:
    return [
        f"refused: {one.address}: {one.reply}"
        + ("" if one.command else " (the message was not sent)")
        for one in outcome.refused
    ]


# One message


def send_one(sending: Sending) -> int:
    """Send the letter once and show the dialogue; give the exit status."""
    return asyncio.run(_send_one(sending))


async def _send_one(sending: Sending) -> int:
    try:
        async with sending.access.session(_dialogue()) as client:
            outcome = await sending.over(client)
    except SessionRefused as error:
        click.echo(f"refused: {visible(str(error.reply))}", err=True)
        return 1
    except (OSError, SessionError) as error:
        raise sending.access.failure(error) from None
    for line in _refusals(outcome):
        click.echo(visible(line), err=True)
    return 0 if outcome.is_accepted else 1


def _dialogue() -> Callable[[str], None]:
    """Print each line on standard error, in colours where somebody looks."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)

    def show(line: str) -> None:
        console.print(Text(visible(line), _style(line)))

    return show


def _style(line: str) -> str:
    if line.startswith("T: "):
        return "yellow" if "not verified" in line else "blue"
    if line.startswith("C: "):
        return "cyan"
    return "red" if line[3:4] in ("4", "5") else "green"


# Many messages


class _Load:
    """Many sendings, in turn of each letter, shared among connections.

    Args:
        sending: What to send.
        count: How many times.
        advance: Called after each.
    """

    def __init__(self, sending: Sending, count: int, advance: Callable[[], object]) -> None:
        self.accepted = 0
        self.failed = 0
        self._count = self.left = count
        """How many have not been begun."""
        self.refusal: str | None = None
        """The first one, for an example."""
        self.error: OSError | SessionError | None = None
        """The first thing that broke a session or kept one from being."""
        self._sending = sending
        self._advance = advance

    async def run(self, connections: int) -> None:
        """Send it all, or as much of it as there are connections for."""
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(self._connect())

    async def _connect(self) -> None:
        """Send what is left over one connection after the other, until none can be made."""
        while self.left > 0:
            has_begun = False
            try:
                async with self._sending.access.session() as client:
                    has_begun = True
                    if self.left > 0:  # others may have sent all of it meanwhile
                        await self._send(client)
                    while self.left > 0 and client.is_open:
                        await self._send(client)
            except (OSError, SessionError) as error:
                self.error = self.error or error
                if not has_begun:
                    return

    async def _send(self, client: Client) -> None:
        number = self._count - self.left
        self.left -= 1
        is_accepted = False
        try:
            outcome = await self._sending.over(client, number)
            is_accepted = outcome.is_accepted
            if not is_accepted:
                self.refusal = self.refusal or _refusals(outcome)[0]
        finally:
            self.accepted += is_accepted
            self.failed += not is_accepted
            self._advance()


def send_many(sending: Sending, count: int, connections: int) -> int:
    """Send the letters many times in all, show how far it is and how fast; give the exit status.

    Raises:
        Failure: There was no connection, or not to the end.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    sending.access.client()  # to say what is wrong with it before any bar is drawn
    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=count)
        load = _Load(sending, count, lambda: progress.advance(bar))
        begin = time.monotonic()
        asyncio.run(load.run(min(connections, count)))
        seconds = time.monotonic() - begin
    sent = load.accepted + load.failed
    if sent or load.error is None:
        rate = sent / seconds if seconds else 0
        sys.stdout.write(
            f"{sent} messages in {seconds:.2f} s, {rate:.0f} messages/s,"
            f" {load.failed + load.left} failures\n"
        )
    if load.refusal is not None:
        click.echo(visible(f"for example, {load.refusal}"), err=True)
    if isinstance(load.error, SessionRefused) and load.accepted < count:
        click.echo(visible(f"refused: {load.error.reply}"), err=True)
    elif load.error is not None and load.accepted < count:
        raise sending.access.failure(load.error)
    return 0 if load.accepted == count else 1
