"""The message under way: its parts, its limits, and what becomes of it when it breaks a rule."""

from __future__ import annotations

import pytest

from pillarbox.protocol.body import BARE_NEWLINE, IncomingBody
from pillarbox.protocol.event import BodyAborted, BodyPart
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.framing import ChunkReader, DataReader, NewlineCheck, ReceiveBuffer
from pillarbox.protocol.replies import TOO_LARGE
from pillarbox.protocol.reply import Reply

ACCEPTED = Reply(250, "2.0.0", "OK")
REFUSED = Reply(550, "5.7.1", "No")


class Incoming:
    """A body on a buffer, fed by hand."""

    def __init__(
        self, *, limit: int = 0, whole: int = 0, chunk: int | None = None, checks: bool = True
    ) -> None:
        self.buffer = ReceiveBuffer()
        self.body = IncomingBody(
            DataReader(self.buffer)
            if chunk is None
            else ChunkReader(self.buffer, chunk, is_last=True),
            Offer(hostname="mx.test", max_message_bytes=limit, whole_body_octets=whole),
            NewlineCheck() if checks else None,
        )

    def feed(self, data: bytes) -> BodyPart | BodyAborted | None:
        self.buffer.feed(data)
        return self.body.pull()


def test_a_small_message_is_one_part() -> None:
    incoming = Incoming(whole=10)
    assert incoming.feed(b"one\r\n") is None
    assert incoming.feed(b"two\r\n.\r\n") is None
    assert incoming.body.reader.is_finished
    assert incoming.body.finish() == BodyPart(b"one\r\ntwo\r\n", is_last=True)
    assert not incoming.body.is_announced


def test_an_empty_message_is_one_part() -> None:
    incoming = Incoming()
    assert incoming.feed(b".\r\n") is None
    assert incoming.body.finish() == BodyPart(b"", is_last=True)


@pytest.mark.parametrize(("octets", "is_part"), [(9, False), (10, False), (11, True)])
def test_from_what_size_on_a_message_comes_in_parts(octets: int, is_part: bool) -> None:
    part = Incoming(whole=10).feed(b"x" * octets)
    assert part == (BodyPart(b"x" * octets, is_last=False) if is_part else None)


def test_a_large_message_comes_in_parts() -> None:
    incoming = Incoming(whole=3)
    assert incoming.feed(b"one\r") is None
    assert incoming.feed(b"\ntwo") == BodyPart(b"one\r\ntwo", is_last=False)
    assert incoming.body.is_announced
    assert incoming.feed(b"3") == BodyPart(b"3", is_last=False)
    assert incoming.feed(b"\r\n.\r\n") is None
    assert incoming.body.finish() == BodyPart(b"\r\n", is_last=True)


@pytest.mark.parametrize(("octets", "is_taken"), [(9, True), (10, True), (11, False)])
def test_limit(octets: int, is_taken: bool) -> None:
    incoming = Incoming(limit=10, whole=100)
    assert incoming.feed(b"x" * (octets - 2) + b"\r\n.\r\n") is None
    part = incoming.body.finish()
    if is_taken:
        assert part == BodyPart(b"x" * (octets - 2) + b"\r\n", is_last=True)
    else:
        assert part is None
        assert incoming.body.refusal is TOO_LARGE


def test_stuffing_does_not_count() -> None:
    incoming = Incoming(limit=10, whole=100)
    incoming.feed(b"..\r\n..\r\n..x\r\n.\r\n")
    assert incoming.body.finish() == BodyPart(b".\r\n.\r\n.x\r\n", is_last=True)


def test_too_large_midway_is_told_once_and_the_rest_thrown_away() -> None:
    incoming = Incoming(limit=10)
    assert incoming.feed(b"x" * 10) == BodyPart(b"x" * 10, is_last=False)
    assert incoming.feed(b"x") == BodyAborted(TOO_LARGE)
    assert incoming.feed(b"x" * 100) is None
    assert incoming.feed(b"\r\n.\r\n") is None
    assert incoming.body.reader.is_finished
    assert incoming.body.finish() is None
    assert incoming.body.refusal is TOO_LARGE


@pytest.mark.parametrize("octets", [b"a\nb", b"a\rb", b"a\n.\n"], ids=repr)
def test_bare_newline_midway(octets: bytes) -> None:
    incoming = Incoming()
    assert incoming.feed(b"x") == BodyPart(b"x", is_last=False)
    assert incoming.feed(octets) == BodyAborted(BARE_NEWLINE)
    assert incoming.feed(b"\r\n.\r\n") is None
    assert incoming.body.finish() is None
    assert incoming.body.refusal is BARE_NEWLINE


