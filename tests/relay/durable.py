"""Programs that use a spool while recorder.c looks on: `python -m tests.relay.durable NAME FOLDER`.

Each says in the file `said` what it was told is safe; test_sqlite_durability.py compares.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from pillarbox.relay.spool import Spool, SpoolError, SpoolFull
from pillarbox.relay.sqlite import SqliteSpool
from tests.relay.conformance import BODY, DELIVERED, LARGE, drafted, message

Say = Callable[[str], None]


async def one_by_one(spool: Spool, root: Path, say: Say) -> None:
    """Put small and large ones, by drafts and whole, and finish some."""
    for turn in range(3):
        stored = await spool.put(message(), BODY, lease_seconds=60)
        say(f"safe {turn}")
        await spool.put(message(), LARGE)
        say(f"safe large {turn}")
        await spool.put(message(), await drafted(spool, LARGE, LARGE, BODY))
        say(f"safe draft {turn}")
        await spool.finish(stored.leases[0], {0: DELIVERED}, notices=[(message(), LARGE)])
        say(f"safe finish {turn}")


async def failing(spool: Spool, root: Path, say: Say) -> None:
    """Put while it works, while the disk fails, and while it works again."""
    bodies = {"large": LARGE, "small": BODY}
    for name, body in bodies.items():
        await spool.put(message(mail_from=f"{name}@before.test"), body)
    (root / "failing").touch()
    for name, body in bodies.items():
        for _ in range(2):
            try:
                await spool.put(message(mail_from=f"{name}@during.test"), body)
            except SpoolFull as error:
                say(f"full {name}: {error}")
            except SpoolError as error:
                say(f"error {name}: {error}")
            else:
                say(f"safe {name}")
    (root / "failing").unlink()
    for name, body in bodies.items():
        await spool.put(message(mail_from=f"{name}@after.test"), body)
        say("safe after")
    say(f"files {len(list((root / 'spool' / 'bodies').iterdir()))}")


async def sessions(spool: Spool, number: int, say: Say) -> None:
    """Have so many put and finish one message after the other."""

    async def session() -> None:
        for _ in range(20):
            stored = await spool.put(message(), BODY * 100, lease_seconds=60)
            await spool.finish(stored.leases[0], {0: DELIVERED})

    say("begin")
    await asyncio.gather(*(session() for _ in range(number)))
    say("end")


async def twenty(spool: Spool, root: Path, say: Say) -> None:
    """Have twenty sessions."""
    await sessions(spool, 20, say)


async def two_hundred(spool: Spool, root: Path, say: Say) -> None:
    """Have two hundred sessions."""
    await sessions(spool, 200, say)


PROGRAMS: dict[str, Callable[[Spool, Path, Say], Awaitable[None]]] = {
    program.__name__: program for program in (one_by_one, failing, twenty, two_hundred)
}


async def main(name: str, root: Path) -> None:
    with (root / "said").open("ab", buffering=0) as said:

        def say(text: str) -> None:
            said.write(text.encode())

        spool = await SqliteSpool.open(root / "spool", min_free_bytes=0, min_free_files=0)
        await PROGRAMS[name](spool, root, say)
        await spool.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
