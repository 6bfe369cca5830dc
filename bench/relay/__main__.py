"""The command line: `python -m bench.relay [ROW ...]`."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import measure
from bench.fetch import CACHE, Unavailable, fetch_postfix
from bench.load import LoadError, SmtpSource
from bench.relay import goals, queued
from bench.relay.accepts import SESSIONS, Accepts, accepts
from bench.relay.crowded import MESSAGES, Crowded, crowded
from bench.relay.cycles import KINDS, WAYS, Cycles, cycles
from bench.relay.flow import Flow, flow
from bench.relay.postfix import version
from bench.relay.relays import FOLDER, POSTFIX, POSTGRES, RELAYS
from bench.relay.sink import sinking
from bench.relay.syncs import disk_sync_seconds, library
from bench.report import digits, write_json
from bench.servers import ServerError

_ACCEPTS = "accepts"
_CYCLES = "cycles"
_CROWDED = "crowded"
_START = "start"
_ALONE = (_ACCEPTS, _CYCLES, _CROWDED, _START)
ROWS = (*(load.key for load in goals.LOADS), *_ALONE)
_FAILURES = (LoadError, ServerError, OSError, subprocess.SubprocessError)


class Bench:
    """A run: what was measured of each goal."""

    def __init__(self, console: Console, rounds: int, seconds: float) -> None:
        self.numbers: dict[goals.Goal, float] = {}
        self.flows: dict[tuple[str, str], list[Flow]] = {}
        self.accepts: list[Accepts] = []
        self.cycles: list[Cycles] = []
        self.crowded: Crowded | None = None
        self.starts: dict[str, list[queued.Start]] = {}
        self.failures: dict[tuple[str, str], str] = {}
        self._console = console
        self._rounds = rounds
        self._seconds = seconds

    def say(self, text: str) -> None:
        """Tell what is being done."""
        print(text, file=sys.stderr, flush=True)

    def mail(self, rows: Sequence[str], relays: Sequence[str]) -> None:
        """Measure mail through each relay, in turns."""
        source = SmtpSource(fetch_postfix())
        loads = [load for load in goals.LOADS if load.key in rows]
        for number, load, relay in product(range(1, self._rounds + 1), loads, relays):
            pair = (load.key, relay)
            if relay not in load.relays or pair in self.failures:
                continue
            self.say(f"round {number} of {self._rounds}: {load.key} by {relay}")
            try:
                with sinking() as sink:
                    found = flow(RELAYS[relay], load, source, sink, self._seconds)
            except _FAILURES as error:
                self.failures[pair] = f"{load.key} by {relay}: {error}"
                self.flows.pop(pair, None)
            else:
                self.flows.setdefault(pair, []).append(found)
        self.numbers.update(goals.reached(self.flows))

    def show_mail(self, relays: Sequence[str]) -> None:
        """Print what was measured of mail."""
        table = Table(title="4 KiB: the best of the rounds, the median in brackets")
        for heading in ("", "by", "delivered/s", "accepted/s", "CPU ms a message", "syncs each"):
            table.add_column(heading, justify="right" if heading not in ("", "by") else "left")
        for load, relay in product(goals.LOADS, relays):
            flows = self.flows.get((load.key, relay))
            if flows is None:
                continue
            delivered = [one.delivered_per_second for one in flows]
            accepted = [one.accepted_per_second for one in flows]
            cpu = [one.cpu_per_message for one in flows]
            syncs = [one.syncs_per_message for one in flows]
            table.add_row(
                f"{load.key}: {load.title}",
                relay,
                f"[bold]{max(delivered):.0f}[/] ({statistics.median(delivered):.0f})",
                f"{max(accepted):.0f} ({statistics.median(accepted):.0f})",
                f"[bold]{digits(min(cpu))}[/] ({digits(statistics.median(cpu))})",
                f"[bold]{digits(min(syncs))}[/] ({digits(statistics.median(syncs))})",
            )
        self._console.print(table)

    def accept(self) -> None:
        """Measure the spool alone."""
        table = Table(title="the spool alone, 4 KiB: the best")
        for heading in ("sessions that wait", "accepted/s", "syncs each"):
            table.add_column(heading, justify="right")
        for sessions in SESSIONS:
            self.say(f"{_ACCEPTS}: {sessions} sessions")
            try:
                found = [accepts(sessions, self._seconds) for _ in range(self._rounds)]
            except _FAILURES as error:
                self.failures[_ACCEPTS, str(sessions)] = f"{_ACCEPTS}, {sessions}: {error}"
                continue
            self.accepts += found
            rates = [one.per_second for one in found]
            syncs = [one.syncs_per_message for one in found]
            table.add_row(
                str(sessions),
                f"[bold]{max(rates):.0f}[/] ({statistics.median(rates):.0f})",
                f"[bold]{digits(min(syncs))}[/] ({digits(statistics.median(syncs))})",
            )
            if sessions in goals.ACCEPT_SYNCS:
                self.numbers[goals.ACCEPT_SYNCS[sessions]] = min(syncs)
        self._console.print(table)

    def cycle(self, relays: Sequence[str]) -> None:
        """Measure the spools alone, from the accepted message to the one that is finished."""
        table = Table(title="the spools alone, 4 KiB, 200 sessions: the best of whole cycles")
        for heading in ("by", "cycles/s", "CPU ms a cycle"):
            table.add_column(heading, justify="left" if heading == "by" else "right")
        for way, kind in product(WAYS, (kind for kind in KINDS if kind in relays)):
            self.say(f"{_CYCLES}: {way}, {kind}")
            try:
                found = [cycles(kind, way, self._seconds) for _ in range(self._rounds)]
            except _FAILURES as error:
                self.failures[_CYCLES, f"{way}, {kind}"] = f"{_CYCLES}, {way}, {kind}: {error}"
                continue
            self.cycles += found
            rates = [one.per_second for one in found]
            cpu = [one.cpu_ms for one in found]
            table.add_row(
                f"{kind}, {way}",
                f"[bold]{max(rates):.0f}[/] ({statistics.median(rates):.0f})",
                f"[bold]{digits(min(cpu))}[/] ({digits(statistics.median(cpu))})",
            )
        self.numbers.update(goals.reached_alone(self.cycles))
        self._console.print(table)

    def crowd(self) -> None:
        """Measure delivery beside a million messages that cannot go."""
        self.say(f"{_CROWDED}: filling a database takes a minute")
        try:
            with sinking() as sink:
                found = self.crowded = crowded(sink, self._seconds, self._rounds)
        except _FAILURES as error:
            self.failures[_CROWDED, "postgres"] = f"{_CROWDED}: {error}"
            return
        table = Table(title=f"{MESSAGES:,} wait for a dead destination on PostgreSQL: the best")
        for heading in ("", "delivered/s to another"):
            table.add_column(heading, justify="right" if heading else "left")
        for title, rates in (("without them", found.alone), ("with them", found.crowded)):
            table.add_row(title, f"[bold]{max(rates):.0f}[/] ({statistics.median(rates):.0f})")
        self._console.print(table)
        self.numbers[goals.CROWDED] = max(found.crowded) / max(found.alone)
        self.numbers[goals.STATISTICS] = found.statistics_seconds

    def start(self) -> None:
        """Measure the start with a full queue."""
        table = Table(title=f"start with {queued.MESSAGES:,} queued: the best, s")
        for heading in ("", "greeted", "a message accepted"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, was_killed, goal in (
            ("stopped before", False, goals.START),
            ("killed before", True, goals.START_KILLED),
        ):
            self.say(f"{_START}: a relay that was {name}")
            try:
                with sinking() as sink:
                    spool = queued.filled(sink, was_killed=was_killed)
                    starts = [queued.start(spool, sink) for _ in range(self._rounds)]
            except _FAILURES as error:
                self.failures[_START, name] = f"{_START}, {name}: {error}"
                continue
            self.starts[name] = starts
            greeted = [one.greeted for one in starts]
            accepted = [one.accepted for one in starts]
            table.add_row(
                name,
                f"{digits(min(greeted))} ({digits(statistics.median(greeted))})",
                f"[bold]{digits(min(accepted))}[/] ({digits(statistics.median(accepted))})",
            )
            self.numbers[goal] = min(accepted)
        self._console.print(table)

    def show_goals(self) -> None:
        """Print the goals, and what failed."""
        for failure in self.failures.values():
            self._console.print(f"FAILED {failure}", style="red", markup=False, soft_wrap=True)
        table = Table(title="goals (medians beside Postfix, the best beside a number)")
        for heading in ("", "goal", "measured", ""):
            table.add_column(heading, justify="right" if heading else "left")
        for goal in goals.ALL:
            number = self.numbers.get(goal)
            bound = f"{'≥' if goal.more_is_better else '≤'} {goal.limit:g}{goal.unit}"
            if number is None:
                table.add_row(goal.title, bound, "not measured", "-")
                continue
            mark = "[green]pass[/]" if goal.is_met_by(number) else "[red]FAIL[/]"
            table.add_row(goal.title, bound, f"{digits(number)}{goal.unit}", mark)
        self._console.print(table)

    def as_json(self) -> dict[str, Any]:
        """Give everything that was measured."""
        return {
            "goals": {goal.title: number for goal, number in self.numbers.items()},
            "mail": {
                f"{load}, {relay}": [asdict(one) for one in flows]
                for (load, relay), flows in self.flows.items()
            },
            "accepts": [asdict(one) for one in self.accepts],
            "cycles": [asdict(one) for one in self.cycles],
            "crowded": None if self.crowded is None else asdict(self.crowded),
            "start": {name: [asdict(one) for one in all_] for name, all_ in self.starts.items()},
            "failures": list(self.failures.values()),
        }


def main() -> int:
    """Run what was asked for; 0 if all of it could be measured."""
    arguments = _parser().parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    if not measure.SUPPORTED:
        console.print("The benchmarks read Linux's /proc: run them on Linux, or in a container.")
        return 1
    rows = arguments.rows or ROWS
    relays = [name for name in RELAYS if name in arguments.relays]
    try:
        fetch_postfix()
        library()
    except Unavailable as error:
        console.print(f"[yellow]{error}[/]", soft_wrap=True)
        return 1
    versions = {}
    try:
        versions[POSTFIX] = version()
    except Unavailable as error:
        console.print(f"[yellow]{error}[/]", soft_wrap=True)
        relays = [name for name in relays if name != POSTFIX]
    FOLDER.mkdir(parents=True, exist_ok=True)
    before, sync = os.getloadavg()[0], disk_sync_seconds(FOLDER)

    bench = Bench(
        console,
        arguments.rounds or (2 if arguments.quick else 4),
        1.5 if arguments.quick else 4.0,
    )
    if any(row not in _ALONE for row in rows):
        bench.mail(rows, relays)
        bench.show_mail(relays)
    if _ACCEPTS in rows:
        bench.accept()
    if _CYCLES in rows:
        bench.cycle(relays)
    if _CROWDED in rows and POSTGRES in relays:
        bench.crowd()
    if _START in rows:
        bench.start()
    bench.show_goals()
    after = os.getloadavg()[0]
    console.print(
        f"load of the machine before and behind: {before:.1f}, {after:.1f}, on {os.cpu_count()}"
        f" cores; a sync of the disk took {1000 * sync:.2f} ms"
    )
    run = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load": [before, after],
        "sync_seconds": sync,
        "versions": versions,
    }
    write_json(arguments.json, {"run": run, **bench.as_json()})
    return 1 if bench.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.relay",
        description="What `pillarbox relay` does beside a tuned Postfix, against its goals.",
        epilog="Example: python -m bench.relay one reused --quick. See bench/README.md.",
    )
    parser.add_argument(
        "rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=f"some of {', '.join(ROWS)}"
    )
    parser.add_argument("--rounds", type=int, help="how often to measure each (4; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="shorter, and noisier")
    parser.add_argument(
        "--relays",
        type=lambda text: text.split(","),
        default=list(RELAYS),
        metavar="NAME,...",
        help=f"some of {', '.join(RELAYS)}",
    )
    parser.add_argument(
        "--json", type=Path, default=CACHE / "relay.json", metavar="FILE", help="(%(default)s)"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
