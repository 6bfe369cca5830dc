"""What `pillarbox mailman` puts before a relay: the parts of pillarbox.mailman, put together."""

from __future__ import annotations

import logging

from pillarbox.handler import AnyHandler
from pillarbox.lists import ListDomains
from pillarbox.mailman.intake import MailmanIntake, chosen
from pillarbox.mailman.lookup import Lookup, mailman_client
from pillarbox.mailman.notice import MailmanNotices
from pillarbox.mailman.route import MailmanRoutes, mailman_destination
from pillarbox.relay.intake import Intake
from pillarbox.relay.notice import Notices
from pillarbox.relay.route import NextHop, Resolves, Route

__all__ = ["MailmanFront"]

log = logging.getLogger("pillarbox")

MAILMAN_SECONDS = 10.0


class MailmanFront:
    """The `Front` that has Mailman take what it knows.

    Args:
        mailman: Where Mailman is.
        domains: Its domains.
        hostname: What we call ourselves.
        rejects_unknown: Refuse what it does not know in them.
    """

    chooses = staticmethod(chosen)

    def __init__(
        self, mailman: NextHop, domains: ListDomains, *, hostname: str, rejects_unknown: bool
    ) -> None:
        self._mailman = mailman
        self._domains = domains
        self._rejects_unknown = rejects_unknown
        self._destination = mailman_destination(mailman)
        client = mailman_client(mailman, hostname=hostname, seconds=MAILMAN_SECONDS)
        self._lookup = Lookup(client, seconds=MAILMAN_SECONDS)

    def tell(self) -> None:
        """Log where Mailman is."""
        log.info("handing to %s what Mailman knows", self._destination)
        if self._domains.is_any:
            log.warning(
                "which domains have lists is not said, so Mailman is asked of every recipient, and"
                " while it is down no mail is taken at all; write --mailman-domain or"
                " --mailman-domains-file"
            )

    def routes(self, others: Route, resolver: Resolves) -> Route:
        """Put Mailman's route before the others."""
        return MailmanRoutes(self._mailman, others, resolver=resolver)

    def notices(self, notices: Notices) -> Notices:
        """Have notices for Mailman go there."""
        return MailmanNotices(notices, self._lookup, self._domains, destination=self._destination)

    def handler(self, intake: Intake) -> AnyHandler:
        """Put Mailman before the relay."""
        return MailmanIntake(
            intake,
            self._lookup,
            self._domains,
            destination=self._destination,
            rejects_unknown=self._rejects_unknown,
        )

    async def close(self) -> None:
        """Say goodbye to Mailman."""
        await self._lookup.close()
