"""The intake: a handler that takes mail in for a relay, by the one door (handler.py).

Whether a recipient may be sent to is asked at RCPT (permission.py), and where it goes (route.py).
The message gets its Received line (trace.py) and what hooks put in front, all before it is kept, so
that every attempt sends the same octets. It is answered with 250 once the spool has it.

A message of up to 64 KiB is handled in one piece; a larger one goes to the spool as it comes in,
unless a hook has to see all of it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import Reject
from pillarbox.log import peer_text
from pillarbox.protocol.address import Path
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.reply import Reply
from pillarbox.relay.permission import Permission
from pillarbox.relay.route import NoRoute, Route
from pillarbox.relay.spool import Draft, NewMessage, NewRecipient, SpoolError, SpoolFull
from pillarbox.relay.trace import HopCount, received_line

__all__ = ["Drafts", "Hook", "Intake", "Submits"]

log = logging.getLogger("pillarbox")

FULL = Reply(452, "4.3.1", "There is no room for it now; try again later")
BROKEN = Reply(451, "4.3.0", "The message could not be kept; try again later")
NO_MEMORY = Reply(452, "4.3.1", "Too much mail at once; try again later")
LOOP = Reply(554, "5.4.6", "The message runs in a circle: it has come by too many servers")

FIVE_DAYS = 432_000.0
LINES_PER_SECOND = 10

Hook: TypeAlias = Callable[[Envelope, bytes], Awaitable[bytes]]
"""Gives header lines, with their CRLFs, that are to stand in front of a message."""


class Submits(Protocol):
    """What the intake needs of a `Relay`."""

    @property
    def route(self) -> Route:
        """Where mail goes."""
        ...

    async def submit(self, message: NewMessage, body: bytes | Draft) -> str:
        """Keep a message, and deliver it soon; give its name.

        Raises:
            SpoolFull: There is no room, or too much is waiting.
            SpoolError: It was not kept.
        """
        ...


class Drafts(Protocol):
    """What the intake needs of a `Spool`."""

    def draft(self) -> Draft:
        """Begin a large message."""
        ...


class Intake:
    """A handler that hands mail to a relay.

    Args:
        relay: Who keeps and delivers it.
        spool: Where large messages go as they come in.
        permission: Who may send where.
        hostname: Who we are, in the Received line.
        lifetime_seconds: How long a message is tried.
        header: Header lines that stand in front of every message.
        hooks: What looks at the messages of trusted clients and puts more in front, the next one
            before what the last one put there.
        chooses: Gives the destination of a recipient that was taken, in place of the relay's route;
            `None` leaves it to that.
        max_memory_octets: What messages that hooks look at may take at once, beyond 64 KiB each.
        now: Tells the time in seconds since 1970.
    """

    def __init__(
        self,
        relay: Submits,
        spool: Drafts,
        *,
        permission: Permission,
        hostname: str,
        lifetime_seconds: float = FIVE_DAYS,
        header: bytes = b"",
        hooks: Sequence[Hook] = (),
        chooses: Callable[[Session, Path], str | None] | None = None,
        max_memory_octets: int = 268_435_456,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._relay = relay
        self._spool = spool
        self._route = relay.route
        self._permission = permission
        self._hostname = hostname
        self._lifetime_seconds = lifetime_seconds
        self._header = header
        self._hooks = tuple(hooks)
        self._chooses = chooses
        self._memory = max_memory_octets
        self._now = now
        self._lines = _Lines(now)

    # The questions of a handler

    def mail(self, _session: Session, mail: Mail) -> None:
        """Refuse a sender that nothing could be told: a notification would have no way."""
        if not mail.path.is_null:
            try:
                self._route.destination(mail.path.mailbox)
            except NoRoute as error:
                raise Reject(error.reply) from None

    def rcpt(self, session: Session, rcpt: Rcpt) -> None:
        """Take a recipient that may be sent to, and can be."""
        refusal = self._permission.refusal(session, rcpt.path)
        if refusal is not None:
            if self._lines.may("refused to relay"):
                session.log.info(
                    "refused to relay for %s to %s", peer_text(session.peer), repr(str(rcpt.path))
                )
            raise Reject(refusal)
        try:
            self._route.destination(rcpt.path.mailbox)
        except NoRoute as error:
            raise Reject(error.reply) from None

    async def message(self, session: Session, envelope: Envelope, body: Body) -> Reply:
        """Keep a message; it is ours from then on."""
        now = self._now()
        front = received_line(session, envelope, hostname=self._hostname, now=now)
        message = self._message(session, envelope, now=now)
        hooks = self._hooks if self._permission.trusts(session) else ()
        try:
            if body.is_whole:
                id_ = await self._take(message, front, envelope, body.data, hooks)
            elif hooks:
                id_ = await self._gather(message, front, envelope, body, hooks)
            else:
                id_ = await self._pass_on(message, front + self._header, body)
        except SpoolError as error:
            raise Reject(self._told(session, error)) from None
        if log.isEnabledFor(logging.DEBUG):
            session.log.debug("queued as %s", id_)
        return Reply(250, "2.0.0", f"Queued as {id_}")

    # How it is kept

    def _message(self, session: Session, envelope: Envelope, *, now: float) -> NewMessage:
        mail = envelope.mail
        recipients: Iterable[NewRecipient] = [
            NewRecipient(
                address=rcpt.path.mailbox,
                destination=self._destination(session, rcpt.path),
                dsn=rcpt.dsn,
            )
            for rcpt in envelope.rcpts
        ]
        if len(envelope.rcpts) > 1:  # who is named twice has it once
            recipients = {(one.address, one.dsn): one for one in recipients}.values()
        login = f", login {session.identity}" if session.identity is not None else ""
        return NewMessage(
            mail_from=mail.path.mailbox,
            recipients=tuple(recipients),
            created=now,
            expires=now + self._lifetime_seconds,
            is_smtputf8=mail.smtputf8,
            body_type=mail.body or "7BIT",
            requires_tls=mail.requires_tls,
            dsn=mail.dsn,
            origin=f"{peer_text(session.peer)}, session {session.id}{login}",
        )

    def _destination(self, session: Session, path: Path) -> str:
        chosen = None if self._chooses is None else self._chooses(session, path)
        return chosen or self._route.destination(path.mailbox)

    async def _take(
        self,
        message: NewMessage,
        front: bytes,
        envelope: Envelope,
        octets: bytes,
        hooks: Sequence[Hook],
    ) -> str:
        """Keep a message that is here as a whole."""
        hops = HopCount()
        hops.feed(octets)
        if hops.is_loop:
            raise Reject(LOOP)
        octets = self._header + octets
        for hook in hooks:
            octets = await hook(envelope, octets) + octets
        return await self._relay.submit(message, front + octets)

    async def _gather(
        self,
        message: NewMessage,
        front: bytes,
        envelope: Envelope,
        body: Body,
        hooks: Sequence[Hook],
    ) -> str:
        """Keep a large message that hooks have to see, within what memory allows."""
        parts: list[bytes] = []
        taken = 0
        try:
            async for part in body:
                parts.append(part)
                taken += len(part)
                self._memory -= len(part)
                if self._memory < 0:
                    raise Reject(NO_MEMORY)
            return await self._take(message, front, envelope, b"".join(parts), hooks)
        finally:
            self._memory += taken

    async def _pass_on(self, message: NewMessage, front: bytes, body: Body) -> str:
        """Keep a large message as it comes in."""
        draft = self._spool.draft()
        hops = HopCount()
        try:
            await draft.write(front)
            async for part in body:
                hops.feed(part)
                if hops.is_loop:
                    raise Reject(LOOP)
                await draft.write(part)
            return await self._relay.submit(message, draft)
        except BaseException:
            await draft.discard()  # which does nothing to one that the spool has taken
            raise

    def _told(self, session: Session, error: SpoolError) -> Reply:
        """Tell the operator what is to be mended, and the client to come again."""
        if self._lines.may("messages that could not be kept"):
            session.log.error("a message could not be kept: %s", error)
        return FULL if isinstance(error, SpoolFull) else BROKEN


class _Lines:
    """Clients can have these lines logged at will: some of a kind in a second are enough."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._told: Counter[str] = Counter()

    def may(self, kind: str) -> bool:
        """Tell whether one more line may be logged, and log how many were left out before."""
        second = int(self._now())
        if second != self._second:
            for name, count in self._told.items():
                if count > LINES_PER_SECOND:
                    log.info("%s: %d more than are shown", name, count - LINES_PER_SECOND)
            self._told.clear()
            self._second = second
        self._told[kind] += 1
        return self._told[kind] <= LINES_PER_SECOND
