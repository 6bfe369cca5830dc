"""Which reply answers which command, in lock-step and pipelined."""

from __future__ import annotations

import pytest

from pillarbox.protocol.client_state import Awaited
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.pipeline import MAX_CHUNKS_WAITING, Pipeline
from pillarbox.protocol.reply import Reply

MAIL = b"MAIL FROM:<ann@example.org>", Awaited.MAIL
RCPT = b"RCPT TO:<bob@example.org>", Awaited.RCPT
OK = Reply(250, "2.0.0", "OK")


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def pipeline(lines: list[str]) -> Pipeline:
    """One whose greeting has come."""
    pipeline = Pipeline(lines.append)
    pipeline.feed(b"220 mx.test\r\n")
    assert pipeline.next_answer() == (Reply(220, None, "mx.test"), Awaited.GREETING)
    lines.clear()
    return pipeline


def test_lock_step(pipeline: Pipeline, lines: list[str]) -> None:
    pipeline.say(MAIL, RCPT)
    assert pipeline.data_to_send() == MAIL[0] + b"\r\n"
    assert pipeline.next_answer() is None
    pipeline.advance()
    assert pipeline.data_to_send() == b""
    pipeline.feed(OK.wire)
    assert pipeline.next_answer() == (OK, Awaited.MAIL)
    assert not pipeline.is_idle
    pipeline.advance()
    assert pipeline.data_to_send() == RCPT[0] + b"\r\n"
    assert not pipeline.is_idle
    pipeline.feed(OK.wire)
    assert pipeline.next_answer() == (OK, Awaited.RCPT)
    assert pipeline.is_idle
    assert lines == [
        "C: MAIL FROM:<ann@example.org>",
        "S: 250 2.0.0 OK",
        "C: RCPT TO:<bob@example.org>",
        "S: 250 2.0.0 OK",
    ]


def test_pipelined(pipeline: Pipeline, lines: list[str]) -> None:
    pipeline.is_pipelined = True
    pipeline.say(MAIL, RCPT)
    assert pipeline.data_to_send() == MAIL[0] + b"\r\n" + RCPT[0] + b"\r\n"
    pipeline.feed(OK.wire * 3)
    assert pipeline.buffered_octets == 3 * len(OK.wire)
    assert pipeline.next_answer() == (OK, Awaited.MAIL)
    assert pipeline.next_answer() == (OK, Awaited.RCPT)
    assert pipeline.next_answer() == (OK, None)
    assert pipeline.next_answer() is None
    assert pipeline.buffered_octets == 0
    assert [line[0] for line in lines] == ["C", "C", "S", "S", "S"]


def test_what_is_not_said_can_be_unsaid(pipeline: Pipeline) -> None:
    pipeline.say(MAIL, RCPT)
    pipeline.unsay()
    pipeline.feed(OK.wire)
    pipeline.next_answer()
    pipeline.advance()
    assert pipeline.data_to_send() == MAIL[0] + b"\r\n"


def test_chunks_in_lock_step(pipeline: Pipeline) -> None:
    assert pipeline.has_room
    pipeline.write_chunk(b"BDAT 2", Awaited.BDAT, b"ab")
    assert not pipeline.has_room
    assert pipeline.data_to_send() == b"BDAT 2\r\nab"


def test_so_many_chunks_at_once(pipeline: Pipeline, lines: list[str]) -> None:
    pipeline.is_pipelined = True
    for _ in range(MAX_CHUNKS_WAITING):
        assert pipeline.has_room
        pipeline.write_chunk(b"BDAT 2", Awaited.BDAT, b"ab")
    assert not pipeline.has_room
    pipeline.feed(OK.wire)
    pipeline.next_answer()
    assert pipeline.has_room
    assert lines[:3] == ["C: BDAT 2", "C: (2 octets)", "C: BDAT 2"]


def test_message_by_data(pipeline: Pipeline, lines: list[str]) -> None:
    pipeline.write(b"text\r\n")
    pipeline.write(b".\r\n")
    pipeline.end_data(6)
    assert pipeline.data_to_send() == b"text\r\n.\r\n"
    assert list(pipeline.awaited) == [Awaited.END]
    assert lines == ["C: (6 octets)", "C: ."]


def test_several_answers_to_one_message(pipeline: Pipeline) -> None:
    pipeline.end_data(6, answers=2)
    assert list(pipeline.awaited) == [Awaited.END] * 2
    pipeline.clear()
    pipeline.write_chunk(b"BDAT 0 LAST", Awaited.LAST, b"", answers=3)
    assert list(pipeline.awaited) == [Awaited.LAST] * 3


def test_a_secret_is_not_shown(pipeline: Pipeline, lines: list[str]) -> None:
    pipeline.say_secret(b"AUTH PLAIN AGFubg==", Awaited.AUTH, shown=b"AUTH PLAIN ****")
    assert pipeline.data_to_send() == b"AUTH PLAIN AGFubg==\r\n"
    assert list(pipeline.awaited) == [Awaited.AUTH]
    assert lines == ["C: AUTH PLAIN ****"]


def test_a_challenge_is_not_shown(pipeline: Pipeline, lines: list[str]) -> None:
    pipeline.say_secret(b"AUTH X", Awaited.AUTH, shown=b"AUTH X")
    pipeline.feed(b"334-cj0x\r\n334 cj0x\r\n")
    assert pipeline.next_answer() == (Reply(334, None, "cj0x\ncj0x"), Awaited.AUTH)
    assert lines == ["C: AUTH X", "S: 334 (challenge)"]


def test_what_was_learnt_in_the_clear_is_forgotten(pipeline: Pipeline) -> None:
    pipeline.is_pipelined = True
    steps = pipeline.steps
    pipeline.begin_anew()
    assert not pipeline.is_pipelined
    assert pipeline.steps > steps


def test_every_step_counts_and_half_an_answer_does_not(pipeline: Pipeline) -> None:
    steps = [pipeline.steps]

    def moved() -> bool:
        steps.append(pipeline.steps)
        return steps[-1] != steps[-2]

    pipeline.say(MAIL)
    assert moved()
    pipeline.feed(b"250-")
    assert pipeline.next_answer() is None
    assert not moved()
    pipeline.feed(b"\r\n250 OK\r\n")
    assert pipeline.next_answer() is not None
    assert moved()
    pipeline.write(b"text\r\n")
    assert moved()


@pytest.mark.parametrize(
    ("awaited", "reply"),
    [(Awaited.MAIL, b"354 Go"), (Awaited.DATA, b"250 OK"), (Awaited.QUIT, b"334 ")],
)
def test_answer_that_makes_no_sense(pipeline: Pipeline, awaited: Awaited, reply: bytes) -> None:
    pipeline.say((b"...", awaited))
    pipeline.feed(reply + b"\r\n")
    with pytest.raises(RemoteProtocolError, match=f"{awaited.value} was answered by"):
        pipeline.next_answer()


def test_clear(pipeline: Pipeline) -> None:
    pipeline.say(MAIL, RCPT)
    pipeline.feed(b"250 O")
    pipeline.clear()
    assert pipeline.is_idle
    assert pipeline.buffered_octets == 0
    assert pipeline.data_to_send() == b""


def test_no_trace() -> None:
    pipeline = Pipeline(None)
    pipeline.feed(b"220 mx.test\r\n")
    assert pipeline.next_answer() is not None
    pipeline.say(MAIL)
