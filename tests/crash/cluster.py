"""The crash test of a cluster: `make crash-cluster`, or `python -m tests.crash.cluster --nodes 3`.

Nodes share one PostgreSQL. They are killed as one node is by `make crash`; beside that, they are
stopped for longer than their leases last and go on, and the database is killed with all of its
processes, in the middle of commits, and started again. What a dead node held has to be taken over
in time (takeover.py). With `--without` something is taken out of the nodes, which has to be seen
(careless.py). Exits with 1 where the promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from tests.crash.careless import FAULTS, careless
from tests.crash.ledger import Life
from tests.crash.node import PROGRAM, Node
from tests.crash.progress import make_console, showing
from tests.crash.run import Figures, Plan, Report, crash
from tests.crash.takeover import Takeovers, most_seconds
from tests.relay.postgres_server import PostgresServer

__all__ = ["LEASE_SECONDS", "Cluster", "Trouble", "crash_cluster"]

LEASE_SECONDS = 8
# So much longer than the leases last is a node stopped: others are to have what it had.
STOP_SECONDS = 4.0
# How long it takes nodes to write what they kept in memory while the database was away.
WRITE_SECONDS = 8.0
# A node that is stopped has so many leases, if there is one that has; it is looked for so often.
ENOUGH_LEASES = 30
TRIES = 30
# A commit that was under way when a node was stopped is over.
SETTLE_SECONDS = 0.3

SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is done to a cluster beside killing its nodes.

    Attributes:
        kill_seconds: So often the database is killed, about; `None` for never. Where it is not, the
            spool always works, and the ledger knows better what must not come twice.
        stop_seconds: So long no node is stopped, about; `None` for ever.
    """

    kill_seconds: float | None = 12.0
    stop_seconds: float | None = 2.0


