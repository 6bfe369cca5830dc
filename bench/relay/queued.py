"""Starting with mail in the queue: how long until more is taken."""

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from bench.load import Dialogue
from bench.relay.relays import FOLDER, pillarbox
from bench.relay.sink import Sink
from bench.servers import running
from pillarbox.relay.spool import NewMessage, NewRecipient
from pillarbox.relay.sqlite import SqliteSpool

MESSAGES = 100_000

_OCTETS = 1024
_AT_ONCE = 500
_LIFETIME_SECONDS = 432_000.0


@dataclass(frozen=True, slots=True)
class Start:
    """A start with a full queue, in seconds from the start of the process on.

    Attributes:
        greeted: Until it said 220.
        accepted: Until it had answered a message with 250.
    """

    greeted: float
    accepted: float


def start(filled: Path, sink: Sink) -> Start:
    """Start a relay with what is in a spool; that stays as it is."""
    spool = FOLDER / "started"
    shutil.rmtree(spool, ignore_errors=True)
    shutil.copytree(filled, spool)
    began = time.perf_counter()
    try:
        with running(pillarbox(sink.port, {}, spool=spool), None) as relay:
            greeted = time.perf_counter() - began
            with Dialogue(relay.port) as dialogue:
                dialogue.greet()
                dialogue.say(b"MAIL FROM:<sender@example.com>\r\n")
                dialogue.expect(b"250")
                dialogue.say(b"RCPT TO:<recipient@example.net>\r\n")
                dialogue.expect(b"250")
                dialogue.say(b"DATA\r\n")
                dialogue.expect(b"354")
                dialogue.say(b"Subject: one more\r\n\r\ntext\r\n.\r\n")
                dialogue.expect(b"250")
                accepted = time.perf_counter() - began
                dialogue.quit()
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    return Start(greeted, accepted)


def filled(sink: Sink, *, was_killed: bool) -> Path:
    """Make a spool of queued messages, with the disk told to keep them; it is made once a run.

    Args:
        sink: Where they are to go.
        was_killed: All of them were being delivered when the relay before was killed.
    """
    folder = FOLDER / ("queued-killed" if was_killed else "queued")
    shutil.rmtree(folder, ignore_errors=True)
    asyncio.run(_fill(folder, f"smtp://127.0.0.1:{sink.port}", was_killed=was_killed))
    return folder


async def _fill(folder: Path, destination: str, *, was_killed: bool) -> None:
    spool = await SqliteSpool.open(folder)
    now = time.time()
    body = (b"x" * 78 + b"\r\n") * (_OCTETS // 80)
    for start_number in range(0, MESSAGES, _AT_ONCE):
        await asyncio.gather(
            *(
                spool.put(
                    NewMessage(
                        mail_from=f"sender{number % 100}@example.com",
                        recipients=(
                            NewRecipient(
                                address=f"recipient{number}@example.net", destination=destination
                            ),
                        ),
                        created=now,
                        expires=now + _LIFETIME_SECONDS,
                    ),
                    body,
                    lease_seconds=3600.0 if was_killed else None,
                )
                for number in range(start_number, start_number + _AT_ONCE)
            )
        )
    await spool.close()
