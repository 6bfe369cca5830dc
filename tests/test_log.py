"""Records about a session: whose they are, and nothing in them that drives a terminal."""

from __future__ import annotations

import logging

import pytest

from pillarbox.envelope import Session
from pillarbox.log import peer_text, visible
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.server import ServerConnection

EVIL = "a\r\nb\x1b[31m\x9b\x00\u2028\u202e\ud800é"
SHOWN = r"a\r\nb\x1b[31m\x9b\x00\u2028\u202e\ud800é"


def session(peer: tuple[str, int] | str = ("192.0.2.1", 49152)) -> Session:
    protocol = ServerConnection(Offer(hostname="mx.test"))
    return Session(protocol, id="3f9a1c-17", peer=peer, local=("192.0.2.25", 25))


def test_visible() -> None:
    assert visible(EVIL) == SHOWN


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (("192.0.2.1", 49152), "192.0.2.1:49152"),
        (("2001:db8::1", 49152), "[2001:db8::1]:49152"),
        ("/run/client", "/run/client"),
        ("", "a UNIX socket"),
    ],
)
def test_peer_text(peer: tuple[str, int] | str, text: str) -> None:
    assert peer_text(peer) == text


def test_what_a_record_has(caplog: pytest.LogCaptureFixture) -> None:
    """As any handler of `logging` gets it."""
    session().log.warning("%s has %d messages of %.1f octets", EVIL, 3, 2.5, extra={"more": 1})
    [record] = caplog.records
    assert record.getMessage() == f"3f9a1c-17: {SHOWN} has 3 messages of 2.5 octets"
    assert vars(record)["session"] == "3f9a1c-17"
    assert vars(record)["peer"] == "192.0.2.1:49152"
    assert vars(record)["more"] == 1
    assert record.name == "pillarbox"
    assert record.filename == "test_log.py"
    assert record.funcName == "test_what_a_record_has"


@pytest.mark.parametrize("text", ["100%", "100 % sure", "%s", "%%"])
def test_no_argument_nothing_to_fill_in(caplog: pytest.LogCaptureFixture, text: str) -> None:
    session().log.warning(text)
    assert caplog.records[0].getMessage() == f"3f9a1c-17: {text}"


def test_an_exception_is_made_visible_too(caplog: pytest.LogCaptureFixture) -> None:
    session(f"/run/{EVIL}").log.error("broken: %s", ValueError(EVIL))
    [record] = caplog.records
    assert record.getMessage() == f"3f9a1c-17: broken: {SHOWN}"
    assert vars(record)["peer"] == f"/run/{SHOWN}"


def test_a_traceback_comes_along(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("x")
    except ValueError:
        session().log.exception("failed")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def test_nothing_is_made_of_what_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Never:
        def __str__(self) -> str:
            raise AssertionError

    caplog.set_level(logging.WARNING, "pillarbox")
    session().log.info("%s", Never())
    assert caplog.records == []
