"""The long crash test: `make crash`, or `python -m tests.crash --messages 3000 --seed mine`.

The relay is killed on a sound machine, on one whose disk fails now and then, on one that loses its
power, and on one that does both. With `--without-sync` a sync is left out, and losses have to be
seen. Exits with 1, and keeps the spool, at the first part in which the promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.crash.machine import SYNCS, FailingDisk, Machine, PowerLoss, Sound
from tests.crash.progress import make_console, showing
from tests.crash.run import Plan, Report, crash
from tests.relay.recorder import build_recorder

PARTS = {"kill": 1.0, "disk": 0.1, "power": 0.1, "both": 0.1}
"""The parts, and how many of the messages each has; of the kills each has the root of that."""

SHOWN = 20


def main() -> int:
    arguments = _arguments()
    console = make_console()
    console.print(f"seed {arguments.seed}")
    table = Table(title="What came of it")
    for column in (
        "part",
        "acked",
        "kills",
        "lost",
        "wrong",
        "got it again",
        "of these",
        "seconds",
    ):
        table.add_column(column, justify="left" if column in ("part", "of these") else "right")
    good = True
    for part in ["power"] if arguments.without_sync else arguments.part or PARTS:
        report = _run(part, arguments, console)
        table.add_row(*_row(part, report))
        good = report.verdict.is_good
        if not good:
            break
    console.print(table)
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--messages", type=int, default=30_000, help="to be acked (%(default)s)")
    parser.add_argument("--kills", type=int, default=100, help="of the relay (%(default)s)")
    parser.add_argument("--seconds", type=float, default=900, help="most for a part (%(default)s)")
    parser.add_argument("--quiet", type=float, default=40, help="when nothing moves for so long,"
                        " nothing will any more (%(default)s seconds)")  # fmt: skip
    parser.add_argument("--large", type=int, default=12, help="of 1000 messages (%(default)s)")
    parser.add_argument("--seed", default=secrets.token_hex(3), help="where the dice begin")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--without-sync", choices=SYNCS, help="leave these out: power alone")
    return parser.parse_args()


def _run(part: str, arguments: argparse.Namespace, console: Console) -> Report:
    share = PARTS[part]
    plan = Plan(
        messages=round(arguments.messages * share),
        kills=round(arguments.kills * share**0.5),
        seconds=arguments.seconds,
        quiet_seconds=arguments.quiet,
        large=arguments.large,
        is_away=arguments.without_sync is not None,
    )
    folder = Path(tempfile.mkdtemp(prefix="pillarbox-crash-")).resolve()
    root = folder / "root"
    root.mkdir()
    seed = f"{arguments.seed} {part}"
    machine = _machine(part, root, random.Random(f"{seed} machine"), arguments.without_sync)
    with showing(console, part, plan.messages) as tell:
        spool = str(root / "spool")
        report = asyncio.run(crash(plan, spool=spool, seed=seed, machine=machine, tell=tell))
    verdict = report.verdict
    for line in (*verdict.lost[:SHOWN], *verdict.wrong[:SHOWN]):
        console.print(line, style="red", soft_wrap=True, markup=False, highlight=False)
    faults = ", ".join(f"{name} {number}" for name, number in sorted(report.faults.items()))
    console.print(f"{part}: the next hop's faults: {faults}", highlight=False)
    if verdict.is_good:
        shutil.rmtree(folder)
    else:
        console.print(f"{part}: the spool is in {folder}", style="red", highlight=False)
    return report


def _machine(part: str, root: Path, dice: random.Random, without_sync: str | None) -> Machine:
    if part == "kill":
        return Sound()
    recorder = build_recorder(root.parent)
    if part == "power":
        return PowerLoss(root, recorder, dice, without_sync=without_sync)
    failing = FailingDisk(root, recorder, dice)
    return failing if part == "disk" else PowerLoss(root, recorder, dice, failing=failing)


def _row(part: str, report: Report) -> tuple[str, ...]:
    verdict = report.verdict
    return (
        part,
        f"{verdict.acked:,}",
        str(report.kills),
        str(len(verdict.lost)),
        str(len(verdict.wrong)),
        str(verdict.reply_lost + verdict.killed),
        f"{verdict.reply_lost} lost replies, {verdict.killed} kills",
        f"{report.seconds:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
