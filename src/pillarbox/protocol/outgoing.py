"""The message under way to a server: what it needs, how it is asked for, what became of it.

The client's mirror of body.py. `OutgoingMessage` checks everything that goes out before the first
octet does: no address and no parameter holds a line end, so no command can be smuggled into
another. It knows no order of commands (transaction.py) and not how DATA is put (data_writer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, get_args

from pillarbox.protocol.address import MAX_MAILBOX_OCTETS, AddressError, Path, parse_path
from pillarbox.protocol.client_event import Outcome, RecipientOutcome
from pillarbox.protocol.data_writer import DataWriter
from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, encode_orcpt, encode_xtext, parse_envid
from pillarbox.protocol.event import NO_MAIL_DSN, NO_RCPT_DSN, BodyType
from pillarbox.protocol.offered import max_recipients, size_limit
from pillarbox.protocol.replies import TOO_LARGE
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions

__all__ = ["AnyRecipient", "OutgoingMessage", "Recipient"]

ADDRESS_NEEDS_SMTPUTF8 = Reply(
    553, "5.6.7", "An address beyond ASCII needs SMTPUTF8, which the server does not offer"
)
HEADER_NEEDS_SMTPUTF8 = Reply(
    554, "5.6.9", "The message needs SMTPUTF8, which the server does not offer"
)
NEEDS_8BITMIME = Reply(
    554, "5.6.3", "The message has octets beyond ASCII; the server does not offer 8BITMIME"
)
NEEDS_BINARYMIME = Reply(
    554, "5.6.3", "A binary message needs BINARYMIME and CHUNKING, which the server does not offer"
)
NEEDS_REQUIRETLS = Reply(
    550, "5.7.30", "The message needs REQUIRETLS, which the server does not offer"
)
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "The server takes fewer recipients of one message")


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient, and what its sender wants to hear (RFC 3461).

    Attributes:
        address: The address.
        dsn: When to notify, and the original recipient; goes to servers that offer DSN.
    """

    address: str | Path
    dsn: RcptDsn = NO_RCPT_DSN


AnyRecipient: TypeAlias = str | Path | Recipient
"""How a caller may write a recipient."""


