"""What a server notes of its clients: it counts everything, and logs what an operator looks for.

Clients can provoke each of these lines at will, so only some of a kind are logged between two
ticks; the next tick tells how many were left out. The figures are never short.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from pillarbox.counters import Counters
from pillarbox.log import peer_text
from pillarbox.protocol.note import ClientCutOff, LoginDecided, MessageAnswered, Note
from pillarbox.protocol.reply import Reply

if TYPE_CHECKING:
    from pillarbox.asyncio.wire import Wire

__all__ = ["LINES_PER_TICK", "Journal"]

log = logging.getLogger("pillarbox")

LINES_PER_TICK = 10


class Journal:
    """The counters of one server, and its log about clients."""

    def __init__(self) -> None:
        self.counters = Counters()
        """The figures, which whoever sees something adds to."""
        self.tells_everything = False
        """Whether accepted messages are logged: looked up once a tick, not for each of them."""
        self._told: Counter[str] = Counter()
        self.tick()

    def tick(self) -> None:
        """Begin anew with the lines, and tell of those that were left out."""
        for kind, count in self._told.items():
            if count > LINES_PER_TICK:
                log.info("%s: %d more than are shown", kind, count - LINES_PER_TICK)
        self._told.clear()
        self.tells_everything = log.isEnabledFor(logging.DEBUG)

    def copy(self, *, connections_open: int, memory_octets: int) -> Counters:
        """Give the figures as they are now."""
        return replace(
            self.counters, connections_open=connections_open, memory_octets=memory_octets
        )

    # What is counted

    def _count(self, message: MessageAnswered) -> None:
        counters, replies = self.counters, message.replies
        accepted = sum(reply.is_positive for reply in replies)
        deferred = sum(reply.is_transient for reply in replies)
        refused = len(replies) - accepted - deferred
        counters.message_octets += message.octets
        if accepted:
            counters.messages_accepted += 1
        elif deferred:
            counters.messages_deferred += 1
        else:
            counters.messages_refused += 1
        each = message.rcpt_count if len(replies) == 1 else 1  # or one reply for each of them
        counters.recipients_accepted += accepted * each
        counters.recipients_deferred += deferred * each
        counters.recipients_refused += refused * each

    def count_recipient(self, reply: Reply) -> None:
        """Count a recipient that the handler turned down."""
        if reply.is_transient:
            self.counters.recipients_deferred += 1
        elif not reply.is_positive:
            self.counters.recipients_refused += 1

    # What is logged

    def tell(
        self, connection: Wire, kind: str, text: str, *args: object, level: int = logging.INFO
    ) -> None:
        """Log something about a client, unless there was much of the kind just now.

        Args:
            connection: Whose record it is; it gets its session, where it has none, only for that.
            kind: What the line that tells of those left out calls them.
            text: The line, for `%` and `args`.
            level: How much it matters.
        """
        if not log.isEnabledFor(level):
            return
        self._told[kind] += 1
        if self._told[kind] <= LINES_PER_TICK:
            connection.session.log.log(level, text, *args)

    def take_message(
        self,
        connection: Wire,
        message: MessageAnswered,
        *,
        seconds: float | None = None,
        is_told: bool = False,
    ) -> None:
        """Count a message that is answered; log it where it was turned down, or for who wants all.

        Args:
            connection: Whose message it is.
            message: What it was and what became of it.
            seconds: How long the handler had it.
            is_told: The log knows already why it was turned down.
        """
        replies = message.replies
        self._count(message)
        is_accepted = any(reply.is_positive for reply in replies)
        if is_told or (is_accepted and not self.tells_everything):
            return
        text = "message %s: from=%s recipients=%d octets=%d%s reply=%s"
        args = (
            "accepted" if is_accepted else "turned down",
            repr(message.mailbox),
            message.rcpt_count,
            message.octets,
            "" if seconds is None else f" seconds={seconds:.3f}",
            repr(", ".join(map(str, dict.fromkeys(replies)))),
        )
        if is_accepted:
            connection.session.log.debug(text, *args)
        else:
            self.tell(connection, "messages turned down", text, *args)

    def take(self, connection: Wire, note: Note) -> None:
        """Count and log what the protocol decided."""
        match note:
            case LoginDecided(mechanism, username, None, reply):
                self.counters.logins_failed += 1
                # The name last and in quotes: it may be anything, another address too.
                self.tell(
                    connection,
                    "logins failed",
                    "login from %s by %s failed (%s): %s",
                    peer_text(connection.peer),
                    mechanism,
                    reply,
                    repr(username),
                )
            case LoginDecided(mechanism, _, identity, _):
                self.counters.logins_succeeded += 1
                self.tell(
                    connection,
                    "logins",
                    "login from %s by %s: %s",
                    peer_text(connection.peer),
                    mechanism,
                    repr(identity),
                )
            case MessageAnswered():
                self.take_message(connection, note)
            case ClientCutOff(reply):
                self.counters.clients_cut_off += 1
                self.tell(
                    connection,
                    "clients cut off",
                    "connection from %s closed: %s",
                    peer_text(connection.peer),
                    reply,
                )
            case _:
                assert_never(note)
