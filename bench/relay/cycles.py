"""A spool alone, of either kind: messages that are accepted, leased, delivered and finished.

There is no SMTP in it: "delivered" means that the octets were handed over. `leased` is what a relay
does with mail that goes out at once, whose first lease comes with the commit; `read` is what it
does with the rest, which is leased and read later, a hundred at a time. The database is counted.

As a program it is what is measured: `python -m bench.relay.cycles KIND WAY SESSIONS SECONDS`.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench import measure
from bench.relay.alone import BODY, measured
from bench.relay.relays import FOLDER, PILLARBOX, POSTGRES
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient, Outcome, Result, Spool
from pillarbox.relay.sqlite import SqliteSpool

KINDS = (PILLARBOX, POSTGRES)
LEASED, READ = WAYS = ("leased", "read")
SESSIONS = 200

_DESTINATION = "smtp://127.0.0.1:25"
_DELIVERED = {0: Outcome(result=Result.DELIVERED, reply="250 2.0.0 Ok")}
_LEASE_SECONDS = 300.0
_BATCH = 100
_OCTETS = 1 << 20
_TIMEOUT_SECONDS = 90
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Cycles:
    """One measurement.

    Attributes:
        kind: The spool.
        way: How messages come to be leased.
        per_second: Whole cycles.
        cpu_ms: CPU of each, in milliseconds, in all processes.
    """

    kind: str
    way: str
    per_second: float
    cpu_ms: float


def cycles(kind: str, way: str, seconds: float) -> Cycles:
    """Measure a new spool, in a process of its own."""
    found = measured(
        "bench.relay.cycles", kind, way, SESSIONS, seconds, timeout_seconds=_TIMEOUT_SECONDS
    )
    return Cycles(kind, way, *found)


@contextlib.asynccontextmanager
async def _spool(kind: str) -> AsyncIterator[Spool]:
    folder = FOLDER / "cycles"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        spool: Spool
        if kind == POSTGRES:
            from pillarbox.relay.postgres import PostgresSpool
            from tests.relay.postgres_server import PostgresServer

            server = PostgresServer(folder, shared_buffers="256MB", max_wal_size="4GB")
            spool = await PostgresSpool.open(stack.enter_context(server).url())
        else:
            spool = await SqliteSpool.open(folder / "spool")
        try:
            yield spool
        finally:
            await spool.close()


class _Run:
    """What the sessions do, and count: each has one message on its way at a time."""

    def __init__(self, spool: Spool, way: str) -> None:
        self.finished = 0
        self.is_over = False
        self._spool = spool
        self._lease_seconds = _LEASE_SECONDS if way == LEASED else None
        self._is_put = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._sent: defaultdict[str, asyncio.Future[None]] = defaultdict(loop.create_future)

    async def session(self) -> None:
        """Have one message after the other accepted, and delivered."""
        while not self.is_over:
            now = time.time()
            to = NewRecipient(address="recipient@example.net", destination=_DESTINATION)
            message = NewMessage(
                mail_from="sender@example.com", recipients=(to,), created=now, expires=now + 3600
            )
            stored = await self._spool.put(message, BODY, lease_seconds=self._lease_seconds)
            if stored.leases:
                await self._finish(stored.leases[0])
            else:
                self._is_put.set()
                await self._sent[stored.id]
                del self._sent[stored.id]

    async def deliver(self) -> None:
        """Lease what the sessions have put, read and deliver it."""
        while True:
            leases = await self._spool.lease(
                _DESTINATION, time.time(), limit=_BATCH, seconds=_LEASE_SECONDS
            )
            if not leases:
                self._is_put.clear()
                await self._is_put.wait()
            await asyncio.gather(*map(self._read, leases))

    async def _read(self, lease: Lease) -> None:
        octets = b"".join([part async for part in self._spool.read(lease)])
        assert len(octets) == lease.size
        await self._finish(lease)
        self._sent[lease.id].set_result(None)

    async def _finish(self, lease: Lease) -> None:
        assert await self._spool.finish(lease, _DELIVERED)
        self.finished += 1


async def _measure(kind: str, way: str, sessions: int, seconds: float) -> tuple[float, float]:
    async with _spool(kind) as spool:
        run = _Run(spool, way)
        tasks = [asyncio.create_task(run.session()) for _ in range(sessions)]
        delivering = asyncio.create_task(run.deliver()) if way == READ else None
        await asyncio.sleep(seconds / 4)
        cpu, started, before = measure.cpu_seconds(os.getpid()), time.perf_counter(), run.finished
        await asyncio.sleep(seconds)
        taken, finished = time.perf_counter() - started, run.finished - before
        cpu = measure.cpu_seconds(os.getpid()) - cpu
        run.is_over = True
        await asyncio.gather(*tasks)
        if delivering is not None:
            delivering.cancel()
        return finished / taken, 1000 * cpu / finished


if __name__ == "__main__":
    # What pg_ctl starts is ours to count, not init's.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    kind, way, sessions, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(_measure(kind, way, int(sessions), float(seconds)))))
