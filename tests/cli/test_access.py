"""`pillarbox send` with TLS and logins: what is shown, and what is told when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from pillarbox import Config, Server
from pillarbox.asyncio.client_error import SessionError
from pillarbox.certificate import CertificateFiles, Certificates
from pillarbox.cli import pillarbox
from pillarbox.cli.access import Access, tls_context
from pillarbox.listen import ListenAddress
from pillarbox.login import Logins
from pillarbox.testing import Recorder
from tests.asyncio.wire import config
from tests.cli.program import TIME_LIMIT_SECONDS, clean_environment, error_in_process
from tests.conftest import LoopThread

MAIL = b"From: ann@example.org\nTo: bob@example.org\nSubject: hi\n\ntext\n"


class Known(Recorder):
    """A recorder that knows Ann."""

    def __init__(self) -> None:
        super().__init__()
        logins = Logins.read(["ann:secret"])
        self.auth_mechanisms = logins.auth_mechanisms
        self.auth = logins.auth
        self.scram_secret = logins.scram_secret


async def _listening(
    handler: Recorder,
    settings: Config,
    certificates: Certificates | None = None,
    *,
    is_tls: bool = False,
) -> Server:
    server = Server(handler, config=settings, certificates=certificates)
    await server.listen("127.0.0.1", 0, is_tls=is_tls)
    return server


class Submission:
    """A server with four ports: STARTTLS, TLS, logins in the clear, and nothing."""

    def __init__(self, folder: Path, thread: LoopThread) -> None:
        self.recorder = Known()
        self._thread = thread
        self._folder = folder
        authority = trustme.CA()
        self.authority = str(folder / "authority.pem")
        authority.cert_pem.write_to_path(self.authority)
        certificate = folder / "cert.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        certificates = Certificates(CertificateFiles(certificate=certificate))
        offers = config(auth_delay_seconds=0)
        in_the_clear = config(allows_plaintext_auth=True, auth_delay_seconds=0)
        self._servers = [
            thread.run(_listening(self.recorder, offers, certificates)),
            thread.run(_listening(self.recorder, offers, certificates, is_tls=True)),
            thread.run(_listening(self.recorder, in_the_clear)),
            thread.run(_listening(Recorder(), offers)),
        ]
        self.starttls, self.tls, self.plain, self.bare = (
            f"127.0.0.1:{server.port}" for server in self._servers
        )

    def close(self) -> None:
        for server in self._servers:
            self._thread.run(server.close())


@pytest.fixture
def submission(tmp_path: Path) -> Iterator[Submission]:
    thread = LoopThread(asyncio.new_event_loop)
    made = Submission(tmp_path, thread)
    yield made
    made.close()
    thread.close()


def send(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Run the command; it never ends by a traceback."""
    not_ours = dict.fromkeys(os.environ.keys() - clean_environment().keys())
    runner = CliRunner(env={**not_ours, **(env or {})})
    result = runner.invoke(pillarbox, ["send", "--hostname", "c.test", *arguments], input=MAIL)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    return result


def error_of(result: Result) -> str:
    """Give the one line that the command ends with."""
    assert result.exit_code == 2
    *_, last = result.stderr.splitlines()
    assert last.startswith("pillarbox: error: ")
    return last.removeprefix("pillarbox: error: ")


# What is shown


def test_starttls_and_a_login(submission: Submission) -> None:
    result = send(
        *("--server", submission.starttls, "--starttls", "--ca-file", submission.authority),
        *("--auth", "ann:secret"),
    )
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("S: 250-")]
    facts = lines[5]
    assert re.fullmatch(r"T: TLSv1.3, \S+, the certificate is verified for 127\.0\.0\.1", facts)
    assert lines[3:7] == ["C: STARTTLS", "S: 220 2.0.0 Ready to start TLS", facts, "C: EHLO c.test"]
    at = lines.index("C: AUTH SCRAM-SHA-256-PLUS ****")
    assert lines[at + 1] == "S: 334 (challenge)"
    assert lines[at + 2] == "C: (credentials)"
    assert lines[at + 5] == "S: 235 2.7.0 Authentication succeeded"
    assert "secret" not in result.stderr
    [message] = submission.recorder.messages
    assert message.session.identity == "ann"


def test_tls_from_the_first_octet(submission: Submission) -> None:
    result = send("--server", submission.tls, "--tls", "--ca-file", submission.authority)
    assert result.exit_code == 0
    assert result.stderr.startswith("T: TLSv1.3, ")


def test_nobody_has_to_be_trusted(submission: Submission) -> None:
    result = send("--server", submission.tls, "--tls", "--insecure")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0].endswith(", the certificate is not verified")


