"""The crash test of a cluster: `make crash-cluster`, or `python -m tests.crash.cluster --nodes 3`.

Nodes share one PostgreSQL. They are killed as one node is by `make crash`; beside that, they are
stopped for longer than their leases last and go on, and the database is killed with all of its
processes, in the middle of commits, and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.crash.run import Figures, Plan, Report, crash
from tests.relay.postgres_server import PostgresServer

__all__ = ["LEASE_SECONDS", "Cluster", "crash_cluster"]

LEASE_SECONDS = 12
# What it does when it goes on, until it knows.
RESUME_SECONDS = 2.0


class Cluster:
    """Nodes that are stopped, and a database that is killed.

    Args:
        server: The database.
        dice: For when.
        lease_seconds: How long leases last.
        pause_seconds: So long nothing of it happens, about.
        stops: Whether nodes are stopped.
        kills: Whether the database is killed. Where it is not, the spool always works, and the
            ledger knows better what must not come twice.
    """

    def __init__(
        self,
        server: PostgresServer,
        dice: random.Random,
        *,
        lease_seconds: float,
        pause_seconds: float,
        stops: bool,
        kills: bool,
    ) -> None:
        self.database_kills = 0
        self.node_stops = 0
        self._spans: dict[str, list[tuple[float, float]]] = {}
        self._server = server
        self._dice = dice
        # What a node has when it is stopped is another's before it goes on.
        self._stop_seconds = lease_seconds + 3.0
        self._pause_seconds = pause_seconds
        self._stops = stops
        self._kills = kills
        self._starting: asyncio.Task[None] | None = None
        self._is_up = True

    @property
    def is_sound(self) -> bool:
        """Whether the spool always works."""
        return not self._kills

    def environment(self) -> Mapping[str, str]:
        """Wait for the database: a node does not start without it."""
        while not self._is_up:
            time.sleep(0.05)
        return {}

    def killed(self) -> None:
        """Do nothing: what a dead node had, others get."""

    async def trouble(self, runs: Callable[[], bool]) -> None:
        """Kill the database and stop nodes, by turns."""
        turn = 0
        while True:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * self._pause_seconds)
            while not runs():
                await asyncio.sleep(0.01)
            turn += 1
            if self._kills and (turn % 2 or not self._stops):
                await asyncio.shield(self._kill_database())
            elif self._stops:
                await asyncio.shield(self._stop_node())

    async def _kill_database(self) -> None:
        self._is_up = False
        await asyncio.to_thread(self._kill_and_start)
        self.database_kills += 1

    def _kill_and_start(self) -> None:
        try:
            self._server.kill()
            time.sleep(self._dice.uniform(0, 1.5))
            self._server.start()
        finally:
            self._is_up = True  # here: who waits for it may have the event loop

    async def _stop_node(self) -> None:
        """Stop one that lives long enough; it may be killed meanwhile, which is well."""
        nodes = list(_nodes())
        if not nodes:
            return
        process, name = self._dice.choice(nodes)
        begun = time.time()
        spans = self._spans.setdefault(name, [])
        spans.append((begun, float("inf")))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
            await asyncio.sleep(self._stop_seconds)
            os.kill(process, signal.SIGCONT)
            self.node_stops += 1
        spans[-1] = (begun, time.time() + RESUME_SECONDS)

    def stops(self) -> Mapping[str, Sequence[tuple[float, float]]]:
        """Tell which nodes it has stopped."""
        return self._spans


def _nodes() -> Iterator[tuple[int, str]]:
    """Give the processes that we have started as relays, and their names."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if b"relay" in command and b"--hostname" in command:
                    yield int(child), command[command.index(b"--hostname") + 1].decode()


async def crash_cluster(
    plan: Plan,
    server: PostgresServer,
    *,
    seed: str,
    nodes: int = 3,
    lease_seconds: int = LEASE_SECONDS,
    pause_seconds: float = 6.0,
    stops: bool = True,
    kills: bool = True,
    tell: Callable[[Figures], None] = lambda _: None,
) -> tuple[Report, Cluster]:
    """Run one; see `crash()`."""
    cluster = Cluster(
        server,
        random.Random(f"{seed} cluster"),
        lease_seconds=lease_seconds,
        pause_seconds=pause_seconds,
        stops=stops,
        kills=kills,
    )
    report = await crash(
        plan,
        spool=server.url(),
        seed=seed,
        nodes=nodes,
        machine=cluster,
        options=("--lease", f"{lease_seconds}s"),
        tell=tell,
    )
    return report, cluster


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.cluster")
    parser.add_argument("--messages", type=int, default=30_000, help="to be acked (%(default)s)")
    parser.add_argument("--kills", type=int, default=60, help="of nodes (%(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="how many (%(default)s)")
    parser.add_argument("--seconds", type=float, default=900, help="at most (%(default)s)")
    parser.add_argument("--spare-database", action="store_true", help="kill and stop nodes alone")
    parser.add_argument("--seed", default=secrets.token_hex(3), help="where the dice begin")
    arguments = parser.parse_args()
    console = Console()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # connections break all the time
    console.print(f"seed {arguments.seed}")
    plan = Plan(
        messages=arguments.messages,
        kills=arguments.kills,
        seconds=arguments.seconds,
        quiet_seconds=60,
    )
    told = 0

    def tell(figures: Figures) -> None:
        nonlocal told
        if figures.kills >= told + 10:
            told = figures.kills
            console.print(
                f"{figures.acked} acked, {figures.kills} kills, {figures.waiting} wait;"
                f" {figures.doing}"
            )

    with PostgresServer() as server:
        report, cluster = asyncio.run(
            crash_cluster(
                plan,
                server,
                seed=arguments.seed,
                nodes=arguments.nodes,
                kills=not arguments.spare_database,
                tell=tell,
            )
        )
    verdict = report.verdict
    for line in (*verdict.lost[:20], *verdict.wrong[:20]):
        console.print(line, style="red", soft_wrap=True, markup=False, highlight=False)
    table = Table(title="What came of it")
    for name, value in (
        ("acked", verdict.acked),
        ("kills of nodes", report.kills),
        ("kills of the database", cluster.database_kills),
        ("nodes stopped past their leases", cluster.node_stops),
        ("lost", len(verdict.lost)),
        ("wrong", len(verdict.wrong)),
        ("got it again: a lost reply", verdict.reply_lost),
        ("got it again: a kill", verdict.killed),
        ("got it again: a stop", verdict.stopped),
        ("seconds", round(report.seconds)),
    ):
        table.add_row(name, f"{value:,}")
    console.print(table)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
