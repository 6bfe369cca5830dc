"""What a user gives, as a message and an envelope."""

from __future__ import annotations

import email.policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest

from pillarbox.cli.errors import Failure
from pillarbox.cli.letter import SUBJECT, Letter, read_letter


def letter(
    octets: bytes,
    *,
    mail_from: str | None = "ann@example.org",
    rcpt_tos: tuple[str, ...] = ("bob@example.org",),
    is_binary: bool = False,
) -> Letter:
    return read_letter(octets, mail_from=mail_from, rcpt_tos=rcpt_tos, is_binary=is_binary)


def parsed(made: Letter) -> EmailMessage:
    return email.message_from_bytes(made.compose(), policy=email.policy.SMTPUTF8)


# Mail or text


@pytest.mark.parametrize(
    "octets",
    [
        b"Subject: hi\r\n\r\ntext\r\n",
        b"Subject: hi\r\n",
        b"Subject: hi",
        b"subject : hi\r\n\r\n",
        b"X-Test: 1\r\n\r\n",
        b"Content-Type: text/plain\r\n\r\ntext",
        b"Received: from a\r\n\tby b;\r\n today\r\nTo: c@d\r\n\r\n\r\nFrom me\r\n",
        b"Odd: 1\r\nDate: today\r\n\r\n",
    ],
)
def test_mail_is_sent_as_it_stands(octets: bytes) -> None:
    assert letter(octets).compose() == octets


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Hello Bob\r\n",
        b"Bob:\r\n\r\nhow are you?\r\n",
        b"Note: buy milk\r\n",
        b"http://example.org/\r\n",
        b"\r\nSubject: hi\r\n",
        b"Subject: hi\r\nthere\r\n\r\n",
        b" Subject: hi\r\n\r\n",
        b"Subject hi\r\n\r\n",
        b": hi\r\n\r\n",
    ],
)
def test_text_gets_a_header(text: bytes) -> None:
    made = letter(text)
    message = parsed(made)
    assert message["From"] == "ann@example.org"
    assert message["To"] == "bob@example.org"
    assert message["Subject"] == SUBJECT
    assert parsedate_to_datetime(message["Date"]).tzinfo is not None
    assert message["Message-ID"].endswith("@example.org>")
    assert message["MIME-Version"] is None
    assert made.compose().endswith(b"\r\n\r\n" + text)


def test_each_text_is_a_message_of_its_own() -> None:
    made = letter(b"Hello")
    assert parsed(made)["Message-ID"] != parsed(made)["Message-ID"]
    assert made.compose().endswith(b"\r\n\r\nHello\r\n")


@pytest.mark.parametrize(
    ("text", "charset"), [("Grüße".encode(), "utf-8"), (b"Gr\xfc\xdfe", "unknown-8bit")]
)
def test_text_beyond_ascii(text: bytes, charset: str) -> None:
    made = letter(text)
    message = parsed(made)
    assert message["Content-Type"] == f'text/plain; charset="{charset}"'
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert made.compose().endswith(text + b"\r\n")
    assert not made.smtputf8


def test_many_recipients_stand_on_lines_of_their_own() -> None:
    recipients = tuple(f"bob{number}@example.org" for number in range(100))
    made = letter(b"Hello", rcpt_tos=recipients)
    assert parsed(made)["To"] == ", ".join(recipients)
    assert max(map(len, made.compose().split(b"\r\n"))) < 80


# Ends of lines


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"])
def test_lines_end_in_crlf(newline: bytes) -> None:
    octets = newline.join([b"Subject: hi", b"", b"a", b"", b"b", b""])
    assert letter(octets).compose() == b"Subject: hi\r\n\r\na\r\n\r\nb\r\n"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_binary_is_left_alone(newline: bytes) -> None:
    octets = newline.join([b"From: ann@x", b"To: a@x,", b" b@x", b"", b"\x00\r\n\xff\r"])
    made = letter(octets, mail_from=None, rcpt_tos=(), is_binary=True)
    assert made.compose() == octets
    assert (made.mail_from, made.rcpt_tos) == ("ann@x", ("a@x", "b@x"))


def test_binary_text() -> None:
    made = letter(b"a\nb", is_binary=True)
    assert parsed(made)["Content-Transfer-Encoding"] == "binary"
    assert made.compose().endswith(b"\r\n\r\na\nb")


# The envelope


