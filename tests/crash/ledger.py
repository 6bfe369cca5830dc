"""The ledger of a crash test: what clients were promised, what the next hop got, and the verdict.

The invariant, for any number of nodes on one spool:

- Each recipient of a message that was answered with 250 gets it, octet by octet, or its sender gets
  a notification that names the recipient.
- What was refused, or never sent whole, is delivered to nobody.
- Nobody gets a message twice, unless each time but the last is excused: the reply to it was lost;
  or the node was killed, or stopped past its leases, while it was under way. A session writes some
  outcomes while the next messages go out, and ends where they cannot be written: so only the last
  few of a session can be under way; and what the node has told in its log to be on record is not.
  Nor do two attempts for one recipient ever overlap.
- A node that was stopped past its leases does not end afterwards what it had begun before, but for
  what it was told to send before: it may have been stopped between the look at its lease and the
  last octets, which nobody can help.
- While there is no spool, a session delivers no more than what can be under way: what has no place
  to be recorded is not tried.

Knows no network and no process: node.py, next_hop.py and client.py write into it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from pillarbox.relay.session import UNWRITTEN

__all__ = ["UNDER_WAY", "Attempt", "Ledger", "Life", "Message", "State", "Verdict"]

# What relays put in front; nothing else may be there.
_FRONT = re.compile(rb"(?:Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+")


# Within which time after the answer the outcome is on record, where nobody is in the way.
RECORD_SECONDS = 1.0
# So many messages of a session may be under way: one goes out while the last ones are recorded.
UNDER_WAY = UNWRITTEN + 1
# How much later than it was said something may be noted: the network's way, and ours.
NOTE_SECONDS = 0.3


class State(Enum):
    """What a client knows of its message."""

    BEGUN = "begun"
    """The final dot was not sent."""
    SENT = "sent"
    """It was, and there is no reply."""
    ACKED = "acked"
    REFUSED = "refused"


@dataclass(slots=True)
class Message:
    """A message of a client.

    Attributes:
        number: Its number.
        sender: Of this message alone.
        recipients: Of this message alone.
        octets: How many it has.
        digest: Of these.
        began: When the client said MAIL.
        state: What became of it.
    """

    number: int
    sender: str
    recipients: tuple[str, ...]
    octets: int
    digest: bytes
    began: float
    state: State = State.BEGUN


@dataclass(slots=True)
class Stop:
    """A time for which a process stood still, longer than its leases last.

    Attributes:
        began: From when.
        ended: When it was told to go on, if it was.
        unwritten: Since when there may be outcomes that were not on record when it began.
    """

    began: float
    ended: float | None
    unwritten: float


@dataclass(slots=True)
class Life:
    """A process of a node, from its start to its end.

    Attributes:
        name: What it calls itself.
        process_id: Which process it is.
        killed: When it was killed, if it was.
        told: The recipients of which it told that their delivery is on record, by the sender.
        stops: When it was stopped.
    """

    name: str
    process_id: int = 0
    killed: float | None = None
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    stops: list[Stop] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Attempt:
    """A message that the next hop has got whole.

    Attributes:
        node: Who sent it: what it said at EHLO.
        session: The connection.
        place: Which message of the connection it is.
        began: When it began.
        ended: When it was answered, or broken off; `None` before that.
        is_answered: All of a 250 went out.
        came: When the final dot came.
        asked: When it was told to go on with what came last.
    """

    node: str
    session: int
    place: int
    began: float
    ended: float | None = None
    is_answered: bool = False
    came: float = 0.0
    asked: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What it comes to.

    Attributes:
        acked: Messages that clients were promised to be delivered.
        refused: Those that they were refused.
        unanswered: Those that they sent whole, and heard nothing of.
        delivered: Recipients that were sent a message, each time counted.
        notified: Recipients of whom the sender was told.
        lost: What is missing.
        reply_lost: Deliveries that were repeated since their reply was lost.
        killed: Those that were repeated since the node was killed.
        stopped: Those that were repeated since the node was stopped.
        wrong: What must not be, but for losses.
    """

    acked: int
    refused: int
    unanswered: int
    delivered: int
    notified: int
    lost: Sequence[str]
    reply_lost: int
    killed: int
    stopped: int
    wrong: Sequence[str]

    @property
    def is_good(self) -> bool:
        """Whether the promise was kept."""
        return not self.lost and not self.wrong


