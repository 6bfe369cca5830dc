"""The message by BDAT (RFC 3030): octets are counted, whatever they are, whatever is said to it."""

from __future__ import annotations

import pytest

from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.testing import Recorder
from tests.conftest import Talk
from tests.protocol.test_mail_data import FALSE_ENDS, HARMLESS_ENDS, literal

BEGIN = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 ...
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 ...
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 ...
"""
END = """
    C: NOOP
    S: 250 2.0.0 OK
    C: QUIT
    S: 221 2.0.0 Goodbye
    S: [closed]
"""


def binary(transcript: str) -> str:
    return transcript.replace("FROM:<ann@example.org>", "FROM:<ann@example.org> BODY=BINARYMIME")


def test_one_chunk(talk: Talk) -> None:
    (message,) = talk(rf"""{BEGIN}
        C: BDAT 9 LAST
        C! ".\r\ntext\r\n"
        S: 250 2.0.0 Message accepted
        {END}
    """)
    assert message.data == b".\r\ntext\r\n"


def test_chunks_cut_anywhere_make_one_message(talk: Talk) -> None:
    (message,) = talk(rf"""{BEGIN}
        C: BDAT 5
        C! "text\r"
        S: 250 2.0.0 OK
        C: bdat 2
        C! "\n."
        S: 250 2.0.0 OK
        C: BDAT 0
        S: 250 2.0.0 OK
        C: NOOP
        S: 250 2.0.0 OK
        C: BDAT 2 last
        C! "\r\n"
        S: 250 2.0.0 Message accepted
        {END}
    """)
    assert message.data == b"text\r\n.\r\n"


def test_an_empty_last_chunk(talk: Talk) -> None:
    (message,) = talk(rf"""{BEGIN}
        C: BDAT 4
        C! "text"
        S: 250 2.0.0 OK
        C: BDAT 0 LAST
        S: 250 2.0.0 Message accepted
        {END}
    """)
    assert message.data == b"text"  # no line end is added


def test_an_empty_message(talk: Talk) -> None:
    (message,) = talk(f"{BEGIN}\nC: BDAT 0 LAST\nS: 250 2.0.0 Message accepted\n{END}")
    assert message.data == b""


ALL_OCTETS = bytes(range(256))


def test_binary_octets_are_kept(talk: Talk) -> None:
    (message,) = talk(
        binary(f"""{BEGIN}
        C: BDAT 256 LAST
        C! "{literal(ALL_OCTETS)}"
        S: 250 2.0.0 Message accepted
        {END}
    """)
    )
    assert message.data == ALL_OCTETS
    assert message.envelope.mail.body == "BINARYMIME"


@pytest.mark.parametrize("end", [*FALSE_ENDS.values(), *HARMLESS_ENDS.values()], ids=repr)
def test_nothing_ends_a_chunk_but_its_count(talk: Talk, end: bytes) -> None:
    (message,) = talk(
        binary(f"""{BEGIN}
        C: BDAT {len(end) + 6} LAST
        C! "{literal(end)}QUIT\\r\\n"
        S: 250 2.0.0 Message accepted
        {END}
    """)
    )
    assert message.data == end + b"QUIT\r\n"


@pytest.mark.parametrize(
    "octets", [b"\r", b"\n", b"a\nb", b"a\rb", b"\r\r\n", b"a\r\n\r"], ids=repr
)
def test_bare_newlines_need_binarymime(talk: Talk, octets: bytes) -> None:
    assert not talk(f"""{BEGIN}
        C: BDAT {len(octets)} LAST
        C! "{literal(octets)}"
        S: 550 5.6.11 A CR or LF that is not part of a CRLF
        {END}
    """)


def test_a_bare_newline_refuses_its_chunk_and_all_further_ones(talk: Talk) -> None:
    assert not talk(rf"""{BEGIN}
        C: BDAT 3
        C! "a\nb"
        S: 550 5.6.11 A CR or LF that is not part of a CRLF
        C: BDAT 6
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
    """)


# A refused chunk is swallowed, never run as commands.


def test_a_chunk_without_a_sender_is_swallowed(talk: Talk) -> None:
    assert not talk(rf"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: BDAT 12 LAST
        C! "QUIT\r\nQUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
    """)


def test_a_chunk_without_a_recipient_is_swallowed(talk: Talk) -> None:
    (message,) = talk(rf"""
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 ...
        C: MAIL FROM:<ann@example.org>
        S: 250 2.1.0 ...
        C: BDAT 12
        C! "QUIT\r\nQUIT\r\n"
        S: 503 5.5.1 BDAT needs a RCPT command that was accepted
        C: RCPT TO:<ben@example.org>
        S: 250 2.1.5 ...
        C: BDAT 0 LAST
        S: 250 2.0.0 ...
        {END}
    """)
    assert message.data == b""


def test_a_chunk_before_ehlo_is_swallowed(talk: Talk) -> None:
    assert not talk(rf"""
        S: 220 mx.test ESMTP
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        C: BDAT 0
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
    """)


def test_a_chunk_behind_the_last_is_swallowed(talk: Talk) -> None:
    assert talk(rf"""{BEGIN}
        C: BDAT 0 LAST
        S: 250 2.0.0 Message accepted
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
    """)


class RefusesMessages(Recorder):
    def __init__(self) -> None:
        super().__init__(reply=Reply(451, "4.3.1", "Disk full"))


def test_a_refused_message_and_a_chunk_behind_it(talk: Talk) -> None:
    assert not talk(
        rf"""{BEGIN}
        C: BDAT 1 LAST
        C! "x"
        S: 451 4.3.1 Disk full
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
        """,
        handler=RefusesMessages,
    )


