"""Notifications: what a sender is told of the fate of a message (RFC 3461, RFC 3464, RFC 6533).

`Reporter.write()` is told what became of recipients, and makes one message for all that failed,
one for all that take long and so on, as far as their senders want to hear of it.
It is put into the spool together with the outcome: neither is there without the other.

A notification has the null sender, and of one with the null sender there is none (RFC 5321 §6.1).
What became of a recipient is a value of notice.py; the words for people stand in words.py.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from pillarbox.log import visible
from pillarbox.protocol.dsn import Notify, Return
from pillarbox.relay.notice import Action, Report
from pillarbox.relay.route import NoRoute
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient
from pillarbox.relay.words import letter, shown, status, subject

__all__ = ["MAX_ORIGINAL_OCTETS", "Original", "Reporter", "is_wanted"]

log = logging.getLogger("pillarbox")

# A message of this size comes back whole where nobody said RET, of the other where RET=FULL did.
WHOLE_OCTETS = 65_536
MAX_ORIGINAL_OCTETS = 1_048_576
FIVE_DAYS = 432_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The message that is reported on.

    Attributes:
        octets: All of it, or as much of its beginning as was read: `MAX_ORIGINAL_OCTETS` will do.
        size: How many octets it has in all.
    """

    octets: bytes
    size: int

    @property
    def header(self) -> bytes:
        """Its header, without the blank line; as much as can be told in a notification."""
        if self.octets.startswith(b"\r\n"):
            return b""
        end = self.octets.find(b"\r\n\r\n", 0, WHOLE_OCTETS)
        if end < 0:
            end = self.octets.rfind(b"\r\n", 0, WHOLE_OCTETS)
        return self.octets[: end + 2] if end > 0 else b""


def is_wanted(message: NewMessage, report: Report) -> bool:
    """Tell whether the sender is to hear of this (RFC 3461 §4.1, §5.2)."""
    if not message.mail_from:
        return False
    notify = report.recipient.dsn.notify
    if notify is None:
        return report.action in (Action.FAILED, Action.DELAYED)
    return _OCCASION[report.action] in notify


_OCCASION = {
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
    Action.DELIVERED: Notify.SUCCESS,
    Action.RELAYED: Notify.SUCCESS,
}


class Reporter:
    """Makes notifications; the `Notices` of a relay.

    Args:
        hostname: Who reports.
        destination: Gives the destination of an address, as `Route` does.
        lifetime_seconds: How long a notification is tried.
        now: Tells the time in seconds since 1970.
        token: Gives a word that was never given before.
    """

    def __init__(
        self,
        hostname: str,
        destination: Callable[[str], str],
        *,
        lifetime_seconds: float = FIVE_DAYS,
        now: Callable[[], float] = time.time,
        token: Callable[[], str] = lambda: os.urandom(12).hex(),
    ) -> None:
        self._hostname = hostname
        self._destination = destination
        self._lifetime_seconds = lifetime_seconds
        self._now = now
        self._token = token

    async def write(
        self,
        lease: Lease,
        reports: Sequence[Report],
        /,
        *,
        octets: Callable[[], AsyncIterator[bytes]],
    ) -> tuple[tuple[NewMessage, bytes], ...]:
        """Make what is to be put into the spool; nothing where the sender wants to hear nothing.

        Args:
            lease: The message.
            reports: What became of its recipients.
            octets: Gives the message, of which no more is read than is told of.
        """
        if not any(is_wanted(lease.message, report) for report in reports):
            return ()
        read = bytearray(lease.octets or b"")
        if lease.octets is None:
            most = min(lease.size, MAX_ORIGINAL_OCTETS)
            async for part in octets():
                read += part
                if len(read) >= most:
                    break
        original = Original(octets=bytes(read), size=lease.size)
        try:
            return self.reports(lease.message, reports, original)
        except NoRoute as error:
            log.warning(
                "%s: its sender %s cannot be told: %s",
                lease.id,
                visible(lease.message.mail_from),
                error,
            )
            return ()

    def reports(
        self, message: NewMessage, reports: Sequence[Report], original: Original
    ) -> tuple[tuple[NewMessage, bytes], ...]:
        """Make the same of a message that is read already."""
        wanted = [report for report in reports if is_wanted(message, report)]
        found = [[report for report in wanted if report.action is action] for action in Action]
        return tuple(self._report(message, some, original) for some in found if some)

    def _report(
        self, message: NewMessage, reports: Sequence[Report], original: Original
    ) -> tuple[NewMessage, bytes]:
        now = self._now()
        has_utf8 = message.is_smtputf8 or not all(map(_is_ascii, reports))
        is_whole = _comes_back_whole(message, reports, original)
        returned = original.octets if is_whole else original.header
        token = self._token()
        text = letter(reports, hostname=self._hostname, is_whole=is_whole, created=message.created)
        parts = (
            ("text/plain; charset=utf-8", text.replace("\n", "\r\n").encode()),
            (_STATUS_TYPE[has_utf8], self._status(message, reports, has_utf8=has_utf8).encode()),
            (_ORIGINAL_TYPE[is_whole, has_utf8], returned),
        )
        header = {
            "From": f"Mail delivery <MAILER-DAEMON@{self._hostname}>",
            "To": f"<{message.mail_from}>",
            "Subject": subject(reports),
            "Date": _date(now),
            "Message-ID": f"<{token}@{self._hostname}>",
            # RFC 3834 §5.2: whoever answers mail by a program is not to answer this.
            "Auto-Submitted": "auto-replied",
            "MIME-Version": "1.0",
            "Content-Type": "multipart/report; report-type=delivery-status;"
            f'\r\n\tboundary="{token}"',
        }
        octets = _multipart(header, parts, token)
        return self._envelope(message, is_ascii=octets.isascii(), now=now), octets

    def _envelope(self, message: NewMessage, *, is_ascii: bool, now: float) -> NewMessage:
        sender = message.mail_from
        return NewMessage(
            mail_from="",
            recipients=(NewRecipient(address=sender, destination=self._destination(sender)),),
            created=now,
            expires=now + self._lifetime_seconds,
            # RFC 6533 §5: by its own addresses, whatever the parts in it have.
            is_smtputf8=not sender.isascii(),
            body_type="7BIT" if is_ascii else "8BITMIME",
            requires_tls=message.requires_tls,
            origin=f"notification by {self._hostname}",
        )

    def _status(self, message: NewMessage, reports: Sequence[Report], *, has_utf8: bool) -> str:
        """Write the part for programs (RFC 3464 §2)."""
        blocks = [
            {
                "Original-Envelope-Id": message.dsn.envid,
                "Reporting-MTA": f"dns; {self._hostname}",
                "Arrival-Date": _date(message.created),
            },
            *(_recipient(report, has_utf8=has_utf8) for report in reports),
        ]
        return "\r\n".join(
            "".join(f"{name}: {value}\r\n" for name, value in block.items() if value)
            for block in blocks
        )