class Ledger:
    """Who was promised what, and who got what.

    Args:
        lifetime_seconds: How long the nodes try; nobody may be given up before, but who is refused.
        may_return: What was refused with 451 may be delivered all the same: a commit that fails may
            be on the disk.
    """

    def __init__(self, *, lifetime_seconds: float, may_return: bool = False) -> None:
        self.messages: dict[int, Message] = {}
        self.lives: dict[str, Life] = {}
        self.acked = 0
        self.pending: set[str] = set()
        """The recipients of what was acked that wait."""
        self.deliveries = 0
        self.outages: Sequence[tuple[float, float]] = ()
        """From when to when there was no spool."""
        self._lifetime_seconds = lifetime_seconds
        self._may_return = may_return
        self._done: set[str] = set()
        self._recipients: dict[str, Message] = {}
        self._senders: dict[str, Message] = {}
        self._attempts: defaultdict[tuple[str, str], list[Attempt]] = defaultdict(list)
        self._sessions: dict[int, int] = {}
        self._notified: dict[str, str] = {}
        self._wrong: list[str] = []

    # What clients write

    def begin(self, message: Message) -> None:
        """Take note of a message before any of it is sent."""
        self.messages[message.number] = message
        self._senders[message.sender] = message
        for recipient in message.recipients:
            self._recipients[recipient] = message

    def ack(self, message: Message) -> None:
        """Take note of a promise."""
        message.state = State.ACKED
        self.acked += 1
        self.pending.update(set(message.recipients) - self._done)

    # What nodes write

    def start(self, life: Life) -> None:
        """Take note of a new process."""
        self.lives[life.name] = life

    # What the next hop writes

    def place(self, session: int, place: int) -> None:
        """Take note that a message of a session has begun; they count from 0."""
        self._sessions[session] = place

    def deliver(self, attempt: Attempt, recipients: Sequence[str], octets: bytes) -> None:
        """Take note of a message that came whole, before it is answered."""
        for recipient in recipients:
            self.deliveries += 1
            message = self._recipients.get(recipient)
            if message is None:
                self._wrong.append(f"{recipient} got what nobody sent")
                continue
            self._attempts[message.sender, recipient].append(attempt)
            self._finish(recipient)
            front = octets[: len(octets) - message.octets]
            rest = octets[len(front) :]
            if hashlib.sha256(rest).digest() != message.digest or not _FRONT.fullmatch(front):
                self._wrong.append(f"{recipient} got {len(octets)} octets that are not what was")

    def notify(
        self, attempt: Attempt, sender: str, name: str, failed: Sequence[str], *, at: float
    ) -> None:
        """Take note of a notification that came whole, before it is answered.

        Args:
            attempt: How it came.
            sender: To whom it is.
            name: Its Message-ID.
            failed: Whom it tells to have failed.
            at: When it came.
        """
        message = self._senders.get(sender)
        if message is None or not failed or not set(failed) <= set(message.recipients):
            self._wrong.append(f"{sender} was told of {', '.join(failed) or 'nobody'}")
            return
        self._attempts[f"<> {name}", sender].append(attempt)
        for recipient in failed:
            self._finish(recipient)
            if self._notified.setdefault(recipient, name) != name:
                self._wrong.append(f"{sender} was told twice of {recipient}")
            if "refuse" not in recipient and at < message.began + self._lifetime_seconds:
                self._wrong.append(f"{recipient} was given up though nobody refused it")

    def _finish(self, recipient: str) -> None:
        self._done.add(recipient)
        self.pending.discard(recipient)

    # The verdict

    def verdict(self) -> Verdict:
        """Tell what it comes to; when all is delivered that ever will be."""
        wrong = [*self._wrong, *self._unwanted(), *self._bounced(), *self._ended_late()]
        wrong += self._not_recordable()
        excuses: Counter[str] = Counter()
        for (name, recipient), attempts in self._attempts.items():
            attempts.sort(key=self._end)
            for attempt, after in pairwise(attempts):
                if any(after.asked <= stop.began for stop in self._stops_within(after)):
                    excuses["stop"] += 1
                    continue
                if after.began < self._end(attempt):
                    wrong.append(f"{recipient}: two attempts at once, {attempt} and {after}")
                excuse = self._excuse(attempt, name, recipient)
                if excuse is None:
                    wrong.append(
                        f"{recipient} got it again after {attempt}, and again by {after};"
                        f" {self._about(attempt, name, recipient)}"
                    )
                else:
                    excuses[excuse] += 1
        states = Counter(message.state for message in self.messages.values())
        return Verdict(
            acked=states[State.ACKED],
            refused=states[State.REFUSED],
            unanswered=states[State.SENT],
            delivered=self.deliveries,
            notified=len(self._notified),
            lost=sorted(f"{one}: neither delivered nor told of" for one in self.pending),
            reply_lost=excuses["reply"],
            killed=excuses["kill"],
            stopped=excuses["stop"],
            wrong=wrong,
        )

    def _end(self, attempt: Attempt) -> float:
        """Tell when an attempt was over: with its node at the latest."""
        life = self.lives.get(attempt.node)
        killed = float("inf") if life is None or life.killed is None else life.killed
        return min(killed, float("inf") if attempt.ended is None else attempt.ended)

    def _excuse(self, attempt: Attempt, name: str, recipient: str) -> str | None:
        """Tell why an attempt that came whole may be followed by another one."""
        life = self.lives.get(attempt.node)
        killed = None if life is None else life.killed
        if not attempt.is_answered:
            is_cut = attempt.ended is None or (killed is not None and attempt.ended >= killed)
            return "kill" if is_cut else "reply"
        if life is None or life.told[name, recipient]:
            return None
        if any(
            attempt.began <= stop.began + NOTE_SECONDS and self._end(attempt) >= stop.unwritten
            for stop in life.stops
        ):
            return "stop"
        if killed is None:
            return None
        is_under_way = attempt.place > self._sessions[attempt.session] - UNDER_WAY
        return "kill" if is_under_way else None

    def _about(self, attempt: Attempt, name: str, recipient: str) -> str:
        life = self.lives.get(attempt.node)
        if life is None:
            return "by nobody that is known"
        told = "" if life.told[name, recipient] else "not "
        return (
            f"its session had {self._sessions[attempt.session] + 1} messages, it was {told}told to"
            f" be on record, its node was killed at {life.killed}, and {life.stops}"
        )

    def _ended_late(self) -> Iterator[str]:
        for (_, recipient), attempts in self._attempts.items():
            for attempt in attempts:
                for stop in self._stops_within(attempt):
                    if attempt.asked > stop.began:
                        yield f"{recipient}: {attempt} was ended after {stop}"

    def _stops_within(self, attempt: Attempt) -> Iterator[Stop]:
        """Give those between the beginning of an attempt and its final dot."""
        life = self.lives.get(attempt.node)
        for stop in () if life is None else life.stops:
            if attempt.began <= stop.began and stop.ended is not None and attempt.came > stop.ended:
                yield stop

    def _not_recordable(self) -> Iterator[str]:
        attempts = {attempt for several in self._attempts.values() for attempt in several}
        for gone, back in self.outages:
            counts = Counter(
                attempt.session for attempt in attempts if gone + NOTE_SECONDS < attempt.came < back
            )
            for session, count in counts.items():
                if count > UNDER_WAY:
                    yield f"session {session} delivered {count} while there was no spool"

    def _unwanted(self) -> Iterator[str]:
        for message in self.messages.values():
            if message.state is State.BEGUN or (
                message.state is State.REFUSED and not self._may_return
            ):
                for one in message.recipients:
                    if (message.sender, one) in self._attempts:
                        yield f"{one} got what was {message.state.value}"

    def _bounced(self) -> Iterator[str]:
        for recipient in self._notified:
            sender = self._recipients[recipient].sender
            attempts = self._attempts.get((sender, recipient), ())
            if any(attempt.is_answered for attempt in attempts):
                yield f"{recipient} got it, and {sender} was told that it failed"