BAD = {
    "BDAT": "501 5.5.4 Syntax: BDAT octets [LAST]",
    "BDAT x": "501 5.5.4 Syntax: BDAT octets [LAST]",
    "BDAT -1": "501 5.5.4 Syntax: BDAT octets [LAST]",
    "BDAT １": "501 5.5.4 Syntax: BDAT octets [LAST]",
    "BDAT 1 FIRST": "501 5.5.4 Syntax: BDAT octets [LAST]",
}


@pytest.mark.parametrize(("command", "reply"), BAD.items())
def test_a_chunk_of_no_size(talk: Talk, command: str, reply: str) -> None:
    assert not talk(f"{BEGIN}\nC: {command}\nS: {reply}\n{END}")


# DATA and BDAT do not mix.


IN_CHUNKS = {
    "DATA": "503 5.5.1 BDAT has begun; LAST or RSET ends it",
    "RCPT TO:<cat@example.org>": "503 5.5.1 BDAT has begun; LAST or RSET ends it",
    "MAIL FROM:<cat@example.org>": "503 5.5.1 A transaction is open; RSET ends it",
    "NOOP": "250 2.0.0 OK",
    "VRFY ann": "252 2.5.0 ...",
    "BREW coffee": "500 5.5.1 ...",
    "BDAT x": "501 5.5.4 ...",
}


@pytest.mark.parametrize(("command", "reply"), IN_CHUNKS.items())
def test_between_chunks(talk: Talk, command: str, reply: str) -> None:
    (message,) = talk(rf"""{BEGIN}
        C: BDAT 6
        C! "text\r\n"
        S: 250 2.0.0 OK
        C: {command}
        S: {reply}
        C: BDAT 6 LAST
        C! "more\r\n"
        S: 250 2.0.0 Message accepted
        {END}
    """)
    assert message.data == b"text\r\nmore\r\n"
    assert message.rcpt_tos == ["ben@example.org"]


@pytest.mark.parametrize("command", ["RSET", "EHLO client.test", "HELO client.test"])
@pytest.mark.parametrize("whole", [0, 1000])
def test_a_reset_between_chunks(talk: Talk, command: str, whole: int) -> None:
    assert not talk(
        rf"""{BEGIN}
        C: BDAT 6
        C! "text\r\n"
        S: 250 2.0.0 OK
        C: {command}
        S: 250 ...
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
        """,
        offer=Offer(hostname="mx.test", whole_body_octets=whole),
    )


@pytest.mark.parametrize("whole", [0, 1000])
def test_quit_between_chunks(talk: Talk, whole: int) -> None:
    assert not talk(
        rf"""{BEGIN}
        C: BDAT 6
        C! "text\r\n"
        S: 250 2.0.0 OK
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
        """,
        offer=Offer(hostname="mx.test", whole_body_octets=whole),
    )


@pytest.mark.parametrize("octets", ["", "text"])
@pytest.mark.parametrize("whole", [0, 1000])
def test_a_lost_connection_delivers_nothing(talk: Talk, octets: str, whole: int) -> None:
    assert not talk(
        rf"""{BEGIN}
        C: BDAT 4
        C! "text"
        S: 250 2.0.0 OK
        C: BDAT 5 LAST
        C! "{octets}"
        C: [closed]
        S: [closed]
        """,
        offer=Offer(hostname="mx.test", whole_body_octets=whole),
    )


def test_data_after_binarymime(talk: Talk) -> None:
    (message,) = talk(
        binary(rf"""{BEGIN}
        C: DATA
        S: 503 5.5.1 BODY=BINARYMIME goes by BDAT
        C: BDAT 4 LAST
        C! "te\rx"
        S: 250 2.0.0 Message accepted
        {END}
    """)
    )
    assert message.data == b"te\rx"


# Sizes.


LIMITED = Offer(hostname="mx.test", max_message_bytes=100)


@pytest.mark.parametrize(("octets", "is_taken"), [(99, True), (100, True), (101, False)])
@pytest.mark.parametrize("whole", [0, 10, 1000])
def test_limit(talk: Talk, octets: int, is_taken: bool, whole: int) -> None:
    offer = Offer(hostname="mx.test", max_message_bytes=100, whole_body_octets=whole)
    messages = talk(
        f"""{BEGIN}
        C: BDAT {octets} LAST
        C! "x" * {octets}
        S: {"250 2.0.0 Message accepted" if is_taken else "552 5.3.4 Message too large"}
        {END}
        """,
        offer=offer,
    )
    assert len(messages) == is_taken


@pytest.mark.parametrize("octets", [50, 51])
def test_limit_of_all_chunks(talk: Talk, octets: int) -> None:
    messages = talk(
        f"""{BEGIN}
        C: BDAT 50
        C! "x" * 50
        S: 250 2.0.0 OK
        C: BDAT {octets} LAST
        C! "x" * {octets}
        S: {"250 2.0.0 Message accepted" if octets == 50 else "552 5.3.4 Message too large"}
        {END}
        """,
        offer=LIMITED,
    )
    assert len(messages) == (octets == 50)


def test_a_chunk_over_the_limit_ends_the_transaction(talk: Talk) -> None:
    assert not talk(
        rf"""{BEGIN}
        C: BDAT 606
        C! "x" * 600
        C! "QUIT\r\n"
        S: 552 5.3.4 Message too large
        C: BDAT 6 LAST
        C! "QUIT\r\n"
        S: 503 5.5.1 BDAT needs a MAIL command first
        {END}
        """,
        offer=LIMITED,
    )


def test_a_huge_chunk_that_was_only_declared(talk: Talk) -> None:
    assert not talk(
        f"{BEGIN}\nC: BDAT 99999999999999999999 LAST\nC: text\nC: [closed]\nS: [closed]"
    )
