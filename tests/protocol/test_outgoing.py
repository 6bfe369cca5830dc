"""The message under way to a server: what is refused before it goes out, and how it is put."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.address import AddressError, Path
from pillarbox.protocol.client_event import RecipientOutcome
from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.protocol.event import NO_MAIL_DSN, BodyType
from pillarbox.protocol.outgoing import AnyRecipient, OutgoingMessage, Recipient
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions
from tests.fuzz.strategies import mailboxes

ALL: Extensions = {
    "SIZE": ("1000",),
    "8BITMIME": (),
    "SMTPUTF8": (),
    "CHUNKING": (),
    "BINARYMIME": (),
}
NONE: Extensions = {}
DSN: Extensions = {"DSN": ()}

OK = Reply(250, "2.0.0", "OK")
UNKNOWN = Reply(550, "5.1.1", "No such mailbox")
BUSY = Reply(451, "4.3.0", "Busy")
LOST = Reply(421, "4.4.2", "The connection was lost")


def message(
    data: bytes | None = b"text\r\n",
    *,
    mail_from: str | Path = "ann@example.org",
    rcpt_tos: Sequence[AnyRecipient] = ("bob@example.org",),
    size: int | None = None,
    body: BodyType | None = None,
    smtputf8: bool = False,
    dsn: MailDsn = NO_MAIL_DSN,
    requires_tls: bool = False,
) -> OutgoingMessage:
    return OutgoingMessage(
        mail_from,
        rcpt_tos,
        data,
        size=size,
        body=body,
        smtputf8=smtputf8,
        dsn=dsn,
        requires_tls=requires_tls,
    )


def without(*keywords: str) -> Extensions:
    return {keyword: ALL[keyword] for keyword in ALL if keyword not in keywords}


# Nothing is smuggled

BAD_ADDRESSES = [
    "ann@example.org\r\nRCPT TO:<eve@example.org>",
    "ann@example.org>\r\nDATA",
    "ann@example.org\n",
    "ann@example.org\r",
    "ann@example.org> SIZE=1",
    "ann@example.org>",
    "<ann@example.org>",
    "ann example@example.org",
    "ann@exa mple.org",
    "ann\0@example.org",
    "ann\x7f@example.org",
    "ann\x85@example.org",
    '"ann\r\n"@example.org',
    "\r\n",
    " ",
    "ann",
    "ann@",
    "@example.org",
    "ann@\ud800",
    "a" * 250 + "@example.org",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=ascii)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(AddressError) as caught:
        message(mail_from=address)
    assert repr(address) in str(caught.value)
    with pytest.raises(AddressError):
        message(rcpt_tos=["bob@example.org", address])


def test_path_made_by_hand_is_looked_at_as_well() -> None:
    with pytest.raises(AddressError, match="Not an address"):
        message(mail_from=Path(b"a@b>\r\nDATA"))
    with pytest.raises(AddressError, match="UTF-8"):
        message(rcpt_tos=[Path(b"\xff@example.org")])


@given(st.text(max_size=20) | mailboxes.map(bytes.decode))
def test_any_text_is_one_command_or_none(text: str) -> None:
    try:
        made = message(mail_from=text, rcpt_tos=[text])
    except ValueError:
        return
    lines = [made.mail_command(NONE), *made.rcpt_commands(NONE)]
    assert lines[0].startswith(b"MAIL FROM:<")
    for line in lines:
        assert b"<%b>" % text.encode() in line
        assert not set(line) & set(b"\r\n\0")


@pytest.mark.parametrize(
    "rcpt_tos", [[], "bob@example.org", "", ["bob@example.org", ""], [Path(b"")]]
)
def test_no_recipient(rcpt_tos: Sequence[str]) -> None:
    with pytest.raises(ValueError, match=r"bob@example.org|ann@example.org"):
        message(rcpt_tos=rcpt_tos)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="'8bit\\\\r\\\\n' is none of 7BIT, 8BITMIME"):
        message(body="8bit\r\n")  # type: ignore[arg-type]  # what if
    with pytest.raises(ValueError, match="size is -1"):
        message(None, size=-1)


# The MAIL command

MAIL = b"MAIL FROM:<ann@example.org>"


@pytest.mark.parametrize(
    ("made", "offered", "line"),
    [
        (message(), NONE, MAIL),
        (message(), ALL, MAIL + b" SIZE=6"),
        (message(mail_from=""), NONE, b"MAIL FROM:<>"),
        (message(mail_from=Path(b"Ann@example.org")), NONE, b"MAIL FROM:<Ann@example.org>"),
        (message(mail_from="@mx.test:ann@example.org"), NONE, MAIL),
        (message(b"\xff\r\n"), ALL, MAIL + b" SIZE=3 BODY=8BITMIME"),
        (message(body="8BITMIME"), ALL, MAIL + b" SIZE=6 BODY=8BITMIME"),
        (message(body="7BIT"), ALL, MAIL + b" SIZE=6 BODY=7BIT"),
        (message(body="7BIT"), NONE, MAIL),
        (message(b"\xff\r\n", body="7BIT"), NONE, MAIL),
        (message(body="BINARYMIME"), ALL, MAIL + b" SIZE=6 BODY=BINARYMIME"),
        (message(body="BINARYMIME"), without("8BITMIME"), MAIL + b" SIZE=6 BODY=BINARYMIME"),
        (message(smtputf8=True), ALL, MAIL + b" SIZE=6 SMTPUTF8"),
        (message(rcpt_tos=["é@x"]), ALL, MAIL + b" SIZE=6 SMTPUTF8"),
        (message(mail_from="é@x"), ALL, "MAIL FROM:<é@x> SIZE=6 SMTPUTF8".encode()),
        (message(None), ALL, MAIL + b" BODY=8BITMIME"),
        (message(None), NONE, MAIL),
        (message(None, size=7, body="7BIT"), ALL, MAIL + b" SIZE=7 BODY=7BIT"),
        (message(size=7), ALL, MAIL + b" SIZE=6"),
        (message(dsn=MailDsn(Return.HDRS, "a+b")), DSN, MAIL + b" RET=HDRS ENVID=a+2Bb"),
        (message(dsn=MailDsn(Return.FULL)), DSN, MAIL + b" RET=FULL"),
        (message(dsn=MailDsn(Return.HDRS, "a+b")), NONE, MAIL),
    ],
)
def test_mail_command(made: OutgoingMessage, offered: Extensions, line: bytes) -> None:
    assert made.refusal_by(offered) is None
    assert made.mail_command(offered) == line


def test_rcpt_commands() -> None:
    made = message(rcpt_tos=["bob@example.org", Path(b"Postmaster"), "é@x"])
    assert made.rcpt_commands(NONE) == [
        b"RCPT TO:<bob@example.org>",
        b"RCPT TO:<Postmaster>",
        "RCPT TO:<é@x>".encode(),
    ]


@pytest.mark.parametrize(
    ("dsn", "parameters"),
    [
        (RcptDsn(), b""),
        (RcptDsn(Notify.NEVER), b" NOTIFY=NEVER"),
        (RcptDsn(Notify.DELAY | Notify.SUCCESS), b" NOTIFY=SUCCESS,DELAY"),
        (RcptDsn(Notify.FAILURE), b" NOTIFY=FAILURE"),
        (RcptDsn(None, "rfc822", "b+b@x"), b" ORCPT=rfc822;b+2Bb@x"),
        (RcptDsn(orcpt="bob@x"), b" ORCPT=rfc822;bob@x"),
        (RcptDsn(None, "utf-8", "é@x"), rb" ORCPT=utf-8;\x{E9}@x"),
    ],
)
def test_recipients_with_dsn(dsn: RcptDsn, parameters: bytes) -> None:
    made = message(rcpt_tos=["ann@x", Recipient(Path(b"bob@x"), dsn)])
    assert made.rcpt_commands(DSN) == [b"RCPT TO:<ann@x>", b"RCPT TO:<bob@x>" + parameters]
    assert made.rcpt_commands(NONE) == [b"RCPT TO:<ann@x>", b"RCPT TO:<bob@x>"]


@pytest.mark.parametrize(
    "dsn",
    [
        RcptDsn(orcpt="bob\r\nDATA"),
        RcptDsn(orcpt="é@x"),
        RcptDsn(None, "rfc 822", "bob@x"),
        RcptDsn(None, "utf-8", "a\nb"),
        RcptDsn(orcpt="b" * 500),
        RcptDsn(orcpt=""),
    ],
)
def test_original_recipient_that_is_none(dsn: RcptDsn) -> None:
    with pytest.raises(ValueError, match=r"."):
        message(rcpt_tos=[Recipient("bob@x", dsn)])


@pytest.mark.parametrize("envid", ["", "a\r\nb", "é", "a" * 101, "+" * 34])
def test_envelope_id_that_is_none(envid: str) -> None:
    with pytest.raises(ValueError, match=r"xtext"):
        message(dsn=MailDsn(envid=envid))


def test_requiretls() -> None:
    made = message(requires_tls=True)
    offered = {"REQUIRETLS": ()}
    assert made.refusal_by(offered, is_tls=True) is None
    assert made.mail_command(offered) == MAIL + b" REQUIRETLS"
    for lacking, is_tls in ((NONE, True), (offered, False)):
        refusal = made.refusal_by(lacking, is_tls=is_tls)
        assert str(refusal).startswith("550 5.7.30 The message needs REQUIRETLS")


def test_so_many_recipients_of_one_message() -> None:
    made = message(rcpt_tos=["ann@x", "bob@x", "cat@x"])
    offered = {"LIMITS": ("RCPTMAX=2",)}
    made.choose_form(offered, chunking=True)
    assert made.rcpt_commands(offered) == [b"RCPT TO:<ann@x>", b"RCPT TO:<bob@x>"]
    made.rcpt_replies = [OK, OK]
    codes = [(one.reply.code, one.command) for one in made.outcome(OK, "DATA").recipients]
    assert codes == [(250, "DATA"), (250, "DATA"), (452, None)]
    made.choose_form({"LIMITS": ("RCPTMAX=3",)}, chunking=True)
    assert len(made.rcpt_commands(NONE)) == 3
    made.choose_form({"LIMITS": ("RCPTMAX=4",)}, chunking=True)
    assert len(made.rcpt_commands(NONE)) == 3


# What the server has to offer


@pytest.mark.parametrize(
    ("made", "offered", "refusal"),
    [
        (message(rcpt_tos=["é@x"]), without("SMTPUTF8"), "553 5.6.7 An address beyond ASCII needs"),
        (message(smtputf8=True), without("SMTPUTF8"), "554 5.6.9 The message needs SMTPUTF8"),
        (message(b"\xff"), without("8BITMIME"), "554 5.6.3 The message has octets beyond ASCII"),
        (message(body="8BITMIME"), NONE, "554 5.6.3 The message has octets beyond ASCII"),
        (message(body="BINARYMIME"), without("BINARYMIME"), "554 5.6.3 A binary message needs"),
        (message(body="BINARYMIME"), without("CHUNKING"), "554 5.6.3 A binary message needs"),
        (message(b"x" * 1001), ALL, "552 5.3.4 The server takes messages of up to 1000 octets"),
        (message(None, size=1001), ALL, "552 5.3.4 The server takes messages of up to 1000 octets"),
    ],
)
def test_what_the_server_lacks(made: OutgoingMessage, offered: Extensions, refusal: str) -> None:
    assert str(made.refusal_by(offered)).startswith(refusal)


def test_no_size_limit() -> None:
    assert message(b"x" * 1000).refusal_by(ALL) is None
    assert message(None).refusal_by(ALL) is None


# BDAT or DATA

BARE_NEWLINES = [b"a\nb\r\n", b"a\rb\r\n", b"a\n", b"a\r", b"\r\r\n", b"\n\r"]


def test_bdat_where_it_is_offered() -> None:
    made = message(b"a\nb")
    made.choose_form(ALL, chunking=True)
    assert made.writer is None


@pytest.mark.parametrize(("offered", "chunking"), [(NONE, True), (ALL, False), (NONE, False)])
def test_data_otherwise(offered: Extensions, *, chunking: bool) -> None:
    made = message(b".a\r\n")
    made.choose_form(offered, chunking=chunking)
    assert made.writer is not None
    assert made.writer.write(b".a\r\n", is_last=True) == b"..a\r\n.\r\n"
    for data in BARE_NEWLINES:
        with pytest.raises(ValueError, match="CR or LF that is not part of a CRLF"):
            message(data).choose_form(offered, chunking=chunking)


def test_parts_are_looked_at_as_they_come() -> None:
    made = message(None)
    made.choose_form(NONE, chunking=True)
    assert made.writer is not None
    with pytest.raises(ValueError, match="CR or LF"):
        made.writer.write(b"a\nb", is_last=True)


def test_binary_message_never_goes_by_data() -> None:
    with pytest.raises(ValueError, match="leave chunking as True"):
        message(body="BINARYMIME").choose_form(ALL, chunking=False)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 6, 7])
def test_slices(size: int) -> None:
    data = bytes(range(size))
    made = message(data)
    slices = [made.take_slice(3)]
    while not slices[-1][1]:
        slices.append(made.take_slice(3))
    assert b"".join(part for part, _ in slices) == data
    assert len(slices) == max(1, -(-size // 3))


@pytest.mark.parametrize(
    ("size", "sizes"), [(0, [0]), (2, [2]), (3, [1, 2]), (5, [3, 2]), (6, [3, 1, 2])]
)
def test_the_end_is_a_slice_of_its_own(size: int, sizes: list[int]) -> None:
    made = message(b"x" * size)
    slices = [made.take_slice(3, end_octets=2)]
    while not slices[-1][1]:
        slices.append(made.take_slice(3, end_octets=2))
    assert [len(part) for part, _ in slices] == sizes


# What became of it

TWO = ["bob@example.org", "ben@example.org"]


def outcomes(made: OutgoingMessage, reply: Reply, command: str | None) -> list[RecipientOutcome]:
    outcome = made.outcome(reply, command)
    assert [one.address for one in outcome.recipients] == TWO
    return list(outcome.recipients)


def test_nothing_was_answered() -> None:
    made = message(rcpt_tos=TWO)
    assert made.taken == 0
    assert outcomes(made, LOST, None) == [RecipientOutcome(one, LOST, None) for one in TWO]


def test_sender_refused() -> None:
    made = message(rcpt_tos=TWO)
    made.mail_reply = BUSY
    made.rcpt_replies = [UNKNOWN, OK]
    assert made.taken == 0
    assert outcomes(made, OK, "DATA") == [RecipientOutcome(one, BUSY, "MAIL") for one in TWO]


def test_recipient_refused() -> None:
    made = message(rcpt_tos=TWO)
    made.mail_reply = OK
    made.rcpt_replies = [UNKNOWN]
    assert made.taken == 0
    assert outcomes(made, LOST, None) == [
        RecipientOutcome(TWO[0], UNKNOWN, "RCPT"),
        RecipientOutcome(TWO[1], LOST, None),
    ]
    made.rcpt_replies = [OK, UNKNOWN]
    assert made.taken == 1
    assert outcomes(made, BUSY, "end of data") == [
        RecipientOutcome(TWO[0], BUSY, "end of data"),
        RecipientOutcome(TWO[1], UNKNOWN, "RCPT"),
    ]


def test_chunk_refused() -> None:
    made = message(rcpt_tos=TWO)
    made.mail_reply = OK
    made.rcpt_replies = [OK, UNKNOWN]
    made.refusal = BUSY, "BDAT"
    assert outcomes(made, LOST, None) == [
        RecipientOutcome(TWO[0], BUSY, "BDAT"),
        RecipientOutcome(TWO[1], UNKNOWN, "RCPT"),
    ]


def test_an_answer_for_each_recipient() -> None:
    made = message(rcpt_tos=["ann@x", "bob@x", "cat@x", "dan@x"])
    made.mail_reply = OK
    made.rcpt_replies = [OK, UNKNOWN, OK, OK]
    made.end_replies = [(BUSY, "end of data"), (OK, "end of data")]
    assert [(one.reply, one.command) for one in made.outcome(LOST, None).recipients] == [
        (BUSY, "end of data"),
        (UNKNOWN, "RCPT"),
        (OK, "end of data"),
        (LOST, None),
    ]


def test_a_long_local_part_is_the_servers_to_refuse() -> None:
    address = f"{'a' * 65}@example.org"
    made = message(mail_from=address, rcpt_tos=[address])
    assert made.rcpt_commands(NONE) == [f"RCPT TO:<{address}>".encode()]


def test_what_was_asked() -> None:
    made = message(None, rcpt_tos=["ann@x", "bob@x", "cat@x"])
    made.mail_reply = OK
    made.rcpt_replies = [OK, UNKNOWN, Reply(250, None, "Ok")]
    assert [(one.reply.code, one.command) for one in made.answers(OK).recipients] == [
        (250, "RCPT"),
        (550, "RCPT"),
        (250, "RCPT"),
    ]


def test_in_doubt_only_if_it_can_have_been_taken() -> None:
    made = message(rcpt_tos=TWO)
    made.mail_reply = OK
    made.rcpt_replies = [OK, UNKNOWN]
    assert made.outcome(LOST, None, is_sent=True).is_in_doubt
    assert not made.outcome(LOST, None).is_in_doubt
    made.refusal = BUSY, "BDAT"
    assert not made.outcome(LOST, None, is_sent=True).is_in_doubt
    made.refusal = None
    made.rcpt_replies = [UNKNOWN, UNKNOWN]
    assert not made.outcome(LOST, None, is_sent=True).is_in_doubt


def test_path_is_told_as_text() -> None:
    made = message(rcpt_tos=[Path(b"bob@example.org")])
    assert made.outcome(OK, "DATA").recipients[0].address == "bob@example.org"
