"""The workloads: what is sent to a server, and what of it is measured.

To add one, put it in `all_workloads`; one that measures something new needs a class with the
four members of `Workload`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bench import measure
from bench.load import (
    Security,
    SmtpSource,
    idle_connections,
    send_at_once,
    send_pipelined,
    send_secured,
)
from bench.servers import Receiver

KIB = 1024
MIB = 1024 * KIB
KEYS = ("a", "b", "c", "d", "e", "f", "at", "as", "idle", "idle-tls", "idle10k", "memory")

# With one session the receiver falls asleep before every command, and waking it costs more than
# the command: b on smtp-sink is .11 ms then and .04 with four sessions or with fifty.
_SESSIONS = 10

_SECURED: tuple[tuple[str, str, Security], ...] = (
    ("at", "as a, by STARTTLS", "starttls"),
    ("as", "as a, TLS at once", "tls"),
)

# What a server still does after the last reply (closing, mostly) belongs to the message.
_SETTLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: the number that is compared, and what it was made from."""

    value: float
    details: dict[str, float] = field(default_factory=dict)


class Workload(Protocol):
    """Something to send, and a number that tells what it cost the receiver; less is better."""

    @property
    def key(self) -> str:
        """How the command line names it."""

    @property
    def title(self) -> str:
        """How the table names it."""

    @property
    def unit(self) -> str:
        """What the number counts."""

    @property
    def security(self) -> Security:
        """How the receiver is to listen."""

    def measure(self, receiver: Receiver, seconds: float) -> Sample:
        """Measure a receiver that was just started, for about so long."""


@dataclass(frozen=True, slots=True)
class CpuPerMessage:
    """Receiver CPU for each message of a long row of them."""

    key: str
    title: str
    octets: int
    send: Callable[[int, int], None]  # to this port, so many messages
    warm_up: int
    least: int
    most: int = 20_000
    bulk: bool = False  # where MB/s of one core tell more
    security: Security = "clear"
    unit: str = "ms"

    def measure(self, receiver: Receiver, seconds: float) -> Sample:
        """Send as many messages as fill the time, by the pace of the warm-up."""
        started = time.perf_counter()
        self.send(receiver.port, self.warm_up)
        pace = self.warm_up / (time.perf_counter() - started)
        messages = min(max(round(pace * seconds), self.least), self.most)
        time.sleep(_SETTLE_SECONDS)

        before = measure.cpu_seconds(receiver.pid)
        started = time.perf_counter()
        self.send(receiver.port, messages)
        wall = time.perf_counter() - started
        time.sleep(_SETTLE_SECONDS)
        cpu = measure.cpu_seconds(receiver.pid) - before
        details = {"messages": messages, "cpu_seconds": cpu, "wall_seconds": wall}
        if self.bulk:
            details["megabytes_per_cpu_second"] = messages * self.octets / cpu / 1e6
        return Sample(1000 * cpu / messages, details)


@dataclass(frozen=True, slots=True)
class IdleConnection:
    """Resident memory for each connection that was greeted and waits."""

    key: str
    title: str
    connections: int
    security: Security = "clear"
    unit: str = "KiB"

    def measure(self, receiver: Receiver, seconds: float) -> Sample:
        """Open the connections once: their number, not the time, makes it exact."""
        _warm_up(receiver, self.security)
        base = measure.resident_octets(receiver.pid)
        with idle_connections(receiver.port, self.connections, self.security):
            time.sleep(_SETTLE_SECONDS)
            resident = measure.resident_octets(receiver.pid)
        return Sample(
            (resident - base) / self.connections / KIB,
            {"base_octets": base, "resident_octets": resident, "connections": self.connections},
        )


@dataclass(frozen=True, slots=True)
class IdleInAll:
    """Resident memory of very many connections together, beyond what the server has at rest."""

    key: str
    title: str
    connections: int
    security: Security = "clear"
    unit: str = "MB"

    def measure(self, receiver: Receiver, seconds: float) -> Sample:
        """Open them, and see that there is mail to be had beside them."""
        _warm_up(receiver, self.security)
        base = measure.resident_octets(receiver.pid)
        with idle_connections(receiver.port, self.connections, self.security):
            time.sleep(_SETTLE_SECONDS)
            resident = measure.resident_octets(receiver.pid)
            _warm_up(receiver, self.security)
        return Sample(
            (resident - base) / 1e6,
            {"base_octets": base, "resident_octets": resident, "connections": self.connections},
        )


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The most memory, above what it has at rest, while large messages arrive all at once."""

    key: str
    title: str
    messages: int
    octets: int
    security: Security = "clear"
    unit: str = "MB"

    def measure(self, receiver: Receiver, seconds: float) -> Sample:
        """Send once: a peak does not become clearer by repeating it."""
        _warm_up(receiver, self.security)
        base = measure.resident_octets(receiver.pid)
        measure.forget_peak(receiver.pid)
        send_at_once(receiver.port, connections=self.messages, octets=self.octets)
        peak = measure.peak_octets(receiver.pid)
        return Sample((peak - base) / 1e6, {"base_octets": base, "peak_octets": peak})


def all_workloads(source: SmtpSource | None) -> list[Workload]:
    """List the workloads in the order of the table; without smtp-source only those of our own."""
    own: list[Workload] = [
        CpuPerMessage(
            "f",
            "1 KiB, 50 recipients, pipelined",
            KIB,
            partial(send_pipelined, recipients=50, octets=KIB, connections=_SESSIONS),
            warm_up=20,
            least=100,
        ),
        *(
            CpuPerMessage(
                key,
                title,
                KIB,
                partial(send_secured, security=security, octets=KIB, connections=_SESSIONS),
                warm_up=50,
                least=200,
                security=security,
            )
            for key, title, security in _SECURED
        ),
        IdleConnection("idle", "each idle connection", connections=2000),
        IdleConnection("idle-tls", "each idle TLS connection", connections=2000, security="tls"),
        IdleInAll("idle10k", "10,000 idle connections, over base", connections=10_000),
        PeakMemory("memory", "20 x 10 MiB at once, over base", messages=20, octets=10 * MIB),
    ]
    if source is None:
        return own

    def sent(
        key: str,
        title: str,
        octets: int,
        warm_up: int,
        least: int,
        *,
        sessions: int = _SESSIONS,
        reuse: bool = True,
        bulk: bool = False,
    ) -> CpuPerMessage:
        send = partial(source.send, octets=octets, sessions=sessions, reuse=reuse)
        return CpuPerMessage(key, title, octets, send, warm_up, least, bulk=bulk)

    return [
        sent("a", "1 KiB, one a connection", KIB, 200, 500, reuse=False),
        sent("b", "1 KiB, reused connection", KIB, 500, 1000),
        sent("c", "100 KiB, reused", 100 * KIB, 20, 100),
        sent("d", "10 MiB, reused", 10 * MIB, 1, 4, sessions=1, bulk=True),
        # Enough that opening the connections, dear to some servers, is no great part of it.
        sent("e", "1 KiB, 200 sessions at once", KIB, 400, 5000, sessions=200),
        *own,
    ]


def _warm_up(receiver: Receiver, security: Security) -> None:
    # Whatever a server loads or allocates once, for its first message, is no cost of the load.
    if security == "clear":
        send_pipelined(receiver.port, 20, recipients=1, octets=KIB)
    else:
        send_secured(receiver.port, 20, security=security, octets=KIB, connections=1)
