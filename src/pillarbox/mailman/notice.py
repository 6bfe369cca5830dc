"""Notifications to senders that are Mailman's, such as `list-bounces`, go to Mailman.

When Mailman sends its posts by our relay, whoever cannot be reached is told to its `-bounces`
address, and Mailman counts it. The relay's own notices (relay/dsn.py) know nothing of that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from pillarbox.lists import ListDomains, MailmanSilent
from pillarbox.mailman.lookup import Lookup
from pillarbox.protocol.address import Path
from pillarbox.relay.notice import Notices, Report
from pillarbox.relay.permission import comparable_domain
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient

__all__ = ["MailmanNotices"]


class MailmanNotices:
    """Writes to senders, Mailman among them.

    Args:
        notices: Who writes.
        lookup: Asks Mailman.
        domains: Mailman's domains.
        destination: Mailman's queue.
    """

    def __init__(
        self, notices: Notices, lookup: Lookup, domains: ListDomains, *, destination: str
    ) -> None:
        self._notices = notices
        self._lookup = lookup
        self._domains = domains
        self._destination = destination

    async def write(
        self,
        lease: Lease,
        reports: Sequence[Report],
        /,
        *,
        octets: Callable[[], AsyncIterator[bytes]],
    ) -> Sequence[tuple[NewMessage, bytes]]:
        """Give the messages that are due, those for Mailman in its queue."""
        made = await self._notices.write(lease, reports, octets=octets)
        return [(await self._routed(message), text) for message, text in made]

    async def _routed(self, message: NewMessage) -> NewMessage:
        recipients = [await self._recipient(one) for one in message.recipients]
        return replace(message, recipients=tuple(recipients))

    async def _recipient(self, recipient: NewRecipient) -> NewRecipient:
        path = Path(recipient.address.encode())
        if not self._domains.has(comparable_domain(path.domain)) or not path.octets.isascii():
            return recipient
        try:
            is_known = await self._lookup.knows(path)
        except MailmanSilent:
            # What is Mailman's waits for it; where nobody knows what is, it goes on its way.
            is_known = not self._domains.is_any
        return replace(recipient, destination=self._destination) if is_known else recipient
