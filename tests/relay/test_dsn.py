"""Notifications: read by Python's email, and by the rules of RFC 3461."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest

from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.event import NO_RCPT_DSN
from pillarbox.protocol.reply import Reply
from pillarbox.relay.dsn import MAX_ORIGINAL_OCTETS, WHOLE_OCTETS, Original, Reporter, is_wanted
from pillarbox.relay.notice import Action, Report
from pillarbox.relay.route import NoRoute
from pillarbox.relay.spool import Lease, LeasedRecipient, NewMessage, NewRecipient
from pillarbox.relay.words import advice

UNKNOWN = Reply(550, "5.1.1", "No such mailbox")
LATER = Reply(451, "4.3.0", "Try again later")
TAKEN = Reply(250, "2.0.0", "Taken")
OCTETS = b"Subject: Lunch\r\nMessage-ID: <1@example.org>\r\n\r\nAt noon?\r\n"

MESSAGE = NewMessage(
    mail_from="ann@example.org",
    recipients=(NewRecipient(address="ben@example.net", destination="next"),),
    created=1_800_000_000.0,
    expires=1_800_432_000.0,
)
FAILED = Report(
    recipient=LeasedRecipient(
        number=1, address="ben@example.net", attempts=1, next_attempt=1_800_000_300.0
    ),
    action=Action.FAILED,
    reply=UNKNOWN,
    remote="mx.example.net",
    tried=1_800_000_060.0,
)


def about(
    address: str = "ben@example.net",
    *,
    action: Action = Action.FAILED,
    reply: Reply = UNKNOWN,
    dsn: RcptDsn = NO_RCPT_DSN,
) -> Report:
    recipient = dataclasses.replace(FAILED.recipient, address=address, dsn=dsn)
    return dataclasses.replace(FAILED, recipient=recipient, action=action, reply=reply)


def reporter() -> Reporter:
    return Reporter(
        "relay.example",
        lambda address: f"to {address}",
        now=lambda: 1_800_000_100.0,
        token=lambda: "token",
    )


def original(octets: bytes = OCTETS) -> Original:
    return Original(octets=octets, size=len(octets))


def report(
    *reports: Report, message: NewMessage = MESSAGE, octets: bytes = OCTETS
) -> tuple[NewMessage, EmailMessage]:
    """Make the one report that there is; give its envelope, and it as Python reads it."""
    [(notice, made)] = reporter().reports(message, reports, original(octets))
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))
    assert b"\n" not in made.replace(b"\r\n", b"")
    parsed = message_from_bytes(made, policy=policy.default)
    for part in parsed.walk():
        assert part.defects == []
    return notice, parsed


def parts(report: EmailMessage) -> list[EmailMessage]:
    return cast("list[EmailMessage]", report.get_payload())


def blocks(report: EmailMessage) -> list[EmailMessage]:
    """Give what is said for programs: of the message, then of each recipient."""
    return cast("list[EmailMessage]", parts(report)[1].get_payload())


def text(report: EmailMessage) -> str:
    return str(parts(report)[0].get_content())


# Who hears.


def test_the_envelope_of_a_notification() -> None:
    notice, _ = report(FAILED)
    assert notice == NewMessage(
        mail_from="",
        recipients=(NewRecipient(address="ann@example.org", destination="to ann@example.org"),),
        created=1_800_000_100.0,
        expires=1_800_432_100.0,
        origin="notification by relay.example",
    )


SUCCESS, FAILURE, DELAY = Notify.SUCCESS, Notify.FAILURE, Notify.DELAY


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (None, {Action.FAILED, Action.DELAYED}),
        (Notify.NEVER, set()),
        (SUCCESS, {Action.DELIVERED, Action.RELAYED}),
        (FAILURE, {Action.FAILED}),
        (DELAY, {Action.DELAYED}),
        (SUCCESS | FAILURE | DELAY, set(Action)),
    ],
)
def test_who_wants_to_hear(notify: Notify | None, wanted: set[Action]) -> None:
    for action in Action:
        one = about(action=action, dsn=RcptDsn(notify=notify))
        assert is_wanted(MESSAGE, one) is (action in wanted)
        assert bool(reporter().reports(MESSAGE, [one], original())) is (action in wanted)


@pytest.mark.parametrize("action", Action)
def test_nobody_is_told_of_a_notification(action: Action) -> None:
    message = dataclasses.replace(MESSAGE, mail_from="")
    one = about(action=action, dsn=RcptDsn(notify=SUCCESS | FAILURE | DELAY))
    assert not is_wanted(message, one)
    assert reporter().reports(message, [one], original()) == ()


# What it looks like.


def test_a_failure() -> None:
    notice, made = report(FAILED)
    assert made["From"] == "Mail delivery <MAILER-DAEMON@relay.example>"
    assert made["To"] == "ann@example.org"
    assert made["Subject"] == "Not delivered: your message to ben@example.net"
    assert made["Auto-Submitted"] == "auto-replied"
    assert made["Date"] == "Fri, 15 Jan 2027 08:01:40 +0000"
    assert made["Message-ID"] == "<token@relay.example>"
    assert made.get_content_type() == "multipart/report"
    assert made["Content-Type"].params["report-type"] == "delivery-status"
    assert [part.get_content_type() for part in parts(made)] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    about_message, about_ben = blocks(made)
    assert dict(about_message) == {
        "Reporting-MTA": "dns; relay.example",
        "Arrival-Date": "Fri, 15 Jan 2027 08:00:00 +0000",
    }
    assert dict(about_ben) == {
        "Final-Recipient": "rfc822; ben@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such mailbox",
        "Last-Attempt-Date": "Fri, 15 Jan 2027 08:01:00 +0000",
    }
    assert text(made).splitlines() == [
        "Your message could not be delivered to whom is named below, and is not tried",
        "any more. What you can do stands with each name:",
        "",
        "  <ben@example.net>",
        "    What to do: nobody is known there by this address: look for a typing error, and send"
        " it again.",
        "    mx.example.net said: 550 5.1.1 No such mailbox",
        "",
        "Your message is attached.",
        "It came to this server, relay.example, at 2027-01-15 08:00 UTC.",
    ]
    [returned] = parts(parts(made)[2])
    assert returned.as_bytes(policy=policy.SMTP) == OCTETS
    assert notice.body_type == "7BIT"


def test_one_onenames_all() -> None:
    names = [f"{name}@example.net" for name in ("ben", "cleo", "dan")]
    _, made = report(*(about(name) for name in names))
    assert made["Subject"] == "Not delivered: your message to 3 recipients"
    assert [block["Final-Recipient"] for block in blocks(made)[1:]] == [
        f"rfc822; {name}" for name in names
    ]
    assert all(name in text(made) for name in names)


def test_one_onefor_each_kind() -> None:
    dsn = RcptDsn(notify=SUCCESS | FAILURE | DELAY)
    reports = [about(f"{action.value}@example.net", action=action, dsn=dsn) for action in Action]
    made = reporter().reports(MESSAGE, reports, original())
    assert len(made) == 4
    addresses = [one.recipient.address for one in reports]
    for (_, octets), address in zip(made, addresses, strict=True):
        assert [other for other in addresses if other.encode() in octets] == [address]


def test_a_delay() -> None:
    _, made = report(
        dataclasses.replace(
            about(action=Action.DELAYED, reply=LATER), remote="", gives_up=1_800_432_000.0
        )
    )
    assert made["Subject"] == "Delayed: your message to ben@example.net"
    about_ben = blocks(made)[1]
    assert about_ben["Action"] == "delayed"
    assert about_ben["Status"] == "4.3.0"
    assert about_ben["Diagnostic-Code"] == "x-pillarbox; 451 4.3.0 Try again later"
    assert about_ben["Will-Retry-Until"] == "Wed, 20 Jan 2027 08:00:00 +0000"
    assert "Remote-MTA" not in about_ben
    assert text(made).startswith("You need not do anything: ")
    assert "It will be tried until 2027-01-20 08:00 UTC." in text(made)
    assert "What to do" not in text(made)
    # RET is about failures alone (RFC 3461 §4.3).
    assert parts(made)[2].get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.RELAYED])
def test_a_success(action: Action) -> None:
    one = about(action=action, reply=TAKEN, dsn=RcptDsn(notify=Notify.SUCCESS))
    message = dataclasses.replace(MESSAGE, dsn=MailDsn(ret=Return.FULL))
    _, made = report(one, message=message)
    assert blocks(made)[1]["Action"] == action.value
    assert blocks(made)[1]["Status"] == "2.0.0"
    assert text(made).startswith("You need not do anything: ")
    assert parts(made)[2].get_content_type() == "text/rfc822-headers"


def test_what_the_sender_called_things() -> None:
    message = dataclasses.replace(MESSAGE, dsn=MailDsn(envid="QQ+314159"))
    dsn = RcptDsn(orcpt_type="rfc822", orcpt="Ben+lunch@Example.net")
    _, made = report(about(dsn=dsn), message=message)
    assert blocks(made)[0]["Original-Envelope-Id"] == "QQ+314159"
    assert blocks(made)[1]["Original-Recipient"] == "rfc822; Ben+lunch@Example.net"


def test_a_reply_without_an_enhanced_code() -> None:
    _, made = report(about(reply=Reply(554, None, "No")))
    assert blocks(made)[1]["Status"] == "5.0.0"
    assert blocks(made)[1]["Diagnostic-Code"] == "smtp; 554 No"


def test_a_reply_without_end() -> None:
    reply = Reply(550, "5.7.1", "\n".join(["No, " * 40, "never"] * 100))
    _, made = report(about(reply=reply))
    said = blocks(made)[1]["Diagnostic-Code"]
    assert said.startswith("smtp; 550 5.7.1 No, No, ")
    assert said.endswith(" ...")
    assert len(said) < 950


def test_a_reply_that_would_add_a_field() -> None:
    reply = Reply(550, "5.1.1", "No\nAction: delivered\n\nX")
    _, made = report(about(reply=reply))
    assert len(blocks(made)) == 2
    assert blocks(made)[1].get_all("Action") == ["failed"]


# What comes back of the message.


def returned(message: NewMessage, octets: bytes, *, size: int | None = None) -> str:
    given = Original(octets=octets, size=len(octets) if size is None else size)
    [(_, made)] = reporter().reports(message, [FAILED], given)
    parsed = message_from_bytes(made, policy=policy.default)
    return parts(parsed)[2].get_content_type()


def of_size(size: int) -> bytes:
    return (b"Subject: x\r\n\r\n" + b"x" * 76 + b"\r\n").ljust(size, b"\n")


@pytest.mark.parametrize(
    ("ret", "size", "kind"),
    [
        (None, WHOLE_OCTETS, "message/rfc822"),
        (None, WHOLE_OCTETS + 1, "text/rfc822-headers"),
        (Return.HDRS, 100, "text/rfc822-headers"),
        (Return.FULL, MAX_ORIGINAL_OCTETS, "message/rfc822"),
        (Return.FULL, MAX_ORIGINAL_OCTETS + 1, "text/rfc822-headers"),
    ],
)
def test_how_much_comes_back(ret: Return | None, size: int, kind: str) -> None:
    message = dataclasses.replace(MESSAGE, dsn=MailDsn(ret=ret))
    assert returned(message, of_size(size)) == kind


def test_what_was_not_read_does_not_come_back() -> None:
    assert returned(MESSAGE, OCTETS[:-1], size=len(OCTETS)) == "text/rfc822-headers"


def test_binary_mail_does_not_come_back() -> None:
    message = dataclasses.replace(MESSAGE, body_type="BINARYMIME")
    assert returned(message, OCTETS) == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (OCTETS, b"Subject: Lunch\r\nMessage-ID: <1@example.org>\r\n"),
        (b"Subject: Lunch\r\n", b"Subject: Lunch\r\n"),
        (b"\r\nno header\r\n", b""),
        (b"", b""),
        (b"A: " + b"x" * WHOLE_OCTETS + b"\r\n\r\n", b""),
        (b"A: b\r\nC: " + b"x" * WHOLE_OCTETS + b"\r\n\r\n", b"A: b\r\n"),
    ],
)
def test_the_header(octets: bytes, header: bytes) -> None:
    assert Original(octets=octets, size=len(octets)).header == header


# Beyond ASCII.


def test_octets_beyond_ascii_come_back() -> None:
    octets = "Subject: x\r\n\r\nZwölf Uhr?\r\n".encode()
    notice, made = report(FAILED, octets=octets)
    assert notice.body_type == "8BITMIME"
    assert not notice.is_smtputf8
    assert parts(made)[2]["Content-Transfer-Encoding"] == "8bit"
    assert octets in made.as_bytes(policy=policy.SMTP)


def test_a_reply_beyond_ascii() -> None:
    notice, made = report(about(reply=Reply(550, "5.1.1", "Unbekannt: ö")))
    assert blocks(made)[1]["Diagnostic-Code"] == r"smtp; 550 5.1.1 Unbekannt: \xf6"
    assert "Unbekannt: ö" in text(made)
    assert notice.body_type == "8BITMIME"


def test_an_internationalized_message() -> None:
    message = dataclasses.replace(MESSAGE, mail_from="änne@example.org", is_smtputf8=True)
    dsn = RcptDsn(orcpt_type="utf-8", orcpt="bénoît@example.net")
    one = about("bénoît@example.net", dsn=dsn)
    [(notice, made)] = reporter().reports(message, [one], original())
    assert notice.is_smtputf8
    assert notice.body_type == "8BITMIME"
    assert notice.recipients[0].address == "änne@example.org"
    assert b"Content-Type: message/global-delivery-status\r\n" in made
    assert b"Content-Type: message/global\r\n" in made
    assert "Final-Recipient: utf-8; bénoît@example.net\r\n".encode() in made
    assert "Original-Recipient: utf-8; bénoît@example.net\r\n".encode() in made
    assert "To: <änne@example.org>\r\n".encode() in made
    parsed = message_from_bytes(made, policy=policy.SMTPUTF8)
    assert parsed["Subject"] == "Not delivered: your message"
    assert "<bénoît@example.net>" in text(parsed)


def test_an_internationalized_recipient_of_a_sender_in_ascii() -> None:
    message = dataclasses.replace(MESSAGE, is_smtputf8=True, dsn=MailDsn(ret=Return.HDRS))
    one = about("bénoît@example.net")
    [(notice, made)] = reporter().reports(message, [one], original())
    # RFC 6533 §5: the report itself has no header that takes SMTPUTF8 to carry.
    assert not notice.is_smtputf8
    assert made.partition(b"\r\n\r\n")[0].isascii()
    assert b"Content-Type: message/global-headers\r\n" in made


def test_tls_stays_required() -> None:
    notice, _ = report(FAILED, message=dataclasses.replace(MESSAGE, requires_tls=True))
    assert notice.requires_tls


def test_every_token_is_another_one() -> None:
    made = [
        Reporter("relay.example", str).reports(MESSAGE, [FAILED], original())[0][1]
        for _ in range(2)
    ]
    found = {message_from_bytes(octets)["Message-ID"] for octets in made}
    assert len(found) == 2


# Of a message in the spool.


def leased(octets: bytes | None, *, size: int, message: NewMessage = MESSAGE) -> Lease:
    return Lease(
        token="x",
        id="1",
        destination="next",
        recipients=(FAILED.recipient,),
        expires=1_800_000_600.0,
        message=message,
        size=size,
        octets=octets,
    )


def write(lease: Lease, one: Report, parts: Sequence[bytes] = ()) -> tuple[list[bytes], int]:
    """Give the reports, and how many parts of the message were read for them."""
    read = 0

    async def octets() -> AsyncIterator[bytes]:
        nonlocal read
        for part in parts:
            read += 1
            yield part

    made = asyncio.run(reporter().write(lease, [one], octets=octets))
    return [octets for _, octets in made], read


def test_a_message_at_hand_is_not_read() -> None:
    [made], read = write(leased(OCTETS, size=len(OCTETS)), FAILED)
    assert OCTETS in made
    assert read == 0


def test_a_message_is_read() -> None:
    [made], read = write(leased(None, size=len(OCTETS)), FAILED, [OCTETS[:20], OCTETS[20:]])
    assert OCTETS in made
    assert read == 2


def test_no_more_is_read_than_is_told() -> None:
    parts = [OCTETS, *[b"x" * 1024] * 3000]
    [made], read = write(leased(None, size=sum(map(len, parts))), FAILED, parts)
    assert b"Subject: Lunch\r\n" in made
    assert b"At noon?" not in made
    assert read == 1025


def test_nothing_is_read_for_nobody() -> None:
    lease = leased(None, size=len(OCTETS), message=dataclasses.replace(MESSAGE, mail_from=""))
    assert write(lease, FAILED, [OCTETS]) == ([], 0)


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("it is at hand")
    yield b""


def test_a_sender_that_has_no_route(caplog: pytest.LogCaptureFixture) -> None:
    def nowhere(_address: str) -> str:
        raise NoRoute(Reply(550, "5.1.2", "No such domain"))

    made = Reporter("relay.example", nowhere).write(
        leased(OCTETS, size=len(OCTETS)), [FAILED], octets=unread
    )
    assert asyncio.run(made) == ()
    [record] = caplog.records
    assert record.getMessage() == (
        "1: its sender ann@example.org cannot be told: 550 5.1.2 No such domain"
    )


def test_what_took_too_long() -> None:
    reply = Reply(421, None, "Busy")
    [(_, made)] = reporter().reports(
        MESSAGE, [dataclasses.replace(about(reply=reply), is_expired=True)], original()
    )
    parsed = message_from_bytes(made, policy=policy.default)
    assert blocks(parsed)[1]["Status"] == "4.0.0"
    assert "could not take it for too long: try again later." in text(parsed)
    assert "mx.example.net said, the last time it was tried: 421 Busy" in text(parsed)


@pytest.mark.parametrize(
    ("enhanced", "words"),
    [
        ("5.1.1", "typing error"),
        ("5.1.10", "takes no mail"),
        ("5.2.2", "mailbox is full"),
        ("5.3.4", "too large"),
        ("5.7.26", "refuses this message"),
        ("5.5.0", "Ask the recipient if in doubt"),
    ],
)
def test_what_to_do(enhanced: str, words: str) -> None:
    assert words in advice(about(reply=Reply(550, enhanced, "No")))
