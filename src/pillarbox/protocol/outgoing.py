"""The message under way to a server: what it needs, how it is put, what became of it.

The client's mirror of body.py. `OutgoingMessage` checks everything that goes out before the first
octet does: no address and no parameter holds a line end, so no command can be smuggled into
another. It knows no order of commands and no replies but as values: see client.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from pillarbox.protocol.address import AddressError, Path, parse_path
from pillarbox.protocol.client_event import Outcome, RecipientOutcome
from pillarbox.protocol.event import BodyType
from pillarbox.protocol.framing import NewlineCheck
from pillarbox.protocol.replies import TOO_LARGE
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions

__all__ = ["DataWriter", "OutgoingMessage", "size_limit"]

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

# RFC 1870 §3: a number of up to 20 digits.
MAX_SIZE_DIGITS: Final = 20


class OutgoingMessage:
    """One message, from the wish to send it to its outcome.

    Args:
        mail_from: The sender's address; empty for the null reverse-path.
        rcpt_tos: The recipients' addresses.
        data: The message, or `None` where it comes in parts.
        size: What to announce where the message comes in parts.
        body: What the message is; found out where it is here as a whole.
        smtputf8: The header has UTF-8 (RFC 6532). Addresses beyond ASCII need no such word.

    Raises:
        AddressError: An address is none.
        ValueError: There is no recipient, or an argument makes no sense.
    """

    __slots__ = (
        "_addresses",
        "_body",
        "_has_utf8_address",
        "_offset",
        "_paths",
        "_sender",
        "_size",
        "_smtputf8",
        "data",
        "mail_reply",
        "rcpt_replies",
        "refusal",
        "writer",
    )

    def __init__(
        self,
        mail_from: str | Path,
        rcpt_tos: Sequence[str | Path],
        data: bytes | None,
        *,
        size: int | None = None,
        body: BodyType | None = None,
        smtputf8: bool = False,
    ) -> None:
        if isinstance(rcpt_tos, str) or not rcpt_tos:
            raise ValueError("rcpt_tos is a list of one address at least: ['ann@example.org']")
        if body is not None and body not in get_args(BodyType):
            raise ValueError(f"body {body!r} is none of {', '.join(get_args(BodyType))}")
        if size is not None and size < 0:
            raise ValueError(f"size is {size}; a message has 0 octets at the least")
        self._sender = _path(mail_from)
        self._paths = [_path(address) for address in rcpt_tos]
        self._addresses = [str(address) for address in rcpt_tos]
        if b"" in self._paths:
            raise AddressError("A recipient is empty; write 'ann@example.org'")
        self._has_utf8_address = not all(map(bytes.isascii, (self._sender, *self._paths)))
        self._smtputf8 = smtputf8 or self._has_utf8_address
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
        self.refusal: tuple[Reply, str] | None = None
        """What the server said of the first chunk that it refused, and the command."""

    # What the server has to offer

    def refusal_by(self, extensions: Extensions) -> Reply | None:
        """Tell why this message cannot be sent to a server that offers no more than this."""
        if self._smtputf8 and "SMTPUTF8" not in extensions:
            return ADDRESS_NEEDS_SMTPUTF8 if self._has_utf8_address else HEADER_NEEDS_SMTPUTF8
        if self._body == "8BITMIME" and "8BITMIME" not in extensions:
            return NEEDS_8BITMIME
        if self._body == "BINARYMIME" and not {"BINARYMIME", "CHUNKING"} <= extensions.keys():
            return NEEDS_BINARYMIME
        limit = size_limit(extensions)
        if limit and self._size is not None and self._size > limit:
            return TOO_LARGE.saying(f"The server takes messages of up to {limit} octets")
        return None

    def choose_form(self, extensions: Extensions, *, chunking: bool) -> None:
        """Decide between BDAT and DATA; a message that is here as a whole is checked for DATA.

        Raises:
            ValueError: It cannot go by DATA; nothing has been sent.
        """
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
        return line

    def rcpt_commands(self) -> list[bytes]:
        """Give the RCPT commands."""
        return [b"RCPT TO:<%b>" % path for path in self._paths]

    def take_slice(self, octets: int) -> tuple[bytes, bool]:
        """Take the next octets of a message that is here as a whole; tell whether they end it."""
        data = self.data or b""
        start = self._offset
        self._offset = end = start + octets
        return data[start:end], end >= len(data)

    # What became of it

    @property
    def has_recipients(self) -> bool:
        """Whether the server takes the message for anybody, as far as it has said."""
        if self.mail_reply is not None and not self.mail_reply.is_positive:
            return False
        return any(reply.is_positive for reply in self.rcpt_replies)

    def outcome(self, reply: Reply, command: str | None, *, is_sent: bool = False) -> Outcome:
        """Tell what became of it.

        Args:
            reply: What goes for everybody who was not refused before.
            command: What it answers; `None` where it is our own.
            is_sent: The server has the whole message, and did not answer.
        """
        # LMTP answers for each recipient (RFC 2033 §4.2): a list of replies will come here.
        if self.mail_reply is not None and not self.mail_reply.is_positive:
            reply, command = self.mail_reply, "MAIL"
        elif self.refusal is not None:
            reply, command = self.refusal
        recipients = [RecipientOutcome(address, reply, command) for address in self._addresses]
        for number, rcpt_reply in enumerate(self.rcpt_replies):
            if command != "MAIL" and not rcpt_reply.is_positive:
                recipients[number] = RecipientOutcome(self._addresses[number], rcpt_reply, "RCPT")
        is_in_doubt = is_sent and self.refusal is None and self.has_recipients
        return Outcome(tuple(recipients), is_in_doubt)


def _path(address: str | Path) -> bytes:
    """Check an address, and give what goes between the brackets.

    The same grammar as on the server's side: no control character gets through it.
    """
    try:
        octets = address.octets if isinstance(address, Path) else address.encode()
        path, end = parse_path(b"<%b>" % octets)
    except UnicodeEncodeError:
        raise AddressError(f"{address!r}: Not valid UTF-8") from None
    except AddressError as error:
        raise AddressError(f"{address!r}: {error}") from None
    if end != len(octets) + 2:
        raise AddressError(f"{address!r}: Not an address")
    return path.octets


def size_limit(extensions: Extensions) -> int | None:
    """Read the largest message that the server takes (RFC 1870 §3); `None` is no limit known."""
    for limit in extensions.get("SIZE", ())[:1]:
        if limit.isascii() and limit.isdigit() and len(limit) <= MAX_SIZE_DIGITS:
            return int(limit) or None
    return None


class DataWriter:
    """Puts a message for DATA, part by part: stuffs dots, adds the end (RFC 5321 §4.5.2).

    Args:
        is_checked: The message has passed `check` as a whole.
    """

    __slots__ = ("_newlines", "_tail", "octets")

    def __init__(self, *, is_checked: bool = False) -> None:
        self.octets = 0
        """How much of the message was written."""
        self._newlines = None if is_checked else NewlineCheck()
        self._tail = b"\r\n"  # the CRLF of the DATA line counts as the one before the first dot

    def check(self, part: bytes, *, is_last: bool) -> None:
        """Look for what DATA cannot carry.

        Raises:
            ValueError: There is a bare CR or LF. The next relay may take it for the end of a line,
                and so this message for two (RFC 5321 §2.3.8).
        """
        if self._newlines is not None and not self._newlines.accepts(part, final=is_last):
            raise ValueError(
                "the message has a CR or LF that is not part of a CRLF, which DATA cannot carry:"
                " end each line in CRLF, or send it as BINARYMIME to a server that offers CHUNKING"
            )

    def write(self, part: bytes, *, is_last: bool) -> bytes:
        """Give the octets that go out for this part.

        Raises:
            ValueError: See `check`.
        """
        self.check(part, is_last=is_last)
        self.octets += len(part)
        joined = self._tail + part
        stuffed = joined.replace(b"\r\n.", b"\r\n..")[len(self._tail) :]
        self._tail = joined[-2:]
        if not is_last:
            return stuffed
        return stuffed + (b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n")
