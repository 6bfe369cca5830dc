"""Events: what the peer did, for the driver to decide on (the values between core and driver).

`ServerConnection.next_event()` gives one at a time. `tag` is a small number for a dispatch table.
Made for each command, they are slots objects frozen for the type checker and, in the test suite,
for good: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from pillarbox.protocol.address import Path
from pillarbox.protocol.dsn import MailDsn, RcptDsn
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Credentials
from pillarbox.protocol.xclient import XClient

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(**_options: object) -> object:
        """Stand for `dataclass(frozen=True)` at the cost of an ordinary class."""
        return dataclass(slots=True)


__all__ = [
    "NEED_CLOSE",
    "NEED_DATA",
    "NEED_SEND",
    "NEED_TLS",
    "Auth",
    "BodyAborted",
    "BodyPart",
    "BodyType",
    "Connect",
    "Event",
    "Mail",
    "Need",
    "Rcpt",
]

BodyType: TypeAlias = Literal["7BIT", "8BITMIME", "BINARYMIME"]
"""What BODY= says of the message's octets (RFC 6152, RFC 3030)."""


class _NoParameters(Mapping[str, str | None]):
    """The parameters of nearly every command: one empty mapping that nobody can fill."""

    __slots__ = ()

    def __getitem__(self, keyword: str) -> str | None:
        raise KeyError(keyword)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0  # dataclasses take a default for immutable that has a hash

    def __repr__(self) -> str:
        return "{}"


Parameters: TypeAlias = Mapping[str, str | None]
NO_PARAMETERS: Final[Parameters] = _NoParameters()
NO_MAIL_DSN: Final = MailDsn()
NO_RCPT_DSN: Final = RcptDsn()


@value(frozen=True, slots=True)
class Connect:
    """A client connected and waits for the greeting. Answer with a 220 or a 4xx/5xx reply.

    It comes again for each XCLIENT: it is another client then that is to be greeted or refused.

    Attributes:
        xclient: What a front server told of the client by XCLIENT; `None` at the beginning.
    """

    xclient: XClient | None = None
    tag: ClassVar[Literal[0]] = 0


@value(frozen=True, slots=True)
class Mail:
    """MAIL: a transaction begins (RFC 5321 §4.1.1.2). Answer with a reply.

    Attributes:
        path: The reverse-path; `path.is_null` for bounces.
        size: The octets that SIZE announces, if it does (RFC 1870).
        body: What BODY says, if anything.
        smtputf8: Whether the message may have UTF-8 in addresses and headers (RFC 6531).
        dsn: What is wanted of delivery status notifications (RFC 3461).
        requires_tls: Whether every further hop has to be encrypted and verified (RFC 8689).
        auth: Who submitted the message, as the client says: AUTH= (RFC 4954 §5); empty for `<>`.
        parameters: Every parameter as it came, by its keyword in capitals.
    """

    path: Path
    size: int | None = None
    body: BodyType | None = None
    smtputf8: bool = False
    dsn: MailDsn = NO_MAIL_DSN
    requires_tls: bool = False
    auth: str | None = None
    parameters: Parameters = NO_PARAMETERS
    tag: ClassVar[Literal[1]] = 1


@value(frozen=True, slots=True)
class Rcpt:
    """RCPT: one more recipient (RFC 5321 §4.1.1.3). Answer with a reply.

    Attributes:
        path: The forward-path.
        dsn: What is wanted of delivery status notifications (RFC 3461).
        parameters: Every parameter as it came, by its keyword in capitals.
    """

    path: Path
    dsn: RcptDsn = NO_RCPT_DSN
    parameters: Parameters = NO_PARAMETERS
    tag: ClassVar[Literal[2]] = 2


@value(frozen=True, slots=True)
class BodyPart:
    """Octets of the message, dots unstuffed; by DATA or BDAT alike.

    A message of up to `Offer.whole_body_octets` comes as one part that is the last. Answer the
    last part with a reply; the parts before it may be answered as well, which keeps the reply until
    the client has sent the rest, unseen.
    """

    data: bytes
    is_last: bool
    tag: ClassVar[Literal[3]] = 3


@value(frozen=True, slots=True)
class BodyAborted:
    """The message that was under way will not come whole: throw away what there is of it.

    No answer is owed: the client is told, or has itself given up.

    Attributes:
        reply: What the client is told, or `None` where it gave up by RSET, EHLO or QUIT.
    """

    reply: Reply | None
    tag: ClassVar[Literal[4]] = 4


@value(frozen=True, slots=True)
class Auth:
    """A client wants to be known (RFC 4954). Answer by `answer_auth()`, or with a refusal.

    Attributes:
        mechanism: The SASL mechanism's name.
        credentials: What the client claims and how it proves it.
    """

    mechanism: str
    credentials: Credentials
    tag: ClassVar[Literal[5]] = 5


class Need:
    """What the protocol needs of the driver before it can go on; compare by identity."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


NEED_DATA: Final = Need("NEED_DATA")
"""Send what there is to send, and feed what the peer says next."""

NEED_TLS: Final = Need("NEED_TLS")
"""Send what there is to send, do the TLS handshake, and call `tls_started()`."""

NEED_SEND: Final = Need("NEED_SEND")
"""Send what there is to send, and ask again: replies pile up that a client may never read."""

NEED_CLOSE: Final = Need("NEED_CLOSE")
"""Send what there is to send, and close the connection."""

Event: TypeAlias = Connect | Mail | Rcpt | BodyPart | BodyAborted | Auth
