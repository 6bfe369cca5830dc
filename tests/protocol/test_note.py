"""Notes: what no event tells of, because the session decides it by itself."""

from __future__ import annotations

import base64

import pytest

from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, NEED_SEND, Auth, BodyPart, Need
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.note import ClientCutOff, LoginDecided, MessageAnswered, Note
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import STANDARD_MECHANISMS
from pillarbox.protocol.server import ServerConnection

OFFER = Offer(
    hostname="mx.test",
    max_message_bytes=100,
    max_errors=3,
    max_auth_failures=2,
    max_idle_commands=5,
    mechanisms={name: STANDARD_MECHANISMS[name] for name in ("PLAIN", "LOGIN", "EXTERNAL")},
    allows_plaintext_auth=True,
)
ANN = base64.b64encode(b"\0ann\0secret").decode()
BEGIN = "MAIL FROM:<ann@example.org>\nRCPT TO:<b@example.org>\nRCPT TO:<c@example.org>\n"


def notes(said: str, *answers: object, is_tls: bool = False) -> tuple[Note, ...]:
    """Let a client say this, with these answers to its logins; give what is noted."""
    protocol = ServerConnection(
        OFFER, asks_connect=False, asks_mail=False, asks_rcpt=False, is_tls=is_tls
    )
    protocol.receive_data(("EHLO client.test\n" + said).replace("\n", "\r\n").encode())
    left = list(answers)
    while not isinstance(event := protocol.next_event(), Need) or event is NEED_SEND:
        if isinstance(event, Auth):
            answer = left.pop(0)
            if isinstance(answer, Reply):
                protocol.reply(answer)
            else:
                protocol.answer_auth(answer)
        elif isinstance(event, BodyPart) and event.is_last:
            protocol.reply(Reply(250, "2.0.0", "Taken"))
    assert event in (NEED_DATA, NEED_CLOSE)
    taken = protocol.take_notes()
    assert protocol.take_notes() == ()
    return taken


def test_what_is_told_by_events_is_not_noted() -> None:
    assert notes(f"{BEGIN}DATA\nx\n.\n{BEGIN}BDAT 1 LAST\nxRSET\nQUIT\n") == ()


def test_a_login() -> None:
    assert notes(f"AUTH PLAIN {ANN}\n", "annie") == (
        LoginDecided("PLAIN", "ann", "annie", Reply(235, "2.7.0", "Authentication succeeded")),
    )


def test_logins_that_fail() -> None:
    failed = Reply(535, "5.7.8", "Authentication credentials invalid")
    user = base64.b64encode(b"ben").decode()
    assert notes(f"AUTH PLAIN {ANN}\nAUTH LOGIN {user}\n{user}\n", None, None) == (
        LoginDecided("PLAIN", "ann", None, failed),
        LoginDecided("LOGIN", "ben", None, failed),
        ClientCutOff(Reply(421, "4.7.0", "Too many failed logins")),
    )


def test_a_login_that_is_refused() -> None:
    later = Reply(454, "4.7.0", "Later")
    assert notes(f"AUTH PLAIN {ANN}\n", later) == (LoginDecided("PLAIN", "ann", None, later),)


def test_an_external_login() -> None:
    [note] = notes(f"AUTH EXTERNAL {base64.b64encode(b'carl').decode()}\n", "carl", is_tls=True)
    assert isinstance(note, LoginDecided)
    assert (note.mechanism, note.username, note.identity) == ("EXTERNAL", "carl", "carl")


@pytest.mark.parametrize("said", ["AUTH PLAIN !\n", "AUTH LOGIN\n*\n", "AUTH NONE\n"])
def test_what_is_no_login_is_not_noted(said: str) -> None:
    assert notes(said) == ()


@pytest.mark.parametrize(
    "said",
    [
        f"{BEGIN}DATA\n{'x' * 101}\n.\n",
        f"{BEGIN}BDAT 103 LAST\n{'x' * 101}\n",
        f"{BEGIN}BDAT 103\n{'x' * 101}\n",
    ],
    ids=["DATA", "BDAT LAST", "BDAT"],
)
def test_a_message_that_breaks_a_rule(said: str) -> None:
    assert notes(said) == (
        MessageAnswered("ann@example.org", 2, 103, (Reply(552, "5.3.4", "Message too large"),)),
    )


def test_an_answer_before_the_end() -> None:
    protocol = ServerConnection(
        Offer(hostname="mx.test"), asks_connect=False, asks_mail=False, asks_rcpt=False
    )
    protocol.receive_data(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
    protocol.next_event()
    protocol.receive_data(b"x" * 70_000)
    event = protocol.next_event()
    assert isinstance(event, BodyPart)
    assert not event.is_last
    early = Reply(550, "5.7.1", "No")
    protocol.reply(early)
    assert protocol.next_event() is NEED_DATA
    assert protocol.take_notes() == ()
    protocol.receive_data(b"\r\n.\r\n")
    assert protocol.next_event() is NEED_DATA
    assert protocol.take_notes() == (MessageAnswered("", 1, 70_002, (early,)),)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("X\n" * 3, "Too many errors"),
        ("NOOP\n" * 6, "Too many commands without a message"),
        ("GET / HTTP/1.1\n", "This is a mail server, not a web server"),
    ],
)
def test_a_client_that_is_cut_off(said: str, text: str) -> None:
    assert notes(said) == (ClientCutOff(Reply(421, "4.7.0", text)),)


def test_notes_that_nobody_takes_do_not_pile_up() -> None:
    protocol = ServerConnection(
        Offer(hostname="mx.test", max_message_bytes=1),
        asks_connect=False,
        asks_mail=False,
        asks_rcpt=False,
    )
    protocol.receive_data(b"EHLO c\r\n")
    for _ in range(500):
        protocol.receive_data(b"MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nxy\r\n.\r\n")
        assert protocol.next_event() is NEED_DATA
        protocol.data_to_send()
    assert len(protocol.notes) == 256
