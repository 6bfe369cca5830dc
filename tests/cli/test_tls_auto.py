"""`--tls auto`: a certificate made for this run, what it is good for, and what is left of it."""

from __future__ import annotations

import hashlib
import os
import smtplib
import socket
import ssl
import sys
from pathlib import Path

import pytest

from pillarbox.cli.self_signed import self_signed
from tests.cli.program import Program, error_in_process

LISTEN = ("--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--hostname", "mx.test")
NAMES = ("mx.test", "localhost", "127.0.0.1", "::1")


def _certificate(port: int) -> str:
    """Fetch the certificate of a server that begins with TLS."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=20)


def _trusting(pem: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pem)


def _started(program: Program) -> tuple[str, int, int]:
    """Give the fingerprint that it tells, and its ports, plain and with TLS."""
    line = program.line()
    assert " INFO certificate made for this run, SHA-256 fingerprint " in line
    return line.rpartition(" ")[2], program.ready_port(), program.ready_port()


@pytest.mark.parametrize("command", ["catch", "sink"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_client_that_trusts_it(tmp_path: Path, command: str, workers: str) -> None:
    if workers == "2" and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    options = [*LISTEN, "--tls", "auto", "--workers", workers]
    if command == "catch":
        options += ["--http", "none"]
    with Program(command, *options, env={"TMPDIR": str(tmp_path)}) as program:
        fingerprint, plain, tls = _started(program)
        pem = _certificate(tls)
        der = ssl.PEM_cert_to_DER_cert(pem)
        assert hashlib.sha256(der).hexdigest() == fingerprint.replace(":", "").lower()
        for name in NAMES:
            with (
                socket.create_connection(("127.0.0.1", tls), timeout=20) as sock,
                _trusting(pem).wrap_socket(sock, server_hostname=name) as secure,
            ):
                assert secure.recv(100).startswith(b"220 mx.test ")
        with smtplib.SMTP("127.0.0.1", plain) as client:
            client.starttls(context=_trusting(pem))
            client.sendmail("a@b", ["c@d"], b"Subject: Lunch\r\n\r\n")
        # While it serves, and so when it is killed: the key is nowhere but in memory.
        assert list(tmp_path.iterdir()) == []
        status, _ = program.stop()
        assert status == 0


def test_another_name_and_another_run_are_not_trusted() -> None:
    with Program("sink", *LISTEN, "--tls", "auto") as program:
        _, _, tls = _started(program)
        for pem, name in ((_certificate(tls), "mail.test"), (_pem_of_another_run(), "mx.test")):
            with (
                socket.create_connection(("127.0.0.1", tls), timeout=20) as sock,
                pytest.raises(ssl.SSLCertVerificationError),
            ):
                _trusting(pem).wrap_socket(sock, server_hostname=name)


def _pem_of_another_run() -> str:
    with Program("sink", *LISTEN, "--tls", "auto") as program:
        return _certificate(_started(program)[2])


def test_no_two_are_the_same() -> None:
    assert self_signed("mx.test").end_point != self_signed("mx.test").end_point


@pytest.mark.parametrize("hostname", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "a" * 63 + ".test"])
def test_any_name_of_a_host(hostname: str) -> None:
    assert self_signed(hostname).context.cert_store_stats()["x509"] == 0


def test_there_is_nothing_to_read_again(caplog: pytest.LogCaptureFixture) -> None:
    certificates = self_signed("mx.test")
    before = certificates.context
    certificates.refresh()
    certificates.reload()
    assert certificates.context is before
    assert caplog.records == []


@pytest.mark.parametrize(
    ("command", "options", "remedy"),
    [
        (["serve", "app:handler"], ["--tls", "auto"], "write --tls-cert FILE --tls-key FILE"),
        (["sink"], ["--tls", "auto", "--tls-cert", "x.pem"], "--tls-cert gives one; leave one out"),
        (["sink"], ["--tls", "auto", "--tls-key", "x.pem"], "--tls-key gives one; leave one out"),
        (["sink"], ["--tls", "on"], "'on' is not 'auto'"),
        (["sink"], ["--require-tls"], "write --tls-cert FILE --tls-key FILE, or --tls auto"),
        (["serve", "app:handler"], ["--require-tls"], "write --tls-cert FILE --tls-key FILE"),
    ],
)
def test_errors(command: list[str], options: list[str], remedy: str) -> None:
    assert error_in_process(*command, *options).endswith((remedy, f"{remedy}."))


def test_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pillarbox.cli.self_signed")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    error = error_in_process("sink", "--tls", "auto")
    assert 'pip install "pillarbox[tls]"' in error


def test_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert "let TMPDIR name a folder" in error_in_process("sink", "--tls", "auto")