def _recipient(report: Report, *, has_utf8: bool) -> dict[str, str | None]:
    dsn, address = report.recipient.dsn, report.recipient.address
    gives_up = report.gives_up
    said = shown(report.reply, is_utf8=has_utf8)
    return {
        "Original-Recipient": f"{dsn.orcpt_type}; {dsn.orcpt}" if dsn.orcpt else None,
        "Final-Recipient": f"{'rfc822' if address.isascii() else 'utf-8'}; {address}",
        "Action": report.action.value,
        "Status": status(report.reply),
        "Remote-MTA": f"dns; {report.remote}" if report.remote else None,
        "Diagnostic-Code": f"{'smtp' if report.remote else 'x-pillarbox'}; {said}",
        "Last-Attempt-Date": _date(report.tried),
        "Will-Retry-Until": None if gives_up is None else _date(gives_up),
    }


_STATUS_TYPE = {False: "message/delivery-status", True: "message/global-delivery-status"}
_ORIGINAL_TYPE = {
    (True, False): "message/rfc822",
    (False, False): "text/rfc822-headers",
    (True, True): "message/global",
    (False, True): "message/global-headers",
}


def _comes_back_whole(message: NewMessage, reports: Sequence[Report], original: Original) -> bool:
    """Decide by RET, which is about failures alone (RFC 3461 §4.3), and by what can be sent."""
    if any(report.action is not Action.FAILED for report in reports):
        return False
    if message.dsn.ret is Return.HDRS or message.body_type == "BINARYMIME":
        return False
    most = MAX_ORIGINAL_OCTETS if message.dsn.ret is Return.FULL else WHOLE_OCTETS
    return original.size <= most and len(original.octets) == original.size


def _is_ascii(report: Report) -> bool:
    return report.recipient.address.isascii() and (report.recipient.dsn.orcpt or "").isascii()


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC))


def _multipart(header: dict[str, str], parts: Sequence[tuple[str, bytes]], boundary: str) -> bytes:
    lines = [f"{name}: {value}\r\n".encode() for name, value in header.items()]
    for kind, octets in parts:
        encoding = "" if octets.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
        lines.append(f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n{encoding}\r\n".encode())
        lines.append(octets)
    lines.append(f"\r\n--{boundary}--\r\n".encode())
    return b"".join(lines)