class OutgoingMessage:
    """One message, from the wish to send it to its outcome.

    Args:
        mail_from: The sender's address; empty for the null reverse-path.
        rcpt_tos: The recipients' addresses.
        data: The message, or `None` where it comes in parts.
        size: What to announce where the message comes in parts.
        body: What the message is; found out where it is here as a whole.
        smtputf8: The header has UTF-8 (RFC 6532). Addresses beyond ASCII need no such word.
        dsn: What its sender wants of notifications (RFC 3461).
        requires_tls: Every hop has to be encrypted and verified (RFC 8689).

    Raises:
        AddressError: An address is none.
        ValueError: There is no recipient, or an argument makes no sense.
    """

    __slots__ = (
        "_addresses",
        "_body",
        "_dsn",
        "_has_utf8_address",
        "_offset",
        "_paths",
        "_rcpt_dsns",
        "_requires_tls",
        "_said",
        "_sender",
        "_size",
        "_smtputf8",
        "data",
        "end_replies",
        "mail_reply",
        "rcpt_replies",
        "refusal",
        "writer",
    )

    def __init__(
        self,
        mail_from: str | Path,
        rcpt_tos: Sequence[AnyRecipient],
        data: bytes | None,
        *,
        size: int | None = None,
        body: BodyType | None = None,
        smtputf8: bool = False,
        dsn: MailDsn = NO_MAIL_DSN,
        requires_tls: bool = False,
    ) -> None:
        if isinstance(rcpt_tos, str) or not rcpt_tos:
            raise ValueError("rcpt_tos is a list of one address at least: ['ann@example.org']")
        if body is not None and body not in get_args(BodyType):
            raise ValueError(f"body {body!r} is none of {', '.join(get_args(BodyType))}")
        if size is not None and size < 0:
            raise ValueError(f"size is {size}; a message has 0 octets at the least")
        self._sender = _path(mail_from)
        addresses = [one.address if isinstance(one, Recipient) else one for one in rcpt_tos]
        self._paths = [_path(address) for address in addresses]
        self._addresses = [str(address) for address in addresses]
        self._said = len(addresses)  # how many of them this server can be told of
        if b"" in self._paths:
            raise AddressError("A recipient is empty; write 'ann@example.org'")
        self._has_utf8_address = not all(map(bytes.isascii, (self._sender, *self._paths)))
        self._smtputf8 = smtputf8 or self._has_utf8_address
        self._dsn = b"" if dsn is NO_MAIL_DSN else _mail_parameters(dsn)
        self._rcpt_dsns = [
            _rcpt_parameters(one.dsn) if isinstance(one, Recipient) else b"" for one in rcpt_tos
        ]
        self._requires_tls = requires_tls
        self._size = size if data is None else len(data)
        if body is None and data is not None and not data.isascii():
            body = "8BITMIME"
        self._body = body
        self.data = data
        """The message, where it is here as a whole."""
        self._offset = 0
        self.writer: DataWriter | None = None
        """Puts the message for DATA; `None` where it goes by BDAT, as it is."""
        self.mail_reply: Reply | None = None
        self.rcpt_replies: list[Reply] = []
        self.end_replies: list[tuple[Reply, str]] = []
        """LMTP's answers to the whole message, one for each recipient taken, and the command."""
        self.refusal: tuple[Reply, str] | None = None
        """What the server said of the first chunk that it refused, and the command."""

    # What the server has to offer

    def refusal_by(self, extensions: Extensions, *, is_tls: bool = False) -> Reply | None:
        """Tell why this message cannot be sent to a server that offers no more than this."""
        if self._smtputf8 and "SMTPUTF8" not in extensions:
            return ADDRESS_NEEDS_SMTPUTF8 if self._has_utf8_address else HEADER_NEEDS_SMTPUTF8
        if self._body == "8BITMIME" and "8BITMIME" not in extensions:
            return NEEDS_8BITMIME
        if self._body == "BINARYMIME" and not {"BINARYMIME", "CHUNKING"} <= extensions.keys():
            return NEEDS_BINARYMIME
        # Only what is told to us within TLS may be believed, and then it is not taken away again.
        if self._requires_tls and not (is_tls and "REQUIRETLS" in extensions):
            return NEEDS_REQUIRETLS
        limit = size_limit(extensions)
        if limit and self._size is not None and self._size > limit:
            return TOO_LARGE.saying(f"The server takes messages of up to {limit} octets")
        return None

    def choose_form(self, extensions: Extensions, *, chunking: bool) -> None:
        """Decide between BDAT and DATA, and how many recipients may be named.

        A message that is here as a whole is checked for DATA.

        Raises:
            ValueError: It cannot go by DATA; nothing has been sent.
        """
        self._said = min(len(self._paths), max_recipients(extensions) or len(self._paths))
        if chunking and "CHUNKING" in extensions:
            return
        if self._body == "BINARYMIME":
            raise ValueError("a BINARYMIME message goes by BDAT: leave chunking as True")
        self.writer = DataWriter()
        if self.data is not None:
            self.writer.check(self.data, is_last=True)
            self.writer = DataWriter(is_checked=True)

    # The commands

    def mail_command(self, extensions: Extensions) -> bytes:
        """Give the MAIL command with the parameters that the server understands."""
        line = b"MAIL FROM:<%b>" % self._sender
        if self._size is not None and "SIZE" in extensions:
            line += b" SIZE=%d" % self._size
        if self._body == "BINARYMIME":
            line += b" BODY=BINARYMIME"
        elif "8BITMIME" in extensions and (self._body or self.data is None):
            # Parts that nobody described may be of any octets.
            line += b" BODY=%b" % (self._body or "8BITMIME").encode()
        if self._smtputf8:
            line += b" SMTPUTF8"
        if self._requires_tls:
            line += b" REQUIRETLS"
        return line + self._dsn if "DSN" in extensions else line

    def rcpt_commands(self, extensions: Extensions) -> list[bytes]:
        """Give the RCPT commands, as many as the server takes of one message (RFC 9422)."""
        has_dsn = "DSN" in extensions
        return [
            b"RCPT TO:<%b>%b" % (path, dsn if has_dsn else b"")
            for path, dsn in zip(self._paths[: self._said], self._rcpt_dsns, strict=False)
        ]

    def take_slice(self, octets: int, *, end_octets: int = 0) -> tuple[bytes, bool]:
        """Take the next octets of a message that is here as a whole; tell whether they end it.

        Args:
            octets: So many at the most.
            end_octets: Leave these to a slice of their own.
        """
        data = self.data or b""
        start = self._offset
        if len(data) - start > end_octets:
            octets = min(octets, len(data) - start - end_octets)
        self._offset = end = start + octets
        return data[start:end], end >= len(data)

    # What became of it

    @property
    def taken(self) -> int:
        """For how many recipients the server takes the message, as far as it has said."""
        if self.mail_reply is not None and not self.mail_reply.is_positive:
            return 0
        return sum(reply.is_positive for reply in self.rcpt_replies)

    def answers(self, reply: Reply) -> Outcome:
        """Tell what was said of each recipient, where nothing was to follow."""
        taken = (reply for reply in self.rcpt_replies if reply.is_positive)
        self.end_replies = [(reply, "RCPT") for reply in taken]
        return self.outcome(reply, "RCPT")

    def outcome(self, reply: Reply, command: str | None, *, is_sent: bool = False) -> Outcome:
        """Tell what became of it.

        Args:
            reply: What goes for everybody who was not refused before.
            command: What it answers; `None` where it is our own.
            is_sent: The server has the whole message, and did not answer.
        """
        is_in_doubt = is_sent and self.refusal is None and self.taken > 0
        if self.mail_reply is not None and not self.mail_reply.is_positive:
            reply, command = self.mail_reply, "MAIL"
            return Outcome(tuple(RecipientOutcome(one, reply, command) for one in self._addresses))
        if self.refusal is not None:
            reply, command = self.refusal
        ends = iter(self.end_replies)
        recipients: list[RecipientOutcome] = []
        for number, address in enumerate(self._addresses):
            if number >= self._said:
                one = RecipientOutcome(address, TOO_MANY_RECIPIENTS, None)
            elif number >= len(self.rcpt_replies):
                one = RecipientOutcome(address, reply, command)
            elif not self.rcpt_replies[number].is_positive:
                one = RecipientOutcome(address, self.rcpt_replies[number], "RCPT")
            else:
                one = RecipientOutcome(address, *next(ends, (reply, command)))
            recipients.append(one)
        return Outcome(tuple(recipients), is_in_doubt)


