"""A run: every workload on every server, in turns, several rounds; and what came of it."""

import os
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from bench.load import LoadError
from bench.servers import Server, ServerError, running
from bench.workloads import Sample, Workload


@dataclass(slots=True)
class Results:
    """The samples of a run by workload and server, one a round, and what went wrong."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def least(self, workload: str, server: str) -> float:
        """Give the least: what disturbs a measurement can only add to it."""
        return min(sample.value for sample in self.samples[workload, server])

    def median(self, workload: str, server: str) -> float:
        """Give the median: how far it is above the least tells how noisy the machine was."""
        return statistics.median(sample.value for sample in self.samples[workload, server])

    def figures(self) -> dict[tuple[str, str], float]:
        """Give the number that counts of each pair."""
        return {pair: self.least(*pair) for pair in self.samples}


def measure_all(
    servers: Sequence[Server],
    workloads: Sequence[Workload],
    *,
    rounds: int,
    seconds: float,
    cores: tuple[int, int] | None,
    tell: Callable[[int, str], None],
) -> Results:
    """Measure each workload on each server, each time on a server just started.

    The servers take turns inside a workload, so that what else the machine does hits all of
    them alike. A pair that failed is not tried again.

    Args:
        servers: What to measure, in the order of the turns.
        workloads: What to send them.
        rounds: How often.
        seconds: How long one measurement should take, about.
        cores: Where to keep the server and, second, the clients.
        tell: Called before each measurement with how many are done, and what comes.
    """
    results = Results()
    server_core = None
    if cores is not None:
        server_core, client_core = cores
        os.sched_setaffinity(0, {client_core})  # every client inherits it
    for server in servers:
        # A first start compiles modules and tells at once what does not come up at all.
        try:
            with running(server, server_core):
                pass
        except ServerError as error:
            results.failures.update(
                ((workload.key, server.name), str(error)) for workload in workloads
            )
    turns = product(range(1, rounds + 1), workloads, servers)
    for done, (number, workload, server) in enumerate(turns):
        pair = (workload.key, server.name)
        tell(done, f"round {number} of {rounds}: {workload.key} on {server.name}")
        if pair in results.failures:
            continue
        if server.workloads is not None and workload.key not in server.workloads:
            continue
        if workload.security != "clear" and not server.speaks_tls:
            continue
        try:
            with running(server, server_core, workload.security) as receiver:
                sample = workload.measure(receiver, seconds)
        except (LoadError, ServerError, OSError, subprocess.TimeoutExpired) as error:
            results.failures[pair] = f"{workload.key} on {server.name}: {error}"
            results.samples.pop(pair, None)
        else:
            results.samples.setdefault(pair, []).append(sample)
    return results
