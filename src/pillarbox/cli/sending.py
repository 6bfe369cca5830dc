"""A letter over the network: once with the dialogue shown, or many times to fill a server.

The exit status is 0 where every recipient of every message was accepted and 1 where something was
refused; where there is no connection, or none any more, it is a `Failure`.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import click

from pillarbox.asyncio.client import Client, connect, connect_unix
from pillarbox.asyncio.client_error import SessionError, SessionLost, SessionRefused
from pillarbox.cli.errors import Failure
from pillarbox.cli.letter import Letter
from pillarbox.listen import ListenAddress
from pillarbox.log import visible
from pillarbox.protocol.client_event import Outcome
from pillarbox.protocol.event import BodyType

__all__ = ["Sending", "send_many", "send_one"]


@dataclass(frozen=True, slots=True)
class Sending:
    """What to send, where to and how."""

    letter: Letter
    server: ListenAddress
    body: BodyType | None = None
    hostname: str | None = None

    def client(self, trace: Callable[[str], None] | None = None) -> Client:
        """Make a client, not connected yet.

        Raises:
            Failure: The host name is none.
        """
        server = self.server
        try:
            if server.path is not None:
                return connect_unix(server.path, hostname=self.hostname, trace=trace)
            return connect(server.host, server.port, hostname=self.hostname, trace=trace)
        except ValueError:
            raise Failure(
                f"--hostname {self.hostname!r} is no host name; write one such as client.example"
            ) from None

    async def over(self, client: Client) -> Outcome:
        """Send the letter once."""
        letter = self.letter
        return await client.send(
            letter.mail_from,
            letter.rcpt_tos,
            letter.compose(),
            body=self.body,
            smtputf8=letter.smtputf8,
        )

    def failure(self, error: OSError | SessionError) -> Failure:
        """Tell in one line why there is no connection, or none any more."""
        server = self.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        name = f"{host}:{server.port}" if server.path is None else f"unix:{server.path}"
        if isinstance(error, OSError):
            return Failure(
                f"no connection to {name}: {_reason(error)}; is --server right, and does it run?"
                " 'pillarbox catch' starts one"
            )
        if error.outcome is not None and error.outcome.is_in_doubt:
            return Failure(f"{name}: {error}; the message may have been delivered all the same")
        return Failure(f"{name}: {error}; the message was not delivered, try again")


def _reason(error: OSError) -> str:
    """Say what the system said; asyncio puts several attempts into one text."""
    found = re.search(r"\[Errno (\d+)\]", str(error))
    number = int(found[1]) if found else 0
    return os.strerror(number) if number else error.strerror or str(error)


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
        async with sending.client(_dialogue()) as client:
            outcome = await sending.over(client)
    except SessionRefused as error:
        click.echo(f"refused: {visible(str(error.reply))}", err=True)
        return 1
    except (OSError, SessionLost) as error:
        raise sending.failure(error) from None
    for line in _refusals(outcome):
        click.echo(visible(line), err=True)
    return 0 if outcome.is_accepted else 1


def _dialogue() -> Callable[[str], None]:
    """Print each line on standard error, in colours where somebody looks."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)

    def show(line: str) -> None:
        style = "cyan" if line.startswith("C: ") else "red" if line[3] in "45" else "green"
        console.print(Text(visible(line), style))

    return show


# Many messages


class _Load:
    """Many sendings of one letter, shared among connections.

    Args:
        sending: What to send.
        count: How many times.
        advance: Called after each.
    """

    def __init__(self, sending: Sending, count: int, advance: Callable[[], object]) -> None:
        self.accepted = 0
        self.failed = 0
        self.left = count
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
        while self.left:
            client = self._sending.client()
            try:
                await client.open()
            except (OSError, SessionError) as error:
                self.error = self.error or error
                return
            try:
                await self._send(client)
                while self.left and client.is_open:
                    await self._send(client)
                await client.quit()
            except SessionLost as error:
                self.error = self.error or error
            finally:
                await client.abort()

    async def _send(self, client: Client) -> None:
        self.left -= 1
        is_accepted = False
        try:
            outcome = await self._sending.over(client)
            is_accepted = outcome.is_accepted
            if not is_accepted:
                self.refusal = self.refusal or _refusals(outcome)[0]
        finally:
            self.accepted += is_accepted
            self.failed += not is_accepted
            self._advance()


def send_many(sending: Sending, count: int, connections: int) -> int:
    """Send the letter many times, show how far it is and how fast; give the exit status.

    Raises:
        Failure: There was no connection, or not to the end.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    sending.client()  # to say what is wrong with it before any bar is drawn
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
        raise sending.failure(load.error)
    return 0 if load.accepted == count else 1
