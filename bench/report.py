"""The report: tables for a person, JSON for a program."""

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.goals import GOALS, Goal
from bench.run import Results
from bench.servers import Server
from bench.workloads import Workload

_MARKS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: "-"}


def show(
    console: Console, results: Results, servers: Sequence[Server], workloads: Sequence[Workload]
) -> None:
    """Print what was measured, what failed, and the goals of the workloads that were run."""
    table = Table(title="the least of the rounds, and the median in brackets; less is better")
    table.add_column("receiver CPU a message, or memory")
    for server in servers:
        table.add_column(server.name.replace("-", "\n", 1), justify="right")
    for workload in workloads:
        pairs = [(workload.key, server.name) for server in servers]
        table.add_row(
            f"{workload.key}: {workload.title}, {workload.unit}",
            *(_cell(results, pair) for pair in pairs),
        )
        throughputs = [_throughput(results, pair) for pair in pairs]
        if any(throughputs):
            table.add_row(f"{workload.key}: MB/s of one core", *throughputs, style="dim")
    console.print(table)
    for failure in dict.fromkeys(results.failures.values()):
        console.print(f"FAILED {failure}", style="red", markup=False, soft_wrap=True)
    _show_goals(console, results, workloads)


def as_json(
    results: Results,
    servers: Sequence[Server],
    workloads: Sequence[Workload],
    run: dict[str, Any],
) -> dict[str, Any]:
    """Everything that was measured, by names; `run` says how."""
    versions = {"python": platform.python_version()}
    for server in servers:
        versions.update(server.versions)
    return {
        "run": run,
        "machine": {"cpu": _cpu_model(), "kernel": platform.release()},
        "versions": versions,
        "results": [
            {
                "workload": workload.key,
                "title": workload.title,
                "unit": workload.unit,
                "server": server.name,
                "least": results.least(workload.key, server.name),
                "median": results.median(workload.key, server.name),
                "rounds": [
                    {"value": sample.value, **sample.details}
                    for sample in results.samples[workload.key, server.name]
                ],
            }
            for workload in workloads
            for server in servers
            if (workload.key, server.name) in results.samples
        ],
        "failures": list(dict.fromkeys(results.failures.values())),
        "goals": [
            {
                "workload": goal.workload,
                "goal": goal.title,
                "limit": goal.limit,
                "measured": number,
                "met": _met(goal, number, goal.limit),
                "stretch": goal.stretch,
                "stretch_met": _met(goal, number, goal.stretch),
            }
            for goal, number in _goals(results, workloads)
        ],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write it, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _show_goals(console: Console, results: Results, workloads: Sequence[Workload]) -> None:
    table = Table(title="goals (from the least values)")
    for heading in ("workload", "pillarbox", "goal", "measured", "", "stretch", ""):
        numeric = heading in ("goal", "measured", "stretch")
        table.add_column(heading, justify="right" if numeric else "left")
    goals = _goals(results, workloads)
    for goal, number in goals:
        table.add_row(
            goal.workload,
            goal.title,
            _bound(goal, goal.limit),
            "-" if number is None else f"{digits(number)}{goal.unit}",
            _MARKS[_met(goal, number, goal.limit)],
            "" if goal.stretch is None else _bound(goal, goal.stretch),
            "" if goal.stretch is None else _MARKS[_met(goal, number, goal.stretch)],
        )
    if any(number is not None for _, number in goals):
        console.print(table)


def _goals(results: Results, workloads: Sequence[Workload]) -> list[tuple[Goal, float | None]]:
    figures = results.figures()
    keys = {workload.key for workload in workloads}
    found: list[tuple[Goal, float | None]] = []
    for goal in GOALS:
        if goal.workload in keys:
            try:
                found.append((goal, goal.measured(figures)))
            except KeyError:  # a server was left out, or failed
                found.append((goal, None))
    return found


def _met(goal: Goal, number: float | None, limit: float | None) -> bool | None:
    return None if number is None or limit is None else goal.met_by(number, limit)


def _bound(goal: Goal, limit: float) -> str:
    return f"{'≥' if goal.more_is_better else '≤'} {limit:g}{goal.unit}"


def _cell(results: Results, pair: tuple[str, str]) -> str:
    if pair not in results.samples:
        return "failed" if pair in results.failures else "-"
    return f"[bold]{digits(results.least(*pair))}[/] ({digits(results.median(*pair))})"


def _throughput(results: Results, pair: tuple[str, str]) -> str:
    samples = results.samples.get(pair, [])
    best = max((sample.details.get("megabytes_per_cpu_second", 0) for sample in samples), default=0)
    return f"{best:.0f}" if best else ""


def digits(number: float) -> str:
    """Write a number with three digits that count."""
    decimals = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:.{decimals}f}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
