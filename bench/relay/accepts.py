"""The spool alone: what it accepts a second by how many wait, and the syncs that takes.

As a program it is what is measured: `python -m bench.relay.accepts FOLDER SESSIONS SECONDS`.
"""

import asyncio
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.relay.alone import BODY, measured
from bench.relay.relays import FOLDER
from bench.relay.syncs import Syncs
from pillarbox.relay.spool import NewMessage, NewRecipient
from pillarbox.relay.sqlite import SqliteSpool

SESSIONS = (1, 20, 200)

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Accepts:
    """One measurement: so many sessions that wait for their 250, and send again."""

    sessions: int
    per_second: float
    syncs_per_message: float


def accepts(sessions: int, seconds: float) -> Accepts:
    """Measure a new spool, in a process of its own."""
    folder = FOLDER / "accepts"
    shutil.rmtree(folder, ignore_errors=True)
    syncs = Syncs()
    found = measured(
        "bench.relay.accepts",
        folder,
        sessions,
        seconds,
        timeout_seconds=_TIMEOUT_SECONDS,
        environment=syncs.environment,
    )
    messages, taken = found
    shutil.rmtree(folder, ignore_errors=True)
    return Accepts(sessions, messages / taken, syncs.count / messages)


async def _accept(folder: Path, sessions: int, seconds: float) -> tuple[int, float]:
    spool = await SqliteSpool.open(folder)
    started = time.perf_counter()
    messages = 0

    async def session() -> None:
        nonlocal messages
        while time.perf_counter() - started < seconds:
            now = time.time()
            to = NewRecipient(address="recipient@example.net", destination="smtp://127.0.0.1:25")
            message = NewMessage(
                mail_from="sender@example.com", recipients=(to,), created=now, expires=now + 3600
            )
            await spool.put(message, BODY)
            messages += 1

    await asyncio.gather(*(session() for _ in range(sessions)))
    taken = time.perf_counter() - started
    await spool.close()
    return messages, taken


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_accept(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
