"""The dialogue as people read it: without messages and secrets, in bounded memory."""

from __future__ import annotations

import pytest

from pillarbox.dialogue import LEFT_OUT, MAX_LINES, Dialogue


def play(*turns: tuple[str, bytes], cut: int | None = None) -> tuple[str, ...]:
    dialogue = Dialogue()
    for side, octets in turns:
        take = dialogue.received if side == "C" else dialogue.sent
        size = cut or len(octets)
        pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
        for piece in pieces if side == "C" else [octets]:
            take(piece)
    return dialogue.lines


@pytest.mark.parametrize("cut", [None, 1, 2, 3])
def test_a_message_is_counted(cut: int | None) -> None:
    lines = play(
        ("S", b"220 mx ESMTP\r\n"),
        ("C", b"EHLO c\r\n"),
        ("S", b"250-mx\r\n250 SIZE\r\n"),
        ("C", b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"),
        ("S", b"250 OK\r\n250 OK\r\n354 Go\r\n"),
        ("C", b"Hi\r\n..\r\nMAIL\r\n.\r\nQUIT\r\n"),
        ("S", b"250 OK\r\n221 Bye\r\n"),
        cut=cut,
    )
    assert lines == (
        "S: 220 mx ESMTP", "C: EHLO c", "S: 250-mx", "S: 250 SIZE",
        "C: MAIL FROM:<>", "C: RCPT TO:<a@b>", "C: DATA",
        "S: 250 OK", "S: 250 OK", "S: 354 Go",
        "C: (14 octets of message)", "C: .", "C: QUIT", "S: 250 OK", "S: 221 Bye",
    )  # fmt: skip


def test_a_client_that_does_not_wait_for_354() -> None:
    lines = play(
        ("C", b"DATA\r\nHi\r\n.\r\nNOOP\r\n"),
        ("S", b"354 Go\r\n250 OK\r\n250 OK\r\n"),
    )
    assert lines == (
        "C: DATA", "S: 354 Go", "S: 250 OK", "S: 250 OK",
        "C: (4 octets of message)", "C: .", "C: NOOP",
    )  # fmt: skip
    lines = play(
        ("C", b"RCPT TO:<a@b>\r\nDATA\r\nRSET\r\n"),
        ("S", b"250 OK\r\n"),
        ("S", b"503 5.5.1 No\r\n"),
    )
    assert lines == ("C: RCPT TO:<a@b>", "C: DATA", "S: 250 OK", "S: 503 5.5.1 No", "C: RSET")


@pytest.mark.parametrize("cut", [None, 1])
def test_an_empty_message(cut: int | None) -> None:
    lines = play(("S", b"354 Go\r\n"), ("C", b".\r\nNOOP\r\n"), cut=cut)
    assert lines == ("S: 354 Go", "C: (0 octets of message)", "C: .", "C: NOOP")


@pytest.mark.parametrize("cut", [None, 1, 4])
def test_chunks_are_counted(cut: int | None) -> None:
    lines = play(("C", b"BDAT 6\r\nNOOP\r\nbdat 0 LAST\r\nQUIT\r\n"), cut=cut)
    assert lines == (
        "C: BDAT 6",
        "C: (6 octets of message)",
        "C: bdat 0 LAST",
        "C: (0 octets of message)",
        "C: QUIT",
    )


def test_secrets_are_not_shown() -> None:
    lines = play(
        ("C", b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n"),
        ("S", b"535 5.7.8 No\r\n"),
        ("C", b"auth login\r\n"),
        ("S", b"334 VXNlcm5hbWU6\r\n"),
        ("C", b"YW5u\r\n"),
        ("S", b"334 UGFzc3dvcmQ6\r\n"),
        ("C", b"c2VjcmV0\r\n"),
        ("S", b"235 2.7.0 OK\r\n"),
        ("C", b"NOOP\r\n"),
    )
    assert lines == (
        "C: AUTH PLAIN ****", "S: 535 5.7.8 No", "C: auth login", "S: 334 VXNlcm5hbWU6",
        "C: ****", "S: 334 UGFzc3dvcmQ6", "C: ****", "S: 235 2.7.0 OK", "C: NOOP",
    )  # fmt: skip


def test_of_many_messages_the_beginning_and_the_last_are_kept() -> None:
    dialogue = Dialogue()
    dialogue.received(b"EHLO c\r\n")
    for number in range(1000):
        dialogue.received(b"mail FROM:<%d@x>\r\n" % number)
        dialogue.sent(b"250 OK\r\n")
    assert dialogue.lines == ("C: EHLO c", LEFT_OUT, "C: mail FROM:<999@x>", "S: 250 OK")


def test_lines_are_bounded_and_one_line_each() -> None:
    dialogue = Dialogue()
    dialogue.received(b"\x1b[31m\xffNOOP\x00\r\n")
    assert dialogue.lines == ("C: \\x1b[31m\\xffNOOP\\x00",)
    for _ in range(5000):
        dialogue.received(b"NOOP\r\n")
    assert len(dialogue.lines) == MAX_LINES
    dialogue.received(b"x" * 1_000_000)
    dialogue.received(b"\r\n")
    assert len(dialogue.lines[-1]) < 1_100
