"""A crash test: clients send, nodes are killed and started again, the next hop goes wrong.

At last everything drains, and the ledger gives its verdict. How many nodes there are, on what spool
and on what machine, is for the caller to say:

::

    report = await crash(Plan(messages=400, kills=4), spool="/some/folder/spool", seed="mine")
    assert report.verdict.is_good, report.verdict
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace

from tests.cli.program import clean_environment
from tests.crash.client import Client, Letters
from tests.crash.ledger import Ledger, Verdict
from tests.crash.machine import Machine, Sound
from tests.crash.next_hop import NextHop
from tests.crash.node import PROGRAM, ROOT, Node, NodeFailed, relay_options

__all__ = ["Figures", "Plan", "Report", "crash"]

POLL_SECONDS = 0.01
# When nothing moves for so long it is asked whether there is anything left.
QUIET_SECONDS = 0.7
# Of a hundred kills, so many come while a node starts, and so many after a SIGTERM.
EARLY, AFTER_TERM = 10, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much.

    Attributes:
        messages: How many have to be acked.
        kills: How many there have to be; the last one comes when all has been sent.
        seconds: Within which time that is to be done.
        large: How many of a thousand are larger than 64 KiB.
        is_away: The next hop is away until all has been sent, so that everything is in the spool.
        away_after_seconds: After how long it is away for a moment, from and to.
        clients: How many send at once.
        most_waiting: No more is sent while so many recipients wait.
        quiet_seconds: When nothing has moved for so long, nothing will any more.
        lifetime_seconds: How long the nodes try a message.
        longest_life_seconds: A node that has lived so long is killed although not enough was acked:
            the next hop may be away.
    """

    messages: int
    kills: int
    seconds: float = 900.0
    large: int = 12
    is_away: bool = False
    away_after_seconds: tuple[float, float] = (1.0, 15.0)
    clients: int = 12
    most_waiting: int = 3000
    quiet_seconds: float = 40.0
    lifetime_seconds: int = 86_400
    longest_life_seconds: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How far it is."""

    acked: int
    kills: int
    waiting: int
    doing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it.

    Attributes:
        verdict: The ledger's.
        kills: How often a node was killed.
        seconds: How long it took.
        faults: Of the next hop, how often each.
        refusals: How often clients heard which code in place of 250.
    """

    verdict: Verdict
    kills: int
    seconds: float
    faults: Counter[str]
    refusals: Counter[int]


async def crash(
    plan: Plan,
    *,
    spool: str,
    seed: str,
    nodes: int = 1,
    machine: Machine | None = None,
    options: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
    tell: Callable[[Figures], None] = lambda _: None,
) -> Report:
    """Run one.

    Args:
        plan: How much.
        spool: What `--spool` takes.
        seed: Where the dice begin.
        nodes: How many run at once on the spool.
        machine: What they run on; a sound one where it is not given.
        options: More options of the nodes.
        program: What runs `relay` and its options.
        tell: Called again and again with how far it is.
    """
    run = _Run(plan, spool, seed, machine or Sound(), tell)
    return await run.run(nodes, program, options)


