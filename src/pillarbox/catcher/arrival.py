"""A message as it arrived: the envelope, the octets, and when and from whom."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pillarbox.protocol.event import NO_PARAMETERS

if TYPE_CHECKING:
    from pillarbox.catcher.message import ParsedMessage
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
        identity: Who logged in by AUTH; `None` for nobody.
        tls: The version of TLS, such as `TLSv1.3`; `None` without.
        session_id: Names the connection in logs.
        local: The address of ours that the client connected to.
        mail_parameters: The parameters of MAIL, by their keyword in capitals.
        rcpt_parameters: Those of each RCPT, in the order of `rcpt_tos`; empty if there were none.
        mailboxes: The named mailboxes that it goes to.
        transcript: The SMTP dialogue, a line each, as far as it is known.
        tags: Tags beside those that the message itself asks for.
    """

    id: str
    time: datetime
    mail_from: str
    rcpt_tos: tuple[str, ...]
    peer: tuple[str, int] | str = ""
    helo: str | None = None
    octets: bytes = field(repr=False)
    identity: str | None = None
    tls: str | None = None
    session_id: str | None = None
    local: tuple[str, int] | str = ""
    mail_parameters: Mapping[str, str | None] = NO_PARAMETERS
    rcpt_parameters: tuple[Mapping[str, str | None], ...] = ()
    mailboxes: tuple[str, ...] = ()
    transcript: tuple[str, ...] = field(default=(), repr=False)
    tags: tuple[str, ...] = ()
    _parsed: ParsedMessage | None = field(default=None, init=False, repr=False, compare=False)

    def parse(self) -> ParsedMessage:
        """Take the message apart; once, whoever asks for it first."""
        if self._parsed is None:
            from pillarbox.catcher.message import parse_message

            parsed = parse_message(self.octets, rcpt_tos=self.rcpt_tos)
            object.__setattr__(self, "_parsed", parsed)
            return parsed
        return self._parsed

    @classmethod
    def of(
        cls,
        session: Session,
        envelope: Envelope,
        octets: bytes,
        *,
        id: str | None = None,  # noqa: A002  # what logs and users call it
        clock: Callable[[], datetime],
        mailboxes: tuple[str, ...] = (),
        transcript: tuple[str, ...] = (),
    ) -> Arrival:
        """Put together what a handler is given."""
        tls = session.tls
        rcpt_parameters = tuple(rcpt.parameters for rcpt in envelope.rcpts)
        return cls(
            id=new_id() if id is None else id,
            time=clock(),
            mail_from=envelope.mail_from,
            rcpt_tos=tuple(envelope.rcpt_tos),
            peer=session.peer,
            helo=session.domain,
            octets=octets,
            identity=session.identity,
            tls=None if tls is None else tls.version,
            session_id=session.id,
            local=session.local,
            mail_parameters=envelope.mail.parameters,
            rcpt_parameters=rcpt_parameters if any(rcpt_parameters) else (),
            mailboxes=mailboxes,
            transcript=transcript,
        )


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def new_id() -> str:
    """Make an id of 22 characters, which nobody can guess."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
