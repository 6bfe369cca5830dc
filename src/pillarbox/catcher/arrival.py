"""A message as it arrived: the envelope, the octets, and when and from whom."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillarbox.envelope import Envelope, Session

__all__ = ["Arrival", "new_id", "utc_now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message that was caught.

    Attributes:
        id: Names it here, and its file if there is one.
        time: When it was complete, in UTC.
        mail_from: The envelope's sender; empty for a bounce.
        rcpt_tos: The envelope's recipients.
        peer: The client's address: `(host, port)`, or a path.
        helo: What the client called itself.
        octets: The message.
    """

    id: str
    time: datetime
    mail_from: str
    rcpt_tos: tuple[str, ...]
    peer: tuple[str, int] | str = ""
    helo: str | None = None
    octets: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        session: Session,
        envelope: Envelope,
        octets: bytes,
        *,
        id: str | None = None,  # noqa: A002  # what logs and users call it
        clock: Callable[[], datetime],
    ) -> Arrival:
        """Put together what a handler is given."""
        return cls(
            id=new_id() if id is None else id,
            time=clock(),
            mail_from=envelope.mail_from,
            rcpt_tos=tuple(envelope.rcpt_tos),
            peer=session.peer,
            helo=session.domain,
            octets=octets,
        )


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def new_id() -> str:
    """Make an id of 22 characters, which nobody can guess."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
