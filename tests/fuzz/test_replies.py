"""Properties 5 and 6: one line, one reply; and every octet that is sent is by the grammar."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from pillarbox.protocol.extension import Offer
from tests.fuzz.session import LIMITED, LOGINS, MECHANISMS, Session, hold
from tests.fuzz.strategies import command_lines, commands, messages, streams
from tests.grammar import check_session, split_answers

PATIENT = Offer(
    hostname="mx.test",
    max_errors=1_000_000,
    max_command_octets=512,
    mechanisms=MECHANISMS,
    allows_plaintext_auth=True,
    max_auth_failures=1_000_000,
    offers_xclient=True,
)


@given(st.lists(command_lines, max_size=20))
def test_one_line_one_reply(lines: list[bytes]) -> None:
    # No recipient is taken, so that no line is part of a message.
    session = Session(PATIENT, refuses=True)
    for line in lines:
        said = split_answers(session.feed(line))
        assert len(said) == line.count(b"\r\n"), (line, said)
        if session.is_closed:
            assert said[-1].code == 221
            break


@given(st.lists(st.one_of(commands, st.binary(max_size=20)), max_size=20))
def test_as_many_replies_as_lines_in_a_burst(lines: list[bytes]) -> None:
    assume(not any(line.strip().upper().startswith((b"QUIT", b"BDAT")) for line in lines))
    stream = b"".join(line + b"\r\n" for line in lines)
    session = Session(PATIENT, refuses=True)
    said = split_answers(session.feed(stream))
    assert len(said) == stream.count(b"\r\n")


@given(st.lists(messages, max_size=5), st.booleans())
def test_a_message_has_one_reply(bodies: list[bytes], by_chunks: bool) -> None:
    session = Session(PATIENT)
    session.feed(b"EHLO client.test\r\n")
    for body in bodies:
        session.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
        if by_chunks:
            said = session.feed(b"BDAT %d LAST\r\n%b" % (len(body), body))
        else:
            session.feed(b"DATA\r\n")
            stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
            said = session.feed(stuffed + b"\r\n.\r\n")
        (answer,) = split_answers(said)
        assert answer.code in (250, 550)


@given(streams, st.sampled_from([LIMITED, LOGINS]), st.booleans())
def test_the_grammar_of_every_octet(stream: bytes, offer: Offer, asks: bool) -> None:
    session = hold([stream], offer, asks=asks)
    answers = check_session(session.said)
    assert [answer.code for answer in answers[:-1]].count(421) == 0
    assert [answer.code for answer in answers[:-1]].count(221) == 0


@given(st.binary(max_size=300), st.booleans())
def test_the_grammar_whatever_came_in(stream: bytes, asks: bool) -> None:
    check_session(hold([stream], LIMITED, asks=asks).said)


MARKS = b"Qq7", "Ωx".encode(), b"\x1bZ", b"\x00Z", b"<Zz>", b"Zz\xff"


@given(commands, st.sampled_from(MARKS), st.integers(0, 100))
def test_no_octet_of_the_client_comes_back(command: bytes, mark: bytes, at: int) -> None:
    line = command[:at] + mark + command[at:]
    session = Session(LOGINS)
    for before in (b"", b"EHLO client.test\r\n", b"MAIL FROM:<a@b> SMTPUTF8\r\n"):
        session.feed(before)
        said = session.feed(line + b"\r\n")
        assert mark not in said, (line, said)