def test_password_in_the_environment(submission: Submission) -> None:
    result = send(
        *("--server", submission.tls, "--tls", "--insecure"),
        env={"PILLARBOX_SEND_AUTH": "ann:secret", "PILLARBOX_AUTH": "x", "PILLARBOX_TLS": "auto"},
    )
    assert result.exit_code == 0
    assert submission.recorder.messages[0].session.identity == "ann"


def test_filling_a_server(submission: Submission) -> None:
    result = send(
        *("--server", submission.tls, "--tls", "--ca-file", submission.authority),
        *("--auth", "ann:secret", "--count", "6", "--connections", "2"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert [message.session.identity for message in submission.recorder.messages] == ["ann"] * 6


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
def test_password_is_asked_for(submission: Submission, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    ours, theirs = os.openpty()
    command = [
        *(sys.executable, "-m", "pillarbox", "send", "--server", submission.tls, "--tls"),
        *("--insecure", "--auth", "ann", str(tmp_path / "mail")),
    ]
    # A session of its own has no terminal but this one.
    process = subprocess.Popen(
        command,
        env=clean_environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    watchdog = threading.Timer(TIME_LIMIT_SECONDS, process.kill)
    watchdog.start()
    said = b""
    try:
        # What is typed before the question is thrown away, so that nobody sees it.
        while b"Password of ann: " not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"secret\n")
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while octets := os.read(ours, 1000):
                said += octets
        assert process.wait(TIME_LIMIT_SECONDS) == 0, said
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        os.close(ours)
    assert b"235 2.7.0" in said
    assert b"secret" not in said
    assert submission.recorder.messages[0].session.identity == "ann"


# Why not: one line that names the remedy


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("mode", ["--tls", "--starttls"])
def test_certificate_that_does_not_verify(submission: Submission, mode: str, count: str) -> None:
    address = submission.tls if mode == "--tls" else submission.starttls
    error = error_of(send("--server", address, mode, "--count", count))
    assert error == (
        f"{address}: the certificate does not verify: unable to get local issuer certificate; give"
        " who issued it by --ca-file FILE, or --insecure to go on without knowing who answers"
    )


def test_certificate_of_another_name(submission: Submission) -> None:
    address = submission.tls.replace("127.0.0.1", "localhost")
    error = error_of(send("--server", address, "--tls", "--ca-file", submission.authority))
    assert error.startswith(f"{address}: the certificate does not verify: Hostname mismatch, ")
    assert "; write --server with a name that the certificate has, or --insecure" in error


def test_no_starttls(submission: Submission) -> None:
    error = error_of(send("--server", submission.bare, "--starttls"))
    assert error == (
        f"{submission.bare}: the server offers no STARTTLS; leave --starttls out to send in the"
        " clear, or use --tls with the server's port for that"
    )


@pytest.mark.parametrize("count", ["1", "2"])
def test_login_refused(submission: Submission, count: str) -> None:
    error = error_of(
        send(
            *("--server", submission.tls, "--tls", "--insecure", "--auth", "ann:wrong"),
            *("--count", count),
        )
    )
    assert error == (
        f"{submission.tls}: the login as ann failed: 535 5.7.8 Authentication credentials invalid;"
        " check the name and the password"
    )


def test_no_login(submission: Submission) -> None:
    address = submission.bare
    error = error_of(send("--server", address, "--auth", "ann:secret"))
    assert error.startswith(f"{address}: the server offers no login; add --starttls or --tls")


def test_login_only_within_tls(submission: Submission) -> None:
    error = error_of(send("--server", submission.starttls, "--auth", "ann:secret"))
    assert "the server offers no login; add --starttls or --tls, or leave --auth out" in error


class _Scripted(socketserver.StreamRequestHandler):
    """A server that says each of its lines after the next thing it hears."""

    lines: tuple[str, ...] = ()

    def handle(self) -> None:
        for line in self.lines:
            self.wfile.write(line.encode() + b"\r\n")
            self.rfile.readline()


def told_by(*lines: str, arguments: tuple[str, ...]) -> str:
    """Give the error that a server makes by saying these."""
    handler = type("Saying", (_Scripted,), {"lines": lines})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            result = send("--server", f"127.0.0.1:{server.server_address[1]}", *arguments)
        finally:
            server.shutdown()
            thread.join()
    address, _, error = error_of(result).partition(": ")
    assert address == f"127.0.0.1:{server.server_address[1]}"
    assert "secret" not in result.stderr
    return error


LOGIN = ("--auth", "ann:secret")


@pytest.mark.parametrize(
    ("lines", "arguments", "error"),
    [
        (
            ("220 a", "250-a\r\n250 AUTH PLAIN", "221 Bye"),
            LOGIN,
            "the password would go where everybody on the way can read it; add --starttls or"
            " --tls, or --insecure to let it go",
        ),
        (
            ("220 a", "250-a\r\n250 AUTH CRAM-MD5", "221 Bye"),
            LOGIN,
            "the login failed: 504 5.5.4 The server offers no mechanism that these credentials"
            " serve; leave --auth out, or use another server",
        ),
        (
            ("220 a", "250-a\r\n250 AUTH SCRAM-SHA-256", "221 Bye"),
            ("--auth", "ann:\x01secret"),
            "--auth: the name or the password has what SCRAM does not allow; no login is possible"
            " with it",
        ),
        (
            ("220 mx ESMTP", ""),
            ("--tls",),
            "the server began without TLS, by '220 mx ESMTP'; write --starttls in place of --tls,"
            " or the server's port for TLS",
        ),
        (
            ("220 a", "250-a\r\n250 STARTTLS", "454 4.7.0 Not now", "221 Bye"),
            ("--starttls",),
            "the server refuses STARTTLS: 454 4.7.0 Not now; try again later",
        ),
        (
            ("220 a", "250-a\r\n250 STARTTLS", "220 Go", "250 OK"),
            ("--starttls",),
            "where TLS was due the server said in the clear: 250 OK; the message was not delivered",
        ),
        (
            ("220 a", "250-a\r\n250 STARTTLS", "220 Go\r\n250 AUTH"),
            ("--starttls",),
            "the server broke the protocol: octets in the clear came where the TLS handshake is"
            " due; the message was not delivered, try again",
        ),
    ],
)
def test_why_not(lines: tuple[str, ...], arguments: tuple[str, ...], error: str) -> None:
    assert told_by(*lines, arguments=arguments) == error


def test_a_password_may_be_let_go(submission: Submission) -> None:
    result = send("--server", submission.plain, "--auth", "ann:secret", "--insecure")
    assert result.exit_code == 0
    assert submission.recorder.messages[0].session.identity == "ann"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--tls", "--starttls"), "two ways to one end; write the one that the port is for"),
        (("--ca-file", "x.pem"), "--ca-file is for TLS; add --starttls or --tls"),
        (("--tls", "--ca-file", "/no/x.pem"), "x.pem: No such file or directory; give a PEM file"),
        (("--auth", "ann"), "nobody is here to be asked; write USER:PASSWORD"),
        (("--auth", ":secret"), "--auth has no user; write USER:PASSWORD"),
        (("--tls", "--server", "unix:/tmp/x"), "a UNIX socket has no name to hold the certificate"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], error: str) -> None:
    assert error in error_in_process("send", *arguments)


def test_a_file_of_authorities_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    path.write_text("nothing")
    error = error_in_process("send", "--tls", "--ca-file", str(path))
    assert error.startswith(f"--ca-file {path}: ")
    assert error.endswith("; give a PEM file of the authorities to trust")


# A server that says nothing


def opened(access: Access) -> str:
    """Open a session, and give what is told of it."""

    async def main() -> str:
        try:
            async with access.session() as client:
                return str(client.protocol.greeting)
        except (OSError, SessionError) as error:
            return access.failure(error).message

    return asyncio.run(main())


def test_a_port_that_wants_tls(submission: Submission) -> None:
    address = ListenAddress.parse(submission.tls)
    assert opened(Access(address, "c.test", silence_seconds=0.2)) == (
        f"{submission.tls}: this port seems to want TLS from the first octet: use --tls"
    )


def test_a_server_that_takes_its_time() -> None:
    asked = threading.Event()

    class Slow(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # The second one asks for TLS, and hears something else.
            if self.server.first is None:  # type: ignore[attr-defined]  # below
                self.server.first = self.request  # type: ignore[attr-defined]  # below
                assert asked.wait(TIME_LIMIT_SECONDS)
                self.request.sendall(b"220 slow.test\r\n")
                self.request.recv(1000)
                self.request.sendall(b"250 slow.test\r\n")
                self.request.recv(1000)
                self.request.sendall(b"221 Bye\r\n")
            else:
                assert self.request.recv(1000).startswith(b"\x16\x03")
                asked.set()
                self.request.recv(1000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow) as server:
        server.first = None  # type: ignore[attr-defined]  # which came first
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            address = ListenAddress.parse(f"127.0.0.1:{server.server_address[1]}")
            assert opened(Access(address, "c.test", silence_seconds=0.2)) == "220 slow.test"
        finally:
            server.shutdown()
            thread.join()


def test_a_context_for_anybody() -> None:
    assert not tls_context(None, is_insecure=True).check_hostname
    assert tls_context(None, is_insecure=False).check_hostname
