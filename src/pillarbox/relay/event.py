"""What a relay tells of itself: an event for each attempt, and figures. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.relay.spool import Result

__all__ = ["Attempted", "AttemptedRecipient", "RelayCounters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptedRecipient:
    """What became of one recipient.

    Attributes:
        address: The mailbox.
        result: What became of it.
        reply: What was said last.
        attempts: How often it was tried.
        next_attempt: When it is tried again; `None` for never.
        is_expired: It failed since it took too long.
        is_in_doubt: It may have been delivered all the same, and again next time.
    """

    address: str
    result: Result
    reply: str
    attempts: int
    next_attempt: float | None = None
    is_expired: bool = False
    is_in_doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """One attempt to deliver a message, with its outcome on record.

    Attributes:
        id: The message.
        mail_from: Its sender.
        size: Its octets.
        created: When it was accepted, in seconds since 1970.
        destination: Where it goes.
        server: The server that was talked to; empty for none.
        began: When.
        seconds: How long it took.
        recipients: What became of each.
    """

    id: str
    mail_from: str
    size: int
    created: float
    destination: str
    server: str
    began: float
    seconds: float
    recipients: tuple[AttemptedRecipient, ...]


@dataclass(slots=True, kw_only=True)
class RelayCounters:
    """The figures of a relay since it was started.

    Attributes:
        submitted: Messages that were taken.
        submitted_octets: Octets of them.
        held_back: Messages whose answer came late because of the backlog.
        refused: Messages refused because of the backlog.
        attempts: Transactions with other servers.
        delivered: Recipients that another server took over.
        deferred: Recipients that are tried again, counted at each attempt.
        failed: Recipients that failed for good.
        expired: Those of them that took too long.
        in_doubt: Recipients that may be delivered twice.
        sessions_opened: Sessions with other servers.
        sessions_failed: How often one could not be opened.
        sessions_open: Sessions that are open now.
        backlog: Recipients in the spool now, nearly.
        ready: Messages that wait for a session in memory now.
        ready_octets: Octets of them.
    """

    submitted: int = 0
    submitted_octets: int = 0
    held_back: int = 0
    refused: int = 0
    attempts: int = 0
    delivered: int = 0
    deferred: int = 0
    failed: int = 0
    expired: int = 0
    in_doubt: int = 0
    sessions_opened: int = 0
    sessions_failed: int = 0
    sessions_open: int = 0
    backlog: int = 0
    ready: int = 0
    ready_octets: int = 0