class _Run:
    def __init__(
        self, plan: Plan, spool: str, seed: str, machine: Machine, tell: Callable[[Figures], None]
    ) -> None:
        self._plan = plan
        self._spool = spool
        self._seed = seed
        self._dice = random.Random(seed)
        self._machine = machine
        self._tell = tell
        self._ledger = Ledger(
            lifetime_seconds=plan.lifetime_seconds, may_return=not machine.is_sound
        )
        self._hop = NextHop(
            self._ledger,
            random.Random(f"{seed} next hop"),
            is_away=plan.is_away,
            away_after_seconds=plan.away_after_seconds,
        )
        self._nodes: list[Node] = []
        self._kills = 0
        self._refusals: Counter[int] = Counter()
        self._is_over = False
        self._wrong: list[str] = []
        self._start_seconds = 1.0
        self._doing = "starting"

    async def run(self, nodes: int, program: Sequence[str], options: Sequence[str]) -> Report:
        began = time.monotonic()
        async with self._hop.serving():
            command = (
                *program,
                *relay_options(self._spool, self._hop.port),
                *("--lifetime", f"{self._plan.lifetime_seconds}s"),
                *options,
            )
            self._nodes = [Node(f"n{number}", command, self._ledger) for number in range(nodes)]
            telling = asyncio.create_task(self._report())
            try:
                await self._send_and_kill()
                await self._drain()
            except NodeFailed as error:
                self._wrong.append(str(error))
            finally:
                telling.cancel()
                await asyncio.wait([telling])
                for node in self._nodes:
                    await node.kill()
        self._tell(self._figures())
        self._ledger.outages = self._machine.outages
        verdict = self._ledger.verdict()
        tracebacks = [said for node in self._nodes for said in node.tracebacks]
        return Report(
            verdict=replace(verdict, wrong=[*tracebacks, *self._wrong, *verdict.wrong]),
            kills=self._kills,
            seconds=time.monotonic() - began,
            faults=self._hop.struck,
            refusals=self._refusals,
        )

    def _figures(self) -> Figures:
        return Figures(
            acked=self._ledger.acked,
            kills=self._kills,
            waiting=len(self._ledger.pending),
            doing=self._doing,
        )

    async def _report(self) -> None:
        while True:
            self._tell(self._figures())
            await asyncio.sleep(0.2)

    # While mail comes in

    async def _send_and_kill(self) -> None:
        letters = Letters(random.Random(f"{self._seed} letters"), large=self._plan.large)
        clients = [
            Client(
                self._ledger,
                letters,
                random.Random(f"{self._seed} {number}"),
                self._ports,
                refusals=self._refusals,
            )
            for number in range(self._plan.clients)
        ]
        self._doing = "killing"
        troubling = asyncio.create_task(self._machine.trouble(self._nodes))
        sending = asyncio.create_task(_together(*(client.run() for client in clients)))
        try:
            async with asyncio.timeout(self._plan.seconds):
                await _together(*map(self._rule, self._nodes))
        except TimeoutError:
            self._wrong.append(f"it was not done within {self._plan.seconds:.0f} seconds")
        finally:
            self._is_over = True
            troubling.cancel()
            await asyncio.wait([troubling])
            if not troubling.cancelled() and (error := troubling.exception()) is not None:
                self._wrong.append(f"there was no trouble any more: {error!r}")
            await sending

    async def _ports(self) -> Sequence[int]:
        """Give the ports of nodes once there are any; none when there are messages enough."""
        while not self._is_over:
            ports = [node.port for node in self._nodes if node.port and node.is_listening]
            waiting = 0 if self._plan.is_away else len(self._ledger.pending)
            if ports and waiting < self._plan.most_waiting:
                return ports
            await asyncio.sleep(POLL_SECONDS)
        return ()

    async def _rule(self, node: Node) -> None:
        """Start a node and kill it, until there is enough of everything."""
        await self._start(node)
        while True:
            await self._let_live(node)
            if self._is_enough():
                return
            if self._dice.random() * 100 < AFTER_TERM:
                node.signal(signal.SIGTERM)
                await asyncio.sleep(self._dice.uniform(0, 0.5))
            await self._kill(node)
            await self._start(node)

    def _is_enough(self) -> bool:
        # One kill is still to come.
        return self._ledger.acked >= self._plan.messages and self._kills + 1 >= self._plan.kills

    async def _kill(self, node: Node) -> None:
        await node.kill()
        self._kills += 1
        self._machine.killed(node.life)

    async def _start(self, node: Node) -> None:
        while True:
            began = time.monotonic()
            await self._spawn(node)
            if self._is_over or self._dice.random() * 100 >= EARLY:
                break
            await asyncio.sleep(self._dice.uniform(0, self._start_seconds))
            await self._kill(node)
        await node.ready()
        self._start_seconds = time.monotonic() - began

    async def _spawn(self, node: Node) -> None:
        await node.spawn(
            tells=self._dice.random() < 0.5,
            env=await self._machine.environment(),
        )

    async def _let_live(self, node: Node) -> None:
        """Wait for a moment by chance."""
        mean = len(self._nodes) * self._plan.messages / max(1, self._plan.kills)
        until = self._ledger.acked + min(self._dice.expovariate(1 / mean), 4 * mean)
        began = time.monotonic()
        longest = began + self._plan.longest_life_seconds
        while node.is_stopped or (self._ledger.acked < until and time.monotonic() < longest):
            node.check()
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(self._dice.uniform(0, 0.05))

    # Until nothing is left

    async def _drain(self) -> None:
        self._doing = "draining"
        await self._hop.calm_down()
        await asyncio.gather(*map(self._kill, self._nodes))
        await asyncio.gather(*map(self._start, self._nodes))
        left = -1
        seen = (-1, -1)
        asked = moved = time.monotonic()
        while left and time.monotonic() < moved + self._plan.quiet_seconds:
            await asyncio.sleep(POLL_SECONDS)
            if seen != (seen := (self._ledger.deliveries, left)):
                moved = time.monotonic()
            # To ask takes a process of its own.
            now = time.monotonic()
            is_still = not self._ledger.pending or now > moved + QUIET_SECONDS
            if is_still and now > asked + QUIET_SECONDS:
                left = await self._left()
                asked = time.monotonic()
        if left:
            self._wrong.append(f"the spool still has {left} messages")
        for node in self._nodes:
            await node.stop()

    async def _left(self) -> int:
        """Ask the program how many messages there are."""
        process = await asyncio.create_subprocess_exec(
            *(*PROGRAM, "queue", "stats", "--json", "--spool", self._spool),
            cwd=ROOT,
            env=clean_environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise NodeFailed(f"'pillarbox queue stats' ended with {process.returncode}")
        return int(json.loads(said)["messages"])


async def _together(*work: Coroutine[None, None, None]) -> None:
    """Do all of these; the first that fails ends the others."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
