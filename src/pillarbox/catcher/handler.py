"""The handler of `pillarbox catch`: accepts everything, keeps it and shows it.

A message is accepted once it is in the mailbox, a file, or on the screen: what nobody has seen is
not lost behind a 250.
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pillarbox.catcher.arrival import Arrival, utc_now
from pillarbox.catcher.failure import MailboxError, MailboxFull
from pillarbox.catcher.printer import Printer
from pillarbox.catcher.sorting import Sorting
from pillarbox.catcher.tally import Tally
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import Reject
from pillarbox.protocol.replies import MESSAGE_ACCEPTED
from pillarbox.protocol.reply import Reply

if TYPE_CHECKING:
    from pillarbox.catcher.intake import Intake
    from pillarbox.catcher.mailbox import Mailbox

__all__ = ["Catcher", "View"]

log = logging.getLogger("pillarbox")

NO_ROOM = Reply(452, "4.3.1", "No room to keep the message; try again later")
NOT_KEPT = Reply(451, "4.3.0", "The message could not be kept; try again later")
NOT_SHOWN = Reply(451, "4.3.0", "The message could not be shown; try again later")


class View(Protocol):
    """How messages look: terminal.py for people, record.py for programs."""

    def render(self, arrival: Arrival) -> str:
        """Give what to print of a message."""

    def fallback(self, arrival: Arrival) -> str:
        """Give something as plain as can be, when `render` failed."""


class Catcher:
    """Accepts every message.

    Args:
        view: How to show messages; `None` shows nothing of them.
        printer: Where to show them; `None` with the view.
        mailbox: Where to keep messages; `None` keeps none.
        keep: Keeps a message beside that, and gives its id.
        sorting: Which named mailboxes a message goes to.
        tally: Is told what was accepted.
        on_closed: Is called once when nobody reads what is printed any more, and messages are not
            kept otherwise.
        clock: Tells the time in UTC.
    """

    def __init__(
        self,
        view: View | None,
        printer: Printer | None,
        *,
        mailbox: Mailbox | None = None,
        keep: Callable[[Session, Envelope, bytes], str] | None = None,
        sorting: Sorting | None = None,
        tally: Tally | None = None,
        on_closed: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._view = view
        self._printer = printer
        self._mailbox = mailbox
        self._intake: Intake | None = None
        if mailbox is not None and mailbox.path is not None:
            from pillarbox.catcher.intake import Intake

            self._intake = Intake(mailbox)
        self._keep = keep
        self._sorting = sorting or Sorting()
        self._tally = tally or Tally()
        self._on_closed = on_closed
        self._clock = clock

    async def message(self, session: Session, envelope: Envelope, body: Body) -> None:
        """Keep the message, if that is wanted, and show it."""
        octets = await body.read()
        name = self._keep(session, envelope, octets) if self._keep else None
        arrival = Arrival.of(
            session,
            envelope,
            octets,
            id=name,
            clock=self._clock,
            mailboxes=self._sorting.names(session.identity, envelope.rcpt_tos, _port(session)),
            transcript=_transcript(session),
        )
        if self._mailbox is not None:
            await self._add(self._mailbox, session, arrival)
        await self._show(session, arrival)
        self._tally.note_accepted(len(octets))

    async def _add(self, mailbox: Mailbox, session: Session, arrival: Arrival) -> None:
        try:
            if self._intake is not None:
                await self._intake.add(arrival)
            else:
                mailbox.add(arrival)  # in memory, which takes less time than a thread
        except MailboxError as error:
            session.log.error("a message was not accepted: %s", error)
            self._tally.note_rejected()
            raise Reject(NO_ROOM if isinstance(error, MailboxFull) else NOT_KEPT) from None

    async def _show(self, session: Session, arrival: Arrival) -> None:
        if self._view is None or self._printer is None:
            return
        render = functools.partial(_render, self._view, arrival)
        if self._is_keeping:
            await self._printer.print_soon(render, functools.partial(self._note, session))
            return
        try:
            await self._printer.print(render)
        except OSError as error:
            self._note(session, error)
            raise Reject(NOT_SHOWN) from None

    @property
    def _is_keeping(self) -> bool:
        return self._keep is not None or self._mailbox is not None

    def _note(self, session: Session, error: Exception) -> None:
        """Tell the operator that messages cannot be printed."""
        if not isinstance(error, OSError):
            session.log.error("a message could not be printed", exc_info=error)
        elif error.errno != errno.EPIPE:
            session.log.error(
                "a message could not be printed: %s; see where standard output goes",
                error.strerror or error,
            )
        elif self._is_keeping:
            if self._view is not None:
                log.warning("standard output is closed; messages are kept, and shown no more")
            self._view = None
        else:
            on_closed, self._on_closed = self._on_closed, lambda: None
            on_closed()


def _port(session: Session) -> int | None:
    return None if isinstance(session.local, str) else session.local[1]


def _transcript(session: Session) -> tuple[str, ...]:
    """Give the dialogue up to our answer, which is about to be said: the message is kept."""
    lines = session.dialogue
    return (*lines, f"S: {MESSAGE_ACCEPTED}") if lines else ()


def _render(view: View, arrival: Arrival) -> str:
    try:
        return view.render(arrival)
    except Exception:
        log.exception("message %s cannot be shown as it should be", arrival.id)
        return view.fallback(arrival)