class Cluster:
    """Nodes that are stopped, and a database that is killed.

    Args:
        server: The database.
        dice: For when.
        lease_seconds: How long leases last.
        trouble: What is done.
    """

    def __init__(
        self, server: PostgresServer, dice: random.Random, *, lease_seconds: float, trouble: Trouble
    ) -> None:
        self.database_kills = 0
        self.outages: list[tuple[float, float]] = []
        self.stops = 0
        self.stops_with_leases = 0
        """Of these, how many nodes had leases, which were over when they went on."""
        self.takeovers = Takeovers(server.url(), runs=self._runs, stopped=self._stopped)
        self._server = server
        self._dice = dice
        self._lease_seconds = lease_seconds
        self._trouble = trouble
        self._nodes: Sequence[Node] = ()
        self._is_up = asyncio.Event()
        self._is_up.set()
        self._gone_at = 0.0  # when the database was killed last
        self._back_at = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether the spool always works."""
        return self._trouble.kill_seconds is None

    async def environment(self) -> Mapping[str, str]:
        """Wait for the database: a node does not start without it."""
        await self._is_up.wait()
        return {}

    def killed(self, life: Life) -> None:
        """Look what becomes of what it had."""
        self.takeovers.died(life.process_id)

    async def trouble(self, nodes: Sequence[Node]) -> None:
        """Kill the database and stop nodes."""
        self._nodes = nodes
        async with asyncio.TaskGroup() as group:
            group.create_task(self.takeovers.watch())
            if self._trouble.kill_seconds is not None:
                group.create_task(self._kill_databases(self._trouble.kill_seconds))
            if self._trouble.stop_seconds is not None:
                group.create_task(self._stop_nodes(self._trouble.stop_seconds))

    def _runs(self) -> bool:
        return any(node.is_delivering for node in self._nodes)

    def _stopped(self) -> Sequence[int]:
        return [node.life.process_id for node in self._nodes if node.is_stopped]

    async def _kill_databases(self, pause_seconds: float) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * pause_seconds)
            while not all(node.port for node in self._nodes):
                await asyncio.sleep(0.01)
            self._is_up.clear()
            self._gone_at = time.time()
            killing = asyncio.ensure_future(asyncio.to_thread(self._kill_database))
            try:
                await asyncio.shield(killing)
            finally:
                await asyncio.wait([killing])
                self._back_at = time.time()
                self._is_up.set()
            self.database_kills += 1

    def _kill_database(self) -> None:
        self._server.kill()
        gone = time.time()
        time.sleep(self._dice.uniform(0, 1.5))
        self.outages.append((gone, time.time()))
        self._server.start()

    async def _stop_nodes(self, pause_seconds: float) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * pause_seconds)
            node = await self._one_with_leases()
            if node is not None and node.is_listening:
                await self._stop(node)

    async def _one_with_leases(self) -> Node | None:
        """Find the node that has most in hand, waiting a while for one that has enough."""
        node = None
        for _ in range(TRIES):
            nodes = {node.life.process_id: node for node in self._nodes if node.is_listening}
            for process, count in (await self.takeovers.held(list(nodes))).most_common(1):
                node = nodes[process]
                if count >= ENOUGH_LEASES:
                    return node
            await asyncio.sleep(0.1)
        return node

    async def _stop(self, node: Node) -> None:
        # While the database is away, and for a moment after, outcomes are kept in memory.
        is_back = self._is_up.is_set() and time.time() > self._back_at + WRITE_SECONDS
        stopping = asyncio.ensure_future(
            node.stop_for(
                self._lease_seconds + STOP_SECONDS, unwritten=None if is_back else self._gone_at
            )
        )
        try:
            await asyncio.sleep(SETTLE_SECONDS)
            held = await self.takeovers.held([node.life.process_id])
            await asyncio.shield(stopping)
            self.stops += 1
            self.stops_with_leases += bool(held)
        finally:
            stopping.cancel()
            await asyncio.wait([stopping])


async def crash_cluster(
    plan: Plan,
    server: PostgresServer,
    *,
    seed: str,
    nodes: int = 3,
    lease_seconds: int = LEASE_SECONDS,
    trouble: Trouble | None = None,
    program: Sequence[str] = PROGRAM,
    tell: Callable[[Figures], None] = lambda _: None,
) -> tuple[Report, Cluster]:
    """Run one; see `crash()`."""
    cluster = Cluster(
        server,
        random.Random(f"{seed} cluster"),
        lease_seconds=lease_seconds,
        trouble=trouble or Trouble(),
    )
    report = await crash(
        plan,
        spool=server.url(),
        seed=seed,
        nodes=nodes,
        machine=cluster,
        options=("--lease", f"{lease_seconds}s"),
        program=program,
        tell=tell,
    )
    taken, most = cluster.takeovers.taken, most_seconds(lease_seconds)
    if taken.worst > most:
        late = f"a lease was taken over {taken.worst:.1f} seconds after its end, not within {most}"
        verdict = replace(report.verdict, wrong=[*report.verdict.wrong, late])
        report = replace(report, verdict=verdict)
    return report, cluster


def main() -> int:
    arguments = _arguments()
    console = make_console()
    console.print(f"seed {arguments.seed}")
    plan = Plan(
        messages=arguments.messages,
        kills=arguments.kills,
        seconds=arguments.seconds,
        clients=arguments.clients,
        most_waiting=arguments.most_waiting,
        longest_life_seconds=arguments.longest_life,
        away_after_seconds=(20.0, 60.0),  # each time the nodes leave it alone for 15 seconds
        quiet_seconds=60,
    )
    trouble = Trouble()
    settings: dict[str, Any] = {}
    if arguments.spare_database:
        trouble = Trouble(kill_seconds=None)
    if arguments.without == "sync":
        settings["synchronous_commit"] = "off"
    with (
        PostgresServer(**settings) as server,
        showing(console, "cluster", plan.messages) as tell,
    ):
        report, cluster = asyncio.run(
            crash_cluster(
                plan,
                server,
                seed=arguments.seed,
                nodes=arguments.nodes,
                lease_seconds=arguments.lease,
                trouble=trouble,
                program=careless(arguments.without) if arguments.without else PROGRAM,
                tell=tell,
            )
        )
    for line in (*report.verdict.lost[:SHOWN], *report.verdict.wrong[:SHOWN]):
        console.print(line, style="red", soft_wrap=True, markup=False, highlight=False)
    for name, counts in (
        ("the next hop's faults", report.faults),
        ("what clients heard in place of 250", report.refusals),
    ):
        said = ", ".join(f"{one} {number}" for one, number in sorted(counts.items()))
        console.print(f"{name}: {said}", highlight=False)
    console.print(_table(report, cluster))
    return 0 if report.verdict.is_good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.cluster")
    parser.add_argument("--messages", type=int, default=30_000, help="to be acked (%(default)s)")
    parser.add_argument("--kills", type=int, default=60, help="of nodes (%(default)s)")
    parser.add_argument("--nodes", type=int, default=3, help="how many (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1800, help="at most (%(default)s)")
    parser.add_argument("--lease", type=int, default=LEASE_SECONDS, help="seconds (%(default)s)")
    parser.add_argument("--longest-life", type=float, default=60,
                        help="most seconds until a node is killed (%(default)s)")  # fmt: skip
    parser.add_argument("--clients", type=int, default=24, help="at once (%(default)s)")
    parser.add_argument("--most-waiting", type=int, default=1000,
                        help="recipients, before clients send more (%(default)s)")  # fmt: skip
    parser.add_argument("--spare-database", action="store_true", help="kill and stop nodes alone")
    parser.add_argument("--without", choices=FAULTS, help="take this out of the nodes")
    parser.add_argument("--seed", default=secrets.token_hex(3), help="where the dice begin")
    return parser.parse_args()


def _table(report: Report, cluster: Cluster) -> Table:
    verdict, taken = report.verdict, cluster.takeovers.taken
    table = Table("", "", title="What came of it", show_header=False)
    for name, value in (
        ("acked", f"{verdict.acked:,}"),
        ("kills of nodes", f"{report.kills}"),
        ("kills of the database", f"{cluster.database_kills}"),
        ("nodes stopped past their leases", f"{cluster.stops}"),
        ("of these, with leases in hand", f"{cluster.stops_with_leases}"),
        ("lost", f"{len(verdict.lost)}"),
        ("wrong", f"{len(verdict.wrong)}"),
        ("got it again: a lost reply", f"{verdict.reply_lost:,}"),
        ("got it again: a kill", f"{verdict.killed:,}"),
        ("got it again: a stop", f"{verdict.stopped:,}"),
        ("leases of dead nodes taken over", f"{len(taken.seconds):,}"),
        ("seconds after their end, in the middle", f"{taken.median:.1f}"),
        ("seconds after their end, at most", f"{taken.worst:.1f}"),
        ("seconds", f"{report.seconds:.0f}"),
    ):
        table.add_row(name, value)
    table.columns[1].justify = "right"
    return table


if __name__ == "__main__":
    sys.exit(main())
