"""The mailbox of `pillarbox catch`, put together from its options (catcher/mailbox.py)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pillarbox.cli.errors import Failure

if TYPE_CHECKING:
    from pillarbox.catcher.mailbox import Mailbox
    from pillarbox.handler import AnyHandler

__all__ = ["Keeping", "aging"]

log = logging.getLogger("pillarbox")

# What is too old goes this much later at the most: a tenth of the age, or a minute.
LATEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How mail is kept.

    Attributes:
        db: A file; `None` for memory.
        max_messages: How many messages; 0 is no limit, as below.
        max_octets: How many octets of mail.
        max_age_seconds: For how long.
        imports: Files and folders of mail to take in at the start.
    """

    db: str | None
    max_messages: int
    max_octets: int
    max_age_seconds: float
    imports: Sequence[str]

    def open(self) -> Mailbox:
        """Open the mailbox.

        Raises:
            Failure: The file cannot be opened.
        """
        from pillarbox.catcher.mailbox import Limits, Mailbox, MailboxError

        limits = Limits(
            max_messages=self.max_messages,
            max_octets=self.max_octets,
            max_age_seconds=self.max_age_seconds,
        )
        try:
            return Mailbox(self.db, limits=limits)
        except MailboxError as error:
            raise Failure(f"--db: {error}") from None

    def take_in(self, mailbox: Mailbox) -> None:
        """Take in what is to be there from the start.

        Raises:
            Failure: It cannot be read, or there is no room for it.
        """
        if not self.imports:
            return
        from pillarbox.catcher.archive import ArchiveError, import_mail
        from pillarbox.catcher.mailbox import MailboxError

        taken = 0
        for path in self.imports:
            try:
                count = import_mail(mailbox, path)
            except (ArchiveError, MailboxError) as error:
                raise Failure(f"--import: {error}") from None
            log.info("%d new messages from %s", count, path)
            taken += count
        if mailbox.counts().total < taken:
            log.warning("the oldest of them have gone already; --max-messages 0 keeps all")

    @contextlib.asynccontextmanager
    async def aged(self, handler: AnyHandler, mailbox: Mailbox) -> AsyncIterator[AnyHandler]:
        """Let messages go that become too old while a handler works."""
        period = min(LATEST_SECONDS, self.max_age_seconds / 10)
        task = asyncio.create_task(aging(mailbox, lambda: asyncio.sleep(period)))
        try:
            yield handler
        finally:
            task.cancel()
            await asyncio.wait([task])


async def aging(mailbox: Mailbox, sleep: Callable[[], Awaitable[object]]) -> None:
    """Let messages go when they are too old, for ever.

    Args:
        mailbox: It knows what too old is.
        sleep: Waits for a while.
    """
    from pillarbox.catcher.failure import MailboxError

    while True:
        await sleep()
        try:
            await asyncio.to_thread(mailbox.prune)
        except MailboxError as error:
            log.error("%s; messages that are too old were not deleted", error)
