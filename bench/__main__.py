"""The command line: `python -m bench [WORKLOAD ...]`."""

import argparse
import resource
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import measure, report
from bench.fetch import Unavailable, fetch_postfix
from bench.load import SmtpSource
from bench.run import Results, measure_all
from bench.servers import SERVERS, Server
from bench.workloads import KEYS, Workload, all_workloads

_OPEN_FILES = 16384  # the idle connections, on either side, and room


def main() -> int:
    """Run what was asked for; 0 if all of it could be measured."""
    arguments = _parser().parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # a log has no width: do not fold the table to 80
    if not measure.SUPPORTED:
        console.print("The benchmarks read Linux's /proc: run them on Linux, or in a container.")
        return 1
    signal.signal(signal.SIGTERM, _end)
    _allow_open_files()

    with console.status("getting what to compare with (kept in .bench)"):
        servers, workloads, missing = _prepare(arguments.servers, arguments.workloads)
    for line in missing:
        console.print(f"[yellow]{line}[/]", soft_wrap=True)
    if not servers or not workloads:
        console.print("Nothing is left to measure.")
        return 1

    rounds = max(1, arguments.rounds or (2 if arguments.quick else 3))
    seconds = 0.4 if arguments.quick else 1.0
    if not measure.NANOSECONDS:
        seconds *= 3
    cores = measure.choose_cores()
    if cores is None:
        console.print("[yellow]One core only: the clients disturb the servers.[/]")
    run = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rounds": rounds,
        "seconds_a_measurement": seconds,
        "cores": cores and {"server": cores[0], "client": cores[1]},
        "cpu_clock": "scheduler, ns" if measure.NANOSECONDS else "ticks, mostly 10 ms",
    }
    started = time.monotonic()
    results = _measure(console, servers, workloads, rounds, seconds, cores)
    run["took_seconds"] = round(time.monotonic() - started)
    report.show(console, results, servers, workloads)
    report.write_json(arguments.json, report.as_json(results, servers, workloads, run))
    console.print(f"{run['took_seconds']} s; everything measured is in {arguments.json}")
    return 1 if results.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Receiver CPU and memory of Pillarbox beside other SMTP servers.",
        epilog="Example: python -m bench b f --servers pillarbox,smtp-sink. See bench/README.md.",
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        type=_workload_key,
        metavar="WORKLOAD",
        help=f"some of {', '.join(KEYS)}; default: all",
    )
    parser.add_argument("--rounds", type=int, help="how often to measure each (3; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="shorter, and noisier")
    parser.add_argument(
        "--servers",
        type=_server_names,
        default=list(SERVERS),
        metavar="NAME,...",
        help=f"some of {', '.join(SERVERS)}; 'pillarbox' is both of its loops; default: all",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path(".bench/results.json"),
        metavar="FILE",
        help="where to write everything that was measured (%(default)s)",
    )
    return parser


def _workload_key(text: str) -> str:
    if text not in KEYS:
        raise argparse.ArgumentTypeError(f"no workload {text!r}; there are {', '.join(KEYS)}")
    return text


def _server_names(text: str) -> list[str]:
    asked = text.split(",")
    for name in asked:
        if not any(_names(name, server) for server in SERVERS):
            raise argparse.ArgumentTypeError(f"no server {name!r}; there are {', '.join(SERVERS)}")
    return [server for server in SERVERS if any(_names(name, server) for name in asked)]


def _names(asked: str, server: str) -> bool:
    return server == asked or server.startswith(f"{asked}-")


def _prepare(
    server_names: list[str], workload_keys: list[str]
) -> tuple[list[Server], list[Workload], list[str]]:
    """Make ready what was asked for; last, a line for each thing that cannot be had."""
    servers, missing = [], []
    source = None
    try:
        source = SmtpSource(fetch_postfix())
    except Unavailable as error:
        missing.append(str(error))
    for name in server_names:
        try:
            servers.append(SERVERS[name]())
        except Unavailable as error:
            missing.append(str(error))
    workloads = [w for w in all_workloads(source) if w.key in (workload_keys or KEYS)]
    return servers, workloads, list(dict.fromkeys(missing))


def _measure(
    console: Console,
    servers: list[Server],
    workloads: list[Workload],
    rounds: int,
    seconds: float,
    cores: tuple[int, int] | None,
) -> Results:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        total = rounds * len(workloads) * len(servers)
        task = progress.add_task("starting each server once", total=total)

        def tell(done: int, what: str) -> None:
            progress.update(task, description=what, completed=done)
            if not console.is_terminal:
                print(what, file=sys.stderr, flush=True)

        return measure_all(
            servers, workloads, rounds=rounds, seconds=seconds, cores=cores, tell=tell
        )


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))  # servers inherit it


def _end(number: int, frame: FrameType | None) -> None:
    """End as an exception does, so that the server is stopped."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
