"""SIGTERM in the middle of everything: what is open ends as it would have, and then the program."""

from __future__ import annotations

import signal
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.program import Client, Program

LOCAL = ("--listen", "127.0.0.1:0")
EVERYWHERE = pytest.mark.parametrize(
    ("workers", "loop"), [("1", "asyncio"), ("1", "uvloop"), ("2", "asyncio"), ("2", "uvloop")]
)


def _insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def _serving(*options: str, workers: str, loop: str) -> Iterator[tuple[Program, int]]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program("sink", *LOCAL, *options, "--workers", workers, "--loop", loop) as program:
        if "--tls" in options:
            program.line()  # the fingerprint
        yield program, program.ready_port()


def _messages(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("*.eml"))


@EVERYWHERE
def test_messages_by_tls_and_in_chunks(tmp_path: Path, workers: str, loop: str) -> None:
    options = ("--tls", "auto", "--dump", str(tmp_path))
    with (
        _serving(*options, workers=workers, loop=loop) as (program, port),
        smtplib.SMTP("127.0.0.1", port, timeout=20) as secret,
        smtplib.SMTP("127.0.0.1", port, timeout=20) as late,
        Client(port) as chunked,
        Client(port) as idle,
    ):
        for client in (secret, late):
            client.starttls(context=_insecure())
            client.ehlo()
            client.mail("ann@example.org")
            client.rcpt("bob@example.org")
        assert secret.docmd("DATA")[0] == 354
        chunked.say("EHLO client.test")
        chunked.say("MAIL FROM:<ann@example.org>")
        chunked.say("RCPT TO:<bob@example.org>")
        chunked.send(b"BDAT 4\r\none,")
        assert chunked.reply().startswith("250 ")
        chunked.send(b"BDAT 6 LAST\r\n tw")  # in the middle of a chunk

        program.signal(signal.SIGTERM)
        assert idle.reply().startswith("421 ")
        chunked.send(b"o\r\n")
        assert chunked.reply().startswith("250 ")
        assert chunked.reply().startswith("421 ")
        secret.send(b"three\r\n.\r\n")
        assert secret.getreply()[0] == 250
        assert secret.getreply()[0] == 421
        # One that has yet to say DATA is in a transaction too.
        assert late.data(b"four")[0] == 250
        assert late.getreply()[0] == 421
        assert program.ended() == (0, [])
    assert _messages(tmp_path) == [b"four\r\n", b"one, two\r\n", b"three\r\n"]


@EVERYWHERE
def test_a_login_ends_and_a_handshake_is_not_waited_for(workers: str, loop: str) -> None:
    options = ("--tls", "auto", "--auth", "ann:secret", "--allow-plaintext-auth")
    with (
        _serving(*options, workers=workers, loop=loop) as (program, port),
        Client(port) as clear,
        Client(port) as shaking,
        smtplib.SMTP("127.0.0.1", port, timeout=20) as secret,
        Client(port) as idle,
    ):
        clear.say("EHLO client.test")
        assert clear.say("AUTH PLAIN").startswith("334 ")
        assert shaking.say("STARTTLS").startswith("220 ")
        secret.starttls(context=_insecure())
        secret.ehlo()
        assert secret.docmd("AUTH PLAIN")[0] == 334

        program.signal(signal.SIGTERM)
        assert idle.reply().startswith("421 ")
        assert clear.say("AGFubgBzZWNyZXQ=").startswith("235 ")
        assert clear.reply().startswith("421 ")
        assert secret.docmd("AGFubgBzZWNyZXQ=")[0] == 235
        assert secret.getreply()[0] == 421
        assert program.ended()[0] == 0


@pytest.mark.parametrize(("workers", "loop"), [("1", "asyncio"), ("2", "uvloop")])
def test_every_recipient_of_lmtp_is_answered(tmp_path: Path, workers: str, loop: str) -> None:
    options = ("--protocol", "lmtp", "--dump", str(tmp_path))
    with (
        _serving(*options, workers=workers, loop=loop) as (program, port),
        Client(port) as busy,
        Client(port) as idle,
    ):
        busy.say("LHLO client.test")
        busy.say("MAIL FROM:<ann@example.org>")
        for name in ("bob", "cora"):
            busy.say(f"RCPT TO:<{name}@example.org>")
        assert busy.say("DATA").startswith("354")
        program.signal(signal.SIGTERM)
        assert idle.reply().startswith("421 ")
        busy.send(b"five\r\n.\r\n")
        assert [busy.reply()[:3] for _ in range(3)] == ["250", "250", "421"]
        assert program.ended() == (0, [])
    assert _messages(tmp_path) == [b"five\r\n"]


@EVERYWHERE
def test_second_signal_ends_a_transaction_in_tls(workers: str, loop: str) -> None:
    with (
        _serving("--tls", "auto", workers=workers, loop=loop) as (program, port),
        smtplib.SMTP("127.0.0.1", port, timeout=20) as busy,
        Client(port) as idle,
    ):
        busy.starttls(context=_insecure())
        busy.ehlo()
        busy.mail("ann@example.org")
        program.signal(signal.SIGTERM)
        assert idle.reply().startswith("421 ")
        program.signal(signal.SIGINT)
        assert program.ended() == (-signal.SIGINT, [])
        with pytest.raises(smtplib.SMTPServerDisconnected):
            busy.noop()
