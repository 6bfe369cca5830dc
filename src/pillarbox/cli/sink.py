"""`pillarbox sink`: takes all mail and forgets it, or keeps each message as a file (dump.py)."""

from __future__ import annotations

from collections.abc import Awaitable

import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening, listening_options
from pillarbox.dump import Dump
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import AnyHandler, streaming

__all__ = ["DumpingSink", "Sink", "open_dump", "sink"]


@command("sink", example="pillarbox sink --listen 127.0.0.1:2525 --dump ./mails")
@cloup.option_group(
    "Keeping",
    cloup.option("--dump", metavar="DIR", help="Write each message to DIR/ID.eml and DIR/ID.json."),
)
@listening_options
def sink(listening: Listening, dump: str | None) -> None:
    """Accept mail and discard it, or keep each message as a file."""
    from pillarbox.cli.run import run

    handler: AnyHandler = Sink() if dump is None else DumpingSink(open_dump(dump))
    run(lambda: handler, listening)


class Sink:
    """Accepts everything. It asks for nothing but messages: what nobody asks for is free."""

    @streaming
    def message(self, _session: Session, _envelope: Envelope, body: Body) -> Awaitable[None] | None:
        """Let the message go."""
        return None if body.is_whole else _drain(body)


async def _drain(body: Body) -> None:
    async for _ in body:
        pass


class DumpingSink:
    """Accepts everything and keeps it.

    Args:
        dump: Where to keep it.
    """

    def __init__(self, dump: Dump) -> None:
        self._dump = dump

    @streaming
    def message(self, session: Session, envelope: Envelope, body: Body) -> Awaitable[None] | None:
        """Write the message, a large one as it comes in."""
        if not body.is_whole:
            return self._stream(session, envelope, body)
        self._dump.write(session, envelope, body.data)
        return None

    async def _stream(self, session: Session, envelope: Envelope, body: Body) -> None:
        await self._dump.stream(session, envelope, body)


def open_dump(folder: str) -> Dump:
    """Make the folder of `--dump` ready.

    Raises:
        Failure: It cannot be made or written to.
    """
    try:
        return Dump(folder)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"--dump {folder}: {reason}; give a folder that you may write to") from None