def test_bare_newline_in_a_small_message() -> None:
    incoming = Incoming(whole=100)
    assert incoming.feed(b"a\nb\r\n.\r\n") is None
    assert incoming.body.finish() is None
    assert incoming.body.refusal is BARE_NEWLINE


def test_bare_newlines_where_they_are_allowed() -> None:
    incoming = Incoming(whole=100, checks=False)
    assert incoming.feed(b"a\nb\rc\r\n.\r\n") is None
    assert incoming.body.finish() == BodyPart(b"a\nb\rc\r\n", is_last=True)


def test_cr_as_the_last_octet_of_all() -> None:
    incoming = Incoming(whole=100, chunk=2)
    assert incoming.feed(b"x\r\n") is None
    assert incoming.body.finish() is None
    assert incoming.body.refusal is BARE_NEWLINE


def test_cr_as_the_last_octet_of_a_large_message() -> None:
    incoming = Incoming(chunk=3)
    assert incoming.feed(b"x") == BodyPart(b"x", is_last=False)
    assert incoming.feed(b"y\r") is None
    assert incoming.body.finish() == BodyAborted(BARE_NEWLINE)


def test_chunks_make_one_message() -> None:
    incoming = Incoming(chunk=2, whole=100)
    assert incoming.feed(b"a\r") is None
    incoming.body.reader = ChunkReader(incoming.buffer, 2, is_last=True)
    assert incoming.feed(b"\nb") is None
    assert incoming.body.finish() == BodyPart(b"a\r\nb", is_last=True)


def test_chunks_that_are_whole_when_they_are_read_do_not_pile_up() -> None:
    incoming = Incoming(whole=10)
    for number in range(3):
        incoming.body.reader = ChunkReader(incoming.buffer, 6, is_last=False)
        part = incoming.feed(b"012345")
        assert part == [None, BodyPart(b"012345" * 2, False), BodyPart(b"012345", False)][number]
    incoming.body.reader = ChunkReader(incoming.buffer, 6, is_last=True)
    assert incoming.feed(b"012345") is None
    assert incoming.body.finish() == BodyPart(b"012345", is_last=True)


def test_an_early_answer_keeps_parts_back() -> None:
    incoming = Incoming()
    assert incoming.feed(b"x") == BodyPart(b"x", is_last=False)
    incoming.body.kept_replies = (ACCEPTED,)
    assert incoming.feed(b"y" * 1000) is None
    assert incoming.feed(b"\r\n.\r\n") is None
    assert incoming.body.finish() is None
    assert incoming.body.refusal is None


def test_a_rule_broken_after_an_early_answer() -> None:
    incoming = Incoming(limit=10)
    assert incoming.feed(b"x") == BodyPart(b"x", is_last=False)
    incoming.body.kept_replies = (ACCEPTED,)
    assert incoming.feed(b"y" * 1000) is None
    assert incoming.body.refusal is TOO_LARGE


@pytest.mark.parametrize("reply", [None, REFUSED])
def test_abort_tells_who_waits(reply: Reply | None) -> None:
    incoming = Incoming()
    assert incoming.feed(b"x") == BodyPart(b"x", is_last=False)
    assert incoming.body.abort(reply) == BodyAborted(reply)
    assert incoming.body.abort(reply) is None


def test_abort_when_nobody_waits() -> None:
    incoming = Incoming(whole=100)
    assert incoming.feed(b"x") is None
    assert incoming.body.abort(None) is None


def test_abort_after_an_early_answer() -> None:
    incoming = Incoming()
    assert incoming.feed(b"x") == BodyPart(b"x", is_last=False)
    incoming.body.kept_replies = (REFUSED,)
    assert incoming.body.abort(None) is None


def test_the_limit_of_a_body_that_is_swallowed_needs_no_memory() -> None:
    incoming = Incoming(limit=10, whole=1 << 20)
    for _ in range(1000):
        assert incoming.feed(b"x" * 1000) is None
        assert len(incoming.buffer) <= 4
    assert incoming.body.refusal is TOO_LARGE


@pytest.mark.parametrize(
    ("kept", "refusal"),
    [((), None), ((ACCEPTED,), None), ((REFUSED, ACCEPTED), None), ((REFUSED, REFUSED), REFUSED)],
)
def test_what_it_is_refused_by_before_its_end(
    kept: tuple[Reply, ...], refusal: Reply | None
) -> None:
    incoming = Incoming()
    incoming.body.kept_replies = kept
    assert incoming.body.known_refusal == refusal
    incoming.body.refuse(TOO_LARGE)
    assert incoming.body.known_refusal is TOO_LARGE
