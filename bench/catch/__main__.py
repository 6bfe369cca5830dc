"""The command line: `python -m bench.catch [PART ...]`."""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import measure
from bench.catch import goals
from bench.catch.mails import filled
from bench.catch.measurements import pushes, questions, resident_with, start
from bench.catch.receivers import MAILPIT, PILLARBOX, RECEIVERS
from bench.fetch import CACHE, Unavailable, fetch_postfix
from bench.load import SmtpSource
from bench.report import digits, write_json
from bench.run import Results, measure_all
from bench.servers import Server
from bench.workloads import KIB, CpuPerMessage

PARTS = ("in", "search", "start", "memory", "push")
_CONNECTIONS = 4


class Bench:
    """A run: what was measured of each goal, shown as it comes."""

    def __init__(self, console: Console, rounds: int, *, is_quick: bool) -> None:
        self.numbers: dict[goals.Goal, float] = {}
        self.details: dict[str, Any] = {}
        self._console = console
        self._rounds = rounds
        self._is_quick = is_quick
        self._cores = measure.choose_cores()
        if self._cores is not None:
            os.sched_setaffinity(0, {self._cores[1]})  # every client inherits it

    @property
    def _core(self) -> int | None:
        return None if self._cores is None else self._cores[0]

    def say(self, text: str) -> None:
        """Tell what is being done."""
        print(text, file=sys.stderr, flush=True)

    def intake(self) -> None:
        """Measure mail in, on each receiver that there is."""
        source = SmtpSource(fetch_postfix())
        servers: list[Server] = []
        for make in RECEIVERS:
            try:
                servers.append(make())
            except Unavailable as error:
                self._console.print(f"[yellow]{error}[/]", soft_wrap=True)
        workload = CpuPerMessage(
            "in",
            "1 KiB, a connection for each message",
            KIB,
            partial(source.send, octets=KIB, sessions=_CONNECTIONS, reuse=False),
            warm_up=50,
            least=50,
        )
        results = measure_all(
            servers,
            [workload],
            rounds=self._rounds,
            seconds=0.5 if self._is_quick else 2.0,
            cores=self._cores,
            tell=lambda _, what: self.say(what),
        )
        self._show_intake(results, servers)
        if ("in", PILLARBOX) in results.samples:
            self.numbers[goals.INTAKE] = max(_rates(results, PILLARBOX))
            self.numbers[goals.INTAKE_CPU] = 1000 / results.least("in", PILLARBOX)
            if ("in", MAILPIT) in results.samples:
                least = results.least("in", MAILPIT) / results.least("in", PILLARBOX)
                self.numbers[goals.TIMES_MAILPIT] = least

    def _show_intake(self, results: Results, servers: Sequence[Server]) -> None:
        table = Table(title="mail in: 1 KiB, four connections, a new one for each message")
        table.add_column("")
        for heading in ("CPU ms a message", "a core's messages/s", "messages/s"):
            table.add_column(heading, justify="right")
        for server in servers:
            if ("in", server.name) not in results.samples:
                table.add_row(server.name, "failed", "", "")
                continue
            least, median = results.least("in", server.name), results.median("in", server.name)
            rates = _rates(results, server.name)
            table.add_row(
                server.name,
                f"[bold]{digits(least)}[/] ({digits(median)})",
                f"{1000 / least:.0f}",
                f"[bold]{max(rates):.0f}[/] ({statistics.median(rates):.0f})",
            )
            self.details[f"in, {server.name}"] = {"cpu_ms": least, "messages_per_second": rates}
        if all(server.name != MAILPIT for server in servers):
            table.add_row("mailpit, measured elsewhere", "not known", "", goals.MAILPIT_ELSEWHERE)
        self._console.print(table)
        for failure in dict.fromkeys(results.failures.values()):
            self._console.print(f"FAILED {failure}", style="red", markup=False, soft_wrap=True)

    def search(self) -> None:
        """Measure lists and searches among many mails in a file."""
        self.say("search: a file of 100,000 mails (made once: a minute or two)")
        path = filled(100_000)
        table = Table(
            title=f"the API among 100,000 mails in a file ({path.stat().st_size >> 20} MiB)"
        )
        for heading in ("", "found", "CPU ms", "least ms", "p50 ms", "worst ms"):
            table.add_column(heading, justify="right" if heading else "left")
        answers = questions(path, times=10 if self._is_quick else 30, core=self._core)
        for answer in answers:
            figures = {
                "cpu_ms": 1000 * answer.cpu_seconds,
                "least_ms": 1000 * answer.times.least,
                "p50_ms": 1000 * answer.times.median,
                "worst_ms": 1000 * answer.times.worst,
            }
            title = "list" if answer.has_hits is None else "search"
            name = f"{title}: {answer.title}"
            table.add_row(name, f"{answer.found:,}", *map(digits, figures.values()))
            self.details[name] = {"path": answer.path, **figures}
        self._console.print(table)
        leasts = {kind: [] for kind in (None, True, False)}  # type: dict[bool | None, list[float]]
        for answer in answers:
            leasts[answer.has_hits].append(1000 * answer.times.least)
        self.numbers[goals.LIST] = max(leasts[None])
        self.numbers[goals.SEARCH] = max(leasts[True])

    def start(self) -> None:
        """Measure the start, and memory at that time."""
        times = 5 if self._is_quick else 10
        table = Table(title="start: the least, and the median in brackets, ms")
        for heading in ("", "listening", "first answer", "CPU until then", "memory, MB"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, options, goal in (
            ("with the page", (), goals.READY),
            ("--http none", ("--http", "none"), goals.READY_WITHOUT),
        ):
            self.say(f"start: {name}")
            starts = start(*options, times=times, core=self._core)
            cells = [
                f"[bold]{1000 * one.least:.0f}[/] ({1000 * one.median:.0f})"
                for one in (starts.listening, starts.answered, starts.cpu)
            ]
            table.add_row(name, *cells, f"{starts.resident_octets / 1e6:.1f}")
            self.numbers[goal] = 1000 * starts.answered.least
            if goal is goals.READY:
                self.numbers[goals.RESIDENT] = starts.resident_octets / 1e6
            self.details[f"start, {name}"] = {
                "listening_ms": [1000 * one for one in starts.listening.seconds],
                "answered_ms": [1000 * one for one in starts.answered.seconds],
                "cpu_ms": [1000 * one for one in starts.cpu.seconds],
            }
        self._console.print(table)

    def memory(self) -> None:
        """Measure memory with many mails in a file."""
        self.say("memory: 20,000 mails")
        source = SmtpSource(fetch_postfix())
        path = CACHE / "memory.db"
        resident = resident_with(20_000, source, path, core=self._core)
        self.numbers[goals.RESIDENT_FILLED] = resident / 1e6

    def push(self) -> None:
        """Measure how fast a page hears of a message."""
        self.say("push: arrival to page")
        times = pushes(50 if self._is_quick else 300, core=self._core)
        self.numbers[goals.PUSH] = 1000 * times.slow
        self.details["push"] = {"p50_ms": 1000 * times.median, "p95_ms": 1000 * times.slow}
        self._console.print(
            f"arrival to page: p50 {1000 * times.median:.1f} ms, p95 {1000 * times.slow:.1f} ms,"
            f" worst {1000 * times.worst:.1f} ms"
        )

    def show_goals(self) -> None:
        """Print the goals of what was measured."""
        table = Table(title="goals")
        for heading in ("", "goal", "measured", ""):
            table.add_column(heading, justify="right" if heading else "left")
        for goal in goals.ALL:
            number = self.numbers.get(goal)
            bound = f"{'≥' if goal.more_is_better else '≤'} {goal.limit:,g}{goal.unit}"
            if number is None:
                table.add_row(goal.title, bound, "not measured", "-")
                continue
            mark = "[green]pass[/]" if goal.is_met_by(number) else "[red]FAIL[/]"
            table.add_row(goal.title, bound, f"{digits(number)}{goal.unit}", mark)
        self._console.print(table)


def _rates(results: Results, server: str) -> list[float]:
    samples = [sample.details for sample in results.samples["in", server]]
    return [details["messages"] / details["wall_seconds"] for details in samples]


def main() -> int:
    """Run what was asked for."""
    arguments = _parser().parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    if not measure.SUPPORTED:
        console.print("The benchmarks read Linux's /proc: run them on Linux, or in a container.")
        return 1
    bench = Bench(
        console, arguments.rounds or (2 if arguments.quick else 4), is_quick=arguments.quick
    )
    before = os.getloadavg()
    parts = arguments.parts or PARTS
    for name, part in (
        ("in", bench.intake),
        ("search", bench.search),
        ("start", bench.start),
        ("memory", bench.memory),
        ("push", bench.push),
    ):
        if name not in parts:
            continue
        try:
            part()
        except Unavailable as error:
            console.print(f"[yellow]{error}[/]", soft_wrap=True)
    bench.show_goals()
    load = ", ".join(f"{one:.1f}" for one in (before[0], os.getloadavg()[0]))
    console.print(f"load of the machine before and behind: {load}, on {os.cpu_count()} cores")
    write_json(
        arguments.json,
        {
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "goals": {goal.title: number for goal, number in bench.numbers.items()},
            "details": bench.details,
        },
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.catch",
        description="What `pillarbox catch` costs and how long it takes, against its goals.",
        epilog="Example: python -m bench.catch in start --quick. See bench/README.md.",
    )
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"some of {', '.join(PARTS)}"
    )
    parser.add_argument("--rounds", type=int, help="how often mail goes in (4; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="shorter, and noisier")
    parser.add_argument(
        "--json", type=Path, default=CACHE / "catch.json", metavar="FILE", help="(%(default)s)"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
