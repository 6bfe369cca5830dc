"""What is Mailman's is decided at RCPT: a handler in front of the relay's own (relay/intake.py).

Mailman is asked of each recipient in its domains. What it knows is taken from anybody, as any list
server takes it; what it does not know is for the relay and its permission, or is refused. Where it
does not say, the client hears 451 for this recipient, and nothing is ever relayed in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final

from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import Reject
from pillarbox.lists import ListDomains, MailmanSilent, list_key
from pillarbox.log import visible
from pillarbox.mailman.lookup import Lookup
from pillarbox.protocol.address import Path
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.reply import Reply
from pillarbox.relay.intake import Intake
from pillarbox.relay.permission import comparable_domain

__all__ = ["MailmanIntake", "chosen"]

log = logging.getLogger("pillarbox")

MAILMAN_IS_DOWN = Reply(451, "4.3.0", "Mailman cannot take mail now; try again later")
NO_SUCH_LIST = Reply(550, "5.1.1", "No such list")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "Mailman takes no mail that needs SMTPUTF8")
NEEDS_BINARYMIME = Reply(554, "5.6.3", "Mailman takes no binary messages")

_KEY: Final = "pillarbox.mailman"


@dataclass(slots=True)
class _Transaction:
    """What is known of the transaction under way."""

    mail: Mail
    lists: dict[str, str] = field(default_factory=dict)
    """The destination of each recipient that Mailman knows, by what `list_key()` gives."""


def chosen(session: Session, path: Path) -> str | None:
    """Give the destination of a recipient that Mailman knows; `None` for all others."""
    transaction: _Transaction = session.state[_KEY]
    return transaction.lists.get(list_key(path))


class MailmanIntake:
    """A handler that has Mailman take what it knows, and the relay the rest.

    Args:
        intake: The relay's handler, which asks `chosen` where mail goes.
        lookup: Asks Mailman.
        domains: Mailman's domains.
        destination: Mailman's queue.
        rejects_unknown: Refuse what Mailman does not know in its domains.
    """

    def __init__(
        self,
        intake: Intake,
        lookup: Lookup,
        domains: ListDomains,
        *,
        destination: str,
        rejects_unknown: bool = False,
    ) -> None:
        self._intake = intake
        self._lookup = lookup
        self._domains = domains
        self._destination = destination
        self._rejects_unknown = rejects_unknown
        self._is_silent = False

    def mail(self, session: Session, mail: Mail) -> None:
        """Begin a transaction."""
        session.state[_KEY] = _Transaction(mail)
        self._intake.mail(session, mail)

    def rcpt(self, session: Session, rcpt: Rcpt) -> Awaitable[None] | None:
        """Take a recipient that Mailman knows, or that the relay takes."""
        if self._domains.has(comparable_domain(rcpt.path.domain)):
            return self._ask(session, rcpt)
        self._intake.rcpt(session, rcpt)
        return None

    async def message(self, session: Session, envelope: Envelope, body: Body) -> Reply:
        """Keep a message, with each list in it once."""
        transaction: _Transaction = session.state[_KEY]
        rcpts: dict[object, Rcpt] = {}
        for number, rcpt in enumerate(envelope.rcpts):
            key = list_key(rcpt.path)
            rcpts.setdefault(key if key in transaction.lists else number, rcpt)
        once = Envelope(envelope.mail, tuple(rcpts.values()))
        return await self._intake.message(session, once, body)

    async def _ask(self, session: Session, rcpt: Rcpt) -> None:
        transaction: _Transaction = session.state[_KEY]
        if await self._knows(session, rcpt.path):
            if transaction.mail.smtputf8:
                raise Reject(NEEDS_SMTPUTF8)
            if transaction.mail.body == "BINARYMIME":
                raise Reject(NEEDS_BINARYMIME)
            transaction.lists[list_key(rcpt.path)] = self._destination
        elif self._rejects_unknown and not self._domains.is_any:
            raise Reject(NO_SUCH_LIST)
        else:
            self._intake.rcpt(session, rcpt)

    async def _knows(self, session: Session, path: Path) -> bool:
        if not path.octets.isascii():
            if self._domains.is_any:
                return False
            raise Reject(NEEDS_SMTPUTF8)
        try:
            is_known = await self._lookup.knows(path)
        except MailmanSilent as error:
            self._tell(session, error)
            raise Reject(MAILMAN_IS_DOWN) from None
        if self._is_silent:
            self._is_silent = False
            log.info("Mailman answers again")
        return is_known

    def _tell(self, session: Session, error: MailmanSilent) -> None:
        """Log it once, until Mailman is back."""
        if not self._is_silent:
            self._is_silent = True
            session.log.error(
                "Mailman does not answer (%s): its mail has to wait at its senders; see that its"
                " LMTP runner runs, and that --mailman-lmtp is right",
                visible(str(error)),
            )
