"""Mail through a relay: smtp-source to relay to smtp-sink; how fast, and at what cost."""

import time
from dataclasses import dataclass

from bench import measure
from bench.load import SmtpSource
from bench.relay.relays import MakeRelay
from bench.relay.sink import Sink
from bench.relay.syncs import Syncs
from bench.servers import Receiver, running

OCTETS = 4096

_WARM_UP = 400
_LEAST = 400
_MOST = 40_000
_WAIT_SECONDS = 60
# What is left to do when the last message is there: to record that, and to sweep.
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Load:
    """How mail is sent.

    Attributes:
        key: How the command line names it.
        title: How the table does.
        relays: Whom it is sent to.
        sessions: So many at once.
        is_reused: Whether a connection has more than one message.
        delay: Seconds added to each sync.
    """

    key: str
    title: str
    relays: tuple[str, ...]
    sessions: int = 20
    is_reused: bool = False
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Flow:
    """One measurement.

    Attributes:
        messages: So many were sent.
        accepted_per_second: Until the last one was answered.
        delivered_per_second: Until the last one was at the next hop.
        cpu_seconds: Of the relay, all its processes.
        syncs: How often it waited for the disk.
    """

    messages: int
    accepted_per_second: float
    delivered_per_second: float
    cpu_seconds: float
    syncs: int

    @property
    def cpu_per_message(self) -> float:
        """CPU a message, in milliseconds."""
        return 1000 * self.cpu_seconds / self.messages

    @property
    def syncs_per_message(self) -> float:
        """Syncs a message."""
        return self.syncs / self.messages


def flow(make: MakeRelay, load: Load, source: SmtpSource, sink: Sink, seconds: float) -> Flow:
    """Start a relay, and send for about so long; it is stopped again."""
    syncs = Syncs(load.delay)
    with running(make(sink.port, syncs.environment), None) as relay:
        started = time.perf_counter()
        _send(_WARM_UP, relay, load, source, sink)
        pace = _WARM_UP / (time.perf_counter() - started)
        time.sleep(_SETTLE_SECONDS)

        messages = min(max(round(pace * seconds), _LEAST), _MOST)
        cpu, synced = measure.cpu_seconds(relay.pid), syncs.count
        started = time.perf_counter()
        accepted, delivered = _send(messages, relay, load, source, sink)
        time.sleep(_SETTLE_SECONDS)
        return Flow(
            messages=messages,
            accepted_per_second=messages / (accepted - started),
            delivered_per_second=messages / (delivered - started),
            cpu_seconds=measure.cpu_seconds(relay.pid) - cpu,
            syncs=syncs.count - synced,
        )


def _send(
    messages: int, relay: Receiver, load: Load, source: SmtpSource, sink: Sink
) -> tuple[float, float]:
    """Send messages; give when all were accepted, and when all were delivered."""
    there = sink.messages + messages
    source.send(relay.port, messages, octets=OCTETS, sessions=load.sessions, reuse=load.is_reused)
    accepted = time.perf_counter()
    return accepted, sink.wait_for(there, _WAIT_SECONDS)