def _mail_parameters(dsn: MailDsn) -> bytes:
    text = ""
    if dsn.ret is not None:
        text += f" RET={dsn.ret.value}"
    if dsn.envid is not None:
        envid = encode_xtext(dsn.envid)
        parse_envid(envid)
        text += f" ENVID={envid}"
    return text.encode()


def _rcpt_parameters(dsn: RcptDsn) -> bytes:
    text = ""
    if dsn.notify is not None:
        names = ("SUCCESS", "FAILURE", "DELAY")
        words = [name for name in names if Notify[name] in dsn.notify]
        text += f" NOTIFY={','.join(words) or 'NEVER'}"
    if dsn.orcpt is not None:
        text += f" ORCPT={encode_orcpt(dsn.orcpt_type or 'rfc822', dsn.orcpt)}"
    return text.encode()


@lru_cache(maxsize=1024)
def _path(address: str | Path) -> bytes:
    """Check an address, and give what goes between the brackets.

    The same grammar as on the server's side: no control character gets through it. A local part of
    more than 64 octets is the other server's to refuse (RFC 5321 §4.5.3.1 asks for no limits where
    there need be none): GNU Mailman makes such addresses, of a list's name and a token.
    """
    try:
        octets = address.octets if isinstance(address, Path) else address.encode()
        path, end = parse_path(b"<%b>" % octets, max_local_part_octets=MAX_MAILBOX_OCTETS)
    except UnicodeEncodeError:
        raise AddressError(f"{address!r}: Not valid UTF-8") from None
    except AddressError as error:
        raise AddressError(f"{address!r}: {error}") from None
    if end != len(octets) + 2:
        raise AddressError(f"{address!r}: Not an address")
    return path.octets
