"""Replies: what makes one, what is refused, how it is rendered."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.reply import MAX_LINE_OCTETS, Reply
from tests.grammar import Answer, split_answers

RENDERED = {
    "one line": (Reply(250, "2.0.0", "OK"), b"250 2.0.0 OK\r\n"),
    "no enhanced code": (Reply(354, None, "Go on"), b"354 Go on\r\n"),
    "no text": (Reply(250, "2.0.0"), b"250 2.0.0\r\n"),
    "nothing but a code": (Reply(250, None), b"250\r\n"),
    "every line has the enhanced code": (
        Reply(214, "2.0.0", "one\ntwo\nthree"),
        b"214-2.0.0 one\r\n214-2.0.0 two\r\n214 2.0.0 three\r\n",
    ),
    "lines of EHLO": (Reply(250, None, "mx.test\nSIZE 0"), b"250-mx.test\r\n250 SIZE 0\r\n"),
    "an empty line within": (
        Reply(550, "5.7.1", "no\n\nnever"),
        b"550-5.7.1 no\r\n550-5.7.1\r\n550 5.7.1 never\r\n",
    ),
    "an empty line without an enhanced code": (
        Reply(220, None, "a\n\nb"),
        b"220-a\r\n220-\r\n220 b\r\n",
    ),
    "tab": (Reply(250, None, "a\tb"), b"250 a\tb\r\n"),
    "beyond ASCII": (Reply(550, "5.1.1", "né €😀"), b"550 5.1.1 n\\x{E9} \\x{20AC}\\x{1F600}\r\n"),
    "lowest code": (Reply(200, None, "x"), b"200 x\r\n"),
    "highest code": (Reply(559, None, "x"), b"559 x\r\n"),
    "largest enhanced code": (Reply(599, "5.999.999", "x"), b"599 5.999.999 x\r\n"),
}

REFUSED = {
    "code too low": ((199, None, "x"), "199"),
    "code too high": ((600, None, "x"), "600"),
    "enhanced code of two parts": ((550, "5.1", "x"), "class.subject.detail"),
    "enhanced code with a zero before": ((550, "5.01.1", "x"), "class.subject.detail"),
    "enhanced code of class 3": ((354, "3.0.0", "x"), "class.subject.detail"),
    "enhanced code with text behind": ((550, "5.1.1 ", "x"), "class.subject.detail"),
    "enhanced code in full-width digits": ((550, "5.1.１", "x"), "class.subject.detail"),
    "enhanced code of four digits": ((550, "5.1.1000", "x"), "class.subject.detail"),
    "enhanced code of another class": ((550, "4.1.1", "x"), "both begin with the same digit"),
    "enhanced code on 3xx": ((354, "2.0.0", "x"), "both begin with the same digit"),
    "CR": ((250, None, "a\rb"), r"'\\r'"),
    "NUL": ((250, None, "a\0b"), r"'\\x00'"),
    "ESC": ((250, None, "a\x1bb"), r"'\\x1b'"),
    "DEL": ((250, None, "a\x7fb"), r"'\\x7f'"),
    "C1 control": ((250, None, "a\x9bb"), r"'\\x9b'"),
    "next line": ((250, None, "a\x85b"), r"'\\x85'"),
    "line separator": ((250, None, "a\u2028b"), r"'\\u2028'"),
    "half a surrogate pair": ((250, None, "a\ud800b"), r"'\\ud800'"),
}


@pytest.mark.parametrize(("reply", "octets"), RENDERED.values(), ids=RENDERED)
def test_rendered(reply: Reply, octets: bytes) -> None:
    assert reply.wire == octets
    assert reply.render() == octets


@pytest.mark.parametrize(("parts", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(parts: tuple[int, str | None, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Reply(*parts)


def test_utf8_for_those_who_asked() -> None:
    assert Reply(550, "5.1.1", "né").render(utf8=True) == "550 5.1.1 né\r\n".encode()


KINDS = {
    250: (True, False),
    299: (True, False),
    354: (False, False),
    399: (False, False),
    400: (False, True),
    499: (False, True),
    500: (False, False),
}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
def test_kind(code: int, kind: tuple[bool, bool]) -> None:
    reply = Reply(code, None)
    assert (reply.is_positive, reply.is_transient) == kind


def test_saying() -> None:
    assert Reply(550, "5.1.1", "No such mailbox").saying("No ann") == Reply(550, "5.1.1", "No ann")


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(550, "5.1.1", "No such\nmailbox"), "550 5.1.1 No such mailbox"),
        (Reply(354, None, "Go on"), "354 Go on"),
        (Reply(250, "2.0.0"), "250 2.0.0"),
    ],
)
def test_one_line_for_logs(reply: Reply, text: str) -> None:
    assert str(reply) == text


def test_a_reply_is_its_parts() -> None:
    assert Reply(250, "2.0.0", "OK") == Reply(250, "2.0.0", "OK")
    assert hash(Reply(250, "2.0.0", "OK")) == hash(Reply(250, "2.0.0", "OK"))
    assert Reply(250, "2.0.0", "OK") != Reply(250, "2.0.0", "Fine")
    assert repr(Reply(250, "2.0.0", "OK")) == "Reply(code=250, enhanced='2.0.0', text='OK')"


def test_nobody_changes_a_reply() -> None:
    reply = Reply(250, "2.0.0", "OK")
    with pytest.raises(dataclasses.FrozenInstanceError):
        reply.code = 550  # type: ignore[misc]  # the very thing that must not work


ROOM = MAX_LINE_OCTETS - len("250 2.0.0 ") - len("\r\n")


@pytest.mark.parametrize("octets", [ROOM - 1, ROOM])
def test_a_line_of_512_octets_is_one_line(octets: int) -> None:
    wire = Reply(250, "2.0.0", "x" * octets).wire
    assert wire == b"250 2.0.0 " + b"x" * octets + b"\r\n"
    assert len(wire) <= MAX_LINE_OCTETS


def test_a_longer_line_is_cut() -> None:
    wire = Reply(250, "2.0.0", "x" * (ROOM + 1)).wire
    assert wire == b"250-2.0.0 " + b"x" * ROOM + b"\r\n250 2.0.0 x\r\n"


def test_a_longer_line_is_cut_between_words() -> None:
    words = " ".join(["word"] * 300)
    (answer,) = split_answers(Reply(550, "5.7.1", words).wire)
    assert len(answer.lines) > 1
    assert " ".join(line.removeprefix("5.7.1 ") for line in answer.lines) == words


def test_a_character_is_never_cut() -> None:
    text = "€" * 400
    (answer,) = split_answers(Reply(550, "5.7.1", text).render(utf8=True))
    assert "".join(line.removeprefix("5.7.1 ") for line in answer.lines) == text


def test_characters_of_many_octets_that_fit() -> None:
    text = "€" * (ROOM // 3)
    (answer,) = split_answers(Reply(550, "5.7.1", text).render(utf8=True))
    assert answer == Answer(550, (f"5.7.1 {text}",))


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl"], exclude_characters="\u2029"))


@given(
    st.integers(200, 559).filter(lambda code: code % 100 < 60),
    st.lists(texts, min_size=1, max_size=3).map("\n".join),
    st.booleans(),
    st.booleans(),
)
def test_every_reply_is_by_the_grammar(
    code: int, text: str, has_enhanced: bool, utf8: bool
) -> None:
    enhanced = f"{code // 100}.7.1" if has_enhanced and code // 100 != 3 else None
    (answer,) = split_answers(Reply(code, enhanced, text).render(utf8=utf8))
    assert answer.code == code
    if enhanced:
        assert answer.enhanced == enhanced
