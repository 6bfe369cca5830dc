"""LMTP on a plain socket."""

from __future__ import annotations

import socket
import time

import pytest

from pillarbox.lmtp import LmtpSession
from pillarbox.protocol.client_event import Outcome
from pillarbox.protocol.client_state import Timeouts
from tests.mailman.fake import FakeMailman

LIST, OTHER = "dev@lists.example.org", "dev-team@lists.example.org"
TEXT = "Subject: hé\r\n\r\n.dot\r\n..\r\nend".encode()


def session(mailman: FakeMailman, seconds: float = 10.0, *, is_alone: bool = True) -> LmtpSession:
    return LmtpSession(
        mailman.address,
        timeouts=Timeouts.all(seconds),
        lone_refusal_seconds=0.05 if is_alone else None,
    )


def replies(outcome: Outcome) -> list[str]:
    return [f"{one.command}: {one.reply}" for one in outcome.recipients]


def test_questions_and_messages() -> None:
    with FakeMailman(LIST, OTHER) as mailman, session(mailman) as client:
        assert replies(client.ask(LIST)) == ["RCPT: 250 Ok"]
        assert replies(client.ask("x@lists.example.org")) == [
            "RCPT: 550 Requested action not taken: mailbox unavailable"
        ]
        outcome = client.send("ann@example.org", [LIST, OTHER], TEXT)
        assert replies(outcome) == ["end of data: 250 Ok"] * 2
        [post] = mailman.posts
        assert (post.sender, post.recipients, post.data) == (
            *("ann@example.org", (LIST, OTHER)),
            TEXT + b"\r\n",
        )
        assert client.is_open
    assert mailman.verbs[1:] == [
        *("MAIL", "RCPT", "RSET", "MAIL", "RCPT"),
        *("RSET", "MAIL", "RCPT", "RCPT", "DATA"),
        *(["QUIT"] if "QUIT" in mailman.verbs else []),
    ]


def test_one_refusal_for_all() -> None:
    with FakeMailman(LIST, OTHER) as mailman, session(mailman) as client:
        outcome = client.send("ann@example.org", [LIST, OTHER], b"A: 1\r\nX-Defect: 1\r\n\r\n")
        assert replies(outcome) == ["end of data: 501 Message has defects"] * 2
        assert not client.is_open
        assert not mailman.posts


@pytest.mark.parametrize("is_alone", [True, False])
def test_the_session_breaks(is_alone: bool) -> None:
    with FakeMailman(LIST) as mailman, session(mailman, is_alone=is_alone) as client:
        mailman.replies["dot"] = None
        outcome = client.send("", [LIST], TEXT)
        assert replies(outcome) == ["None: 421 4.4.2 The connection was lost"]
        assert outcome.is_in_doubt
        assert not client.is_open


def test_it_hangs() -> None:
    with FakeMailman(LIST) as mailman, session(mailman, 0.05) as client:
        mailman.freeze()
        begun = time.monotonic()
        assert replies(client.ask(LIST)) == ["None: 421 4.4.2 The server did not answer in time"]
        assert time.monotonic() - begun < 2
        with pytest.raises(OSError, match=r"no session: 421 .* did not answer"):
            session(mailman, 0.05)


def test_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        LmtpSession(address, timeouts=Timeouts.all(1))


def test_it_wants_no_session() -> None:
    with FakeMailman() as mailman:
        mailman.replies["greeting"] = "554 Go away"
        with pytest.raises(OSError, match="no session: 554 Go away"):
            session(mailman)
        mailman.replies["greeting"] = None
        with pytest.raises(OSError, match=r"no session: 421 .* was lost"):
            session(mailman)
