"""What waits and how fast it goes: fair ready queues, adaptive concurrency, a bound on the backlog.

Values that decide and do nothing: destination.py and relay.py act on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from pillarbox.relay.rate import Rate
from pillarbox.relay.spool import Lease

__all__ = ["Limits", "Ready", "Window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much, how many, how long.

    Attributes:
        first_sessions: How many sessions a destination begins with.
        most_sessions: How many it may have at once; Postfix has 20.
        all_sessions: How many there may be in all.
        rate: How many messages may go to a destination in a time; `None` for as many as go.
        messages_per_session: After so many a session is closed: servers count, too.
        idle_seconds: A session that has nothing to do is closed.
        lease_seconds: For how long messages are leased; a delivery that takes longer renews.
        batch: How many messages are taken from the spool at once.
        memory_octets: What messages that wait for a session may take in memory. Beyond it they wait
            in the spool.
        ready_messages: How many may wait in memory for one destination, half of them of one sender.
        slow_backlog: With more recipients than these in the spool the answer to each message is
            held back.
        slow_seconds: How long at most; a delivery ends it sooner.
        most_backlog: With more than these nothing is taken: 452.
        delay_notice_seconds: After so long a sender is told that its message waits.
        drain_seconds: How long `Relay.close()` lets deliveries go on.
    """

    first_sessions: int = 5
    most_sessions: int = 20
    all_sessions: int = 200
    rate: Rate | None = None
    messages_per_session: int = 100
    idle_seconds: float = 5.0
    lease_seconds: float = 300.0
    batch: int = 100
    memory_octets: int = 67_108_864
    ready_messages: int = 2_000
    slow_backlog: int = 20_000
    slow_seconds: float = 1.0
    most_backlog: int = 2_000_000
    delay_notice_seconds: float = 14_400.0
    drain_seconds: float = 30.0


class Window:
    """How many sessions a destination may have at once, as Postfix finds it out.

    A window of deliveries that go well makes it one larger, one of sessions that break one smaller;
    when a whole window broke with nothing going well between, the destination is down.

    Args:
        first: What it begins with.
        most: What it never exceeds.
    """

    __slots__ = ("_failures", "_first", "_most", "_size")

    def __init__(self, first: int, most: int) -> None:
        self._first = min(first, most)
        self._most = most
        self._size = float(self._first)
        self._failures = 0.0

    @property
    def size(self) -> int:
        """How many sessions there may be."""
        return int(self._size)

    @property
    def is_broken(self) -> bool:
        """Whether a whole window of sessions broke, and nothing went well."""
        return self._failures >= 1.0 - 1e-9

    def succeed(self, *, may_grow: bool = True) -> None:
        """Take note that a session did its work."""
        self._failures = 0.0
        if may_grow and self._size < self._most:
            self._size = min(self._most, self._size + 1 / self._size)

    def fail(self) -> None:
        """Take note that a session broke."""
        self._failures += 1 / self._size
        self._size = max(1.0, self._size - 1 / self._size)

    def narrow(self, sessions: int) -> None:
        """Take note that the server lets no more than these in at once."""
        self._size = max(1.0, min(self._size, float(sessions)))

    def restart(self) -> None:
        """Begin anew: the destination is back."""
        self._failures = 0.0
        self._size = float(self._first)


class Ready:
    """Leases that wait for a session; each sender's turn comes round."""

    __slots__ = ("_count", "_senders", "_turns", "octets")

    def __init__(self) -> None:
        self.octets = 0
        """What the messages that are at hand take."""
        self._count = 0
        self._senders: dict[str, deque[Lease]] = {}
        self._turns: deque[str] = deque()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Lease]:
        for leases in self._senders.values():
            yield from leases

    def of(self, sender: str) -> int:
        """Count the leases of one sender."""
        return len(self._senders.get(sender, ()))

    def push(self, lease: Lease) -> None:
        """Put a lease behind the others of its sender."""
        sender = lease.message.mail_from
        leases = self._senders.get(sender)
        if leases is None:
            leases = self._senders[sender] = deque()
            self._turns.append(sender)
        leases.append(lease)
        self._count += 1
        if lease.octets is not None:
            self.octets += len(lease.octets)

    def pop(self) -> Lease | None:
        """Take the next one; `None` where there is none."""
        if not self._turns:
            return None
        sender = self._turns.popleft()
        leases = self._senders[sender]
        lease = leases.popleft()
        if leases:
            self._turns.append(sender)
        else:
            del self._senders[sender]
        self._count -= 1
        if lease.octets is not None:
            self.octets -= len(lease.octets)
        return lease

    def clear(self) -> list[Lease]:
        """Take all."""
        leases = list(self)
        self._senders.clear()
        self._turns.clear()
        self._count = self.octets = 0
        return leases