@pytest.mark.parametrize(
    ("header", "mail_from", "rcpt_tos"),
    [
        ("From: ann@x\nTo: bob@x", "ann@x", ("bob@x",)),
        ('From: "A, n" <ann@x>\nTo: Bob <bob@x>, ben@x', "ann@x", ("bob@x", "ben@x")),
        ("FROM: ann@x\nto: bob@x\nCc: ben@x\nTo: bea@x", "ann@x", ("bob@x", "ben@x", "bea@x")),
        ("From: ann@x, amy@x\nSender: sue@x\nTo: bob@x", "sue@x", ("bob@x",)),
        ("From: ann@x\nTo: Us:bob@x,\n\tben@x;\nCc: Them:;", "ann@x", ("bob@x", "ben@x")),
        ("From: ann@x\nTo: bob@x\nCc: bob@x", "ann@x", ("bob@x",)),
        ("From: é@x\nTo: bob@x", "é@x", ("bob@x",)),
    ],
)
def test_envelope_from_the_header(header: str, mail_from: str, rcpt_tos: tuple[str, ...]) -> None:
    made = letter(f"{header}\n\ntext\n".encode(), mail_from=None, rcpt_tos=())
    assert (made.mail_from, made.rcpt_tos) == (mail_from, rcpt_tos)


def test_options_beat_the_header() -> None:
    made = letter(b"From: eve@x\nTo: eva@x\nBcc: evi@x\n\n")
    assert (made.mail_from, made.rcpt_tos) == ("ann@example.org", ("bob@example.org",))
    assert b"Bcc: evi@x\r\n" in made.compose()  # who says where it goes says what it is


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_bcc_gets_the_message_and_is_not_seen_in_it(newline: str) -> None:
    octets = newline.join(
        ["From: ann@x", "bcc: bob@x,", " ben@x", "BCC : bea@x", "To: bo@x", "", "Bcc: text"]
    )
    made = letter(octets.encode(), mail_from=None, rcpt_tos=(), is_binary=newline == "\n")
    assert made.rcpt_tos == ("bob@x", "ben@x", "bea@x", "bo@x")
    expected = newline.join(["From: ann@x", "To: bo@x", "", "Bcc: text"])
    assert made.compose() == expected.encode()


@pytest.mark.parametrize("mail_from", ["", "<>"])
def test_null_sender(mail_from: str) -> None:
    made = letter(b"Hello", mail_from=mail_from)
    assert made.mail_from == ""
    assert parsed(made)["Message-ID"].endswith("@localhost>")


def test_brackets_are_no_part_of_an_address() -> None:
    made = letter(b"Hello", mail_from="<ann@x>", rcpt_tos=("<bob@x>", "bob@x"))
    assert (made.mail_from, made.rcpt_tos) == ("ann@x", ("bob@x",))


@pytest.mark.parametrize(
    ("octets", "smtputf8"),
    [
        ("Subject: Grüße\n\n".encode(), True),
        (b"Subject: hi\n\nGr\xc3\xbc\xc3\x9fe\n", False),
        (b"Subject: Gr\xfc\xdfe\n\n", False),
    ],
)
def test_header_beyond_ascii(octets: bytes, *, smtputf8: bool) -> None:
    assert letter(octets).smtputf8 is smtputf8


def test_address_beyond_ascii() -> None:
    made = letter(b"Hello", mail_from="ä@x")
    assert made.smtputf8
    assert parsed(made)["Message-ID"].endswith("@localhost>")


@pytest.mark.parametrize(
    ("octets", "mail_from", "rcpt_tos", "error"),
    [
        (b"Hello", None, ("bob@x",), "there is no sender; give one by --from"),
        (b"Hello", "ann@x", (), "there is no recipient; give one by --to"),
        (b"To: bob@x\n\n", None, (), "there is no sender"),
        (b"From: ann@x\nTo: nobody:;\n\n", None, (), "there is no recipient"),
        (b"Hello", "ann", ("bob@x",), "--from 'ann' is no address"),
        (b"Hello", "ann@x", ("b b@x",), "--to 'b b@x' is no address"),
        (b"Hello", "ann@x\r\nBcc: eve@x", ("bob@x",), "is no address"),
        (b"Hello", "ann@x> SIZE=1", ("bob@x",), "is no address"),
        (b"Hello", "ann@\udcff", ("bob@x",), "is no address"),
        (b"Hello", "ann@x", ("",), "--to is empty"),
        (b"Hello", "ann@x", ("<>",), "--to is empty"),
        (b"From: ann\nTo: bob@x\n\n", None, (), "--from 'ann' is no address"),
    ],
)
def test_nobody(
    octets: bytes, mail_from: str | None, rcpt_tos: tuple[str, ...], error: str
) -> None:
    with pytest.raises(Failure) as caught:
        letter(octets, mail_from=mail_from, rcpt_tos=rcpt_tos)
    assert error in caught.value.message
