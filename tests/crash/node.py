"""A node: the real `pillarbox relay` on a spool, started, killed and started again.

Each start has a name of its own, which it says at EHLO: the next hop knows by it who delivers. Now
and then it logs as JSON, in which it tells of each attempt that is on record.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cli.program import clean_environment
from tests.crash.ledger import RECORD_SECONDS, Ledger, Life, Stop

__all__ = ["PROGRAM", "Node", "NodeFailed", "relay_options"]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "pillarbox")
START_SECONDS = 30.0
# How it says that it leaves the next hop alone.
_LEAVES_ALONE = re.compile(r"no mail goes there for ([0-9]+) seconds")
LINE_OCTETS = 1_000_000


class NodeFailed(Exception):
    """It does not start, or not end; the text has what it said."""


def relay_options(spool: str, next_hop: int) -> Sequence[str]:
    """Give the options of a node that delivers to a port of this machine.

    Args:
        spool: What `--spool` takes.
        next_hop: The port.
    """
    return (
        *("relay", "--to", f"smtp://127.0.0.1:{next_hop}", "--spool", spool),
        *("--listen", "127.0.0.1:0", "--max-connections-per-ip", "1000"),
        *("--first-retry", "0.2s", "--longest-retry", "1s"),
    )


class Node:
    """One node; `start()` it.

    Args:
        name: Its own among those of a spool.
        command: What runs it; `--hostname` and `--log-format` are added.
        ledger: Where to note when it starts and ends, and what it tells.
    """

    def __init__(self, name: str, command: Sequence[str], ledger: Ledger) -> None:
        self.name = name
        self.port: int | None = None
        """Where it listens, while it does."""
        self.starts = 0
        self.log: list[str] = []
        """What the last start said, but for events."""
        self.tracebacks: list[str] = []
        """Those that any start had in its log, with what came before and after."""
        self.is_stopped = False
        """Whether it stands still."""
        self._command = command
        self._ledger = ledger
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._listens = asyncio.Event()
        self._life = Life("")
        self._alone_until = 0.0

    @property
    def life(self) -> Life:
        """The process that there is, or was last."""
        return self._life

    @property
    def is_listening(self) -> bool:
        """Whether it takes connections, and answers."""
        return self.port is not None and not self.is_stopped

    @property
    def is_delivering(self) -> bool:
        """Whether it also tries what it has: it does not while the next hop refuses sessions."""
        return self.is_listening and time.monotonic() > self._alone_until

    def check(self) -> None:
        """See that it goes on.

        Raises:
            NodeFailed: It has ended of itself.
        """
        if self._process is None or self._process.returncode is not None:
            raise NodeFailed(f"{self._life.name} has ended: {self._said()}")

    async def spawn(self, *, tells: bool, env: Mapping[str, str] | None = None) -> None:
        """Start it, and do not wait until it listens.

        Args:
            tells: Whether it tells of what is on record.
            env: More of the environment.
        """
        self.starts += 1
        self._life = Life(f"{self.name}-{self.starts}.test")
        self._ledger.start(self._life)
        self.log = []
        self._alone_until = 0.0
        self._listens.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            *("--hostname", self._life.name, "--log-format", "json" if tells else "text"),
            cwd=ROOT,
            env=clean_environment(**(env or {})),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_OCTETS,
            start_new_session=True,
        )
        self._life.process_id = self._process.pid
        self._reading = asyncio.create_task(self._read(self._process))

    async def ready(self) -> None:
        """Wait until it listens.

        Raises:
            NodeFailed: It ends, or takes too long.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._listens.wait()
        except TimeoutError:
            raise NodeFailed(f"{self._life.name} does not listen: {self._said()}") from None
        if self.port is None:
            raise NodeFailed(f"{self._life.name} does not start: {self._said()}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop_for(self, seconds: float, *, unwritten: float | None = None) -> None:
        """Have it stand still for longer than its leases last, and go on.

        Args:
            seconds: How long.
            unwritten: Since when it may have outcomes that are not on record; a moment ago where
                this is not given.
        """
        now = time.time()
        stop = Stop(now, None, min(now, unwritten or now) - RECORD_SECONDS)
        self._life.stops.append(stop)
        self.is_stopped = True
        try:
            self.signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            stop.ended = time.time()
            self.signal(signal.SIGCONT)
            self.is_stopped = False

    async def kill(self) -> None:
        """Kill it, wherever it is."""
        self.port = None
        if self._process is None:
            return
        if self._process.returncode is None:
            self._life.killed = time.time()
            self.signal(signal.SIGKILL)
        await self._gone()

    async def stop(self, seconds: float = 60.0) -> None:
        """Ask it to end.

        Raises:
            NodeFailed: It does not, or not well.
        """
        self.port = None
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                status = await self._gone()
        except TimeoutError:
            await self.kill()
            raise NodeFailed(f"{self._life.name} does not end: {self._said()}") from None
        if status != 0:
            raise NodeFailed(f"{self._life.name} ended with {status}: {self._said()}")

    async def _gone(self) -> int:
        assert self._process is not None
        assert self._reading is not None
        status = await self._process.wait()
        await self._reading  # all that it told is read before anybody else starts
        self._process = None
        for place, line in enumerate(self.log):
            if "Traceback" in line:
                said = "\n".join(self.log[max(0, place - 1) : place + 60])
                self.tracebacks.append(f"{self._life.name} said: {said[:4000]}")
                break
        return status

    def _said(self) -> str:
        return " / ".join(self.log[-5:]) or "nothing was said"

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            if text.startswith("listening on "):
                self.port = int(text.rpartition(":")[2])
                self._listens.set()
            elif text.startswith("{") and text.endswith("}"):
                self._hear(json.loads(text))
            else:
                self._say(text)
        self.port = None
        self._listens.set()

    def _say(self, text: str) -> None:
        self.log.append(text)
        if (found := _LEAVES_ALONE.search(text)) is not None:
            self._alone_until = time.monotonic() + int(found[1])

    def _hear(self, record: Mapping[str, object]) -> None:
        if record.get("event") != "attempt":
            self._say(f"{record['message']} {record.get('exception', '')}")
            return
        recipients = record["recipients"]
        assert isinstance(recipients, list)
        for one in recipients:
            if one["result"] == "delivered":
                self._life.told[str(record["mail_from"]), one["address"]] += 1
