"""TLS, AUTH, LMTP and PROXY on the command line, with the clients of the standard library."""

from __future__ import annotations

import json
import os
import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.cli.program import Program, error_in_process, run_in_process

LOCAL = ("--listen", "127.0.0.1:0")
HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")
MESSAGE = b"Subject: Lunch\r\n\r\nAt noon?\r\n"


@dataclass(frozen=True)
class Files:
    """A certificate, its key, and whom to trust for it."""

    certificate: str
    key: str
    authority: str

    @property
    def options(self) -> tuple[str, ...]:
        return ("--tls-cert", self.certificate, "--tls-key", self.key)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    paths = [str(folder / name) for name in ("cert.pem", "key.pem", "authority.pem")]
    for blob in issued.cert_chain_pems:
        blob.write_to_path(paths[0], append=True)
    issued.private_key_pem.write_to_path(paths[1])
    authority.cert_pem.write_to_path(paths[2])
    return Files(*paths)


def port_of(line: str) -> int:
    return int(line.rpartition(":")[2])


def newest(folder: Path) -> dict[str, object]:
    note = json.loads(max(folder.glob("*.json")).read_text())
    assert isinstance(note, dict)
    return note


@pytest.fixture
def submission(files: Files, tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """A submission server: its ports, plain and with TLS, and its folder."""
    logins = tmp_path / "logins"
    logins.write_text(run_in_process("passwd", "ann", stdin="secret\n"))
    mails = tmp_path / "mails"
    more = ("--auth-file", str(logins), "--auth", "ben:b:c", "--require-auth", "--require-tls")
    listen_tls = ("--listen-tls", "127.0.0.1:0")
    options = (*LOCAL, *listen_tls, *files.options, *more, "--dump", str(mails))
    with Program("sink", *options) as program:
        plain, tls = program.line(), program.line()
        assert plain.startswith("listening on smtp://127.0.0.1:")
        assert tls.startswith("listening on smtps://127.0.0.1:")
        yield port_of(plain), port_of(tls), mails


def test_starttls_and_a_login_of_the_file(submission: tuple[int, int, Path], files: Files) -> None:
    port, _, mails = submission
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("MAIL FROM:<a@b>")[0] == 530
        client.starttls(context=files.context())
        assert client.docmd("MAIL FROM:<a@b>")[0] == 503
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@b>")[0] == 530
        client.login("ann", "secret")
        client.sendmail("a@b", ["c@d"], MESSAGE)
    note = newest(mails)
    assert note["auth"] == "ann"
    assert isinstance(note["tls"], dict)
    assert note["tls"]["version"] == "TLSv1.3"


def test_tls_from_the_first_octet_and_a_password_with_a_colon(
    submission: tuple[int, int, Path], files: Files
) -> None:
    _, port, mails = submission
    with smtplib.SMTP_SSL("127.0.0.1", port, context=files.context()) as client:
        client.login("ben", "b:c")
        client.sendmail("a@b", ["c@d"], MESSAGE)
    assert newest(mails)["auth"] == "ben"


def test_catch_takes_any_login() -> None:
    with (
        Program("catch", *LOCAL, "--quiet") as program,
        smtplib.SMTP("127.0.0.1", program.ready_port()) as client,
    ):
        client.login("whoever", "whatever")
        client.sendmail("a@b", ["c@d"], MESSAGE)


# Passwords in the clear

ANY = ("--listen", "0.0.0.0:0")
LOGIN = ("--auth", "ann:secret")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
@pytest.mark.parametrize("more", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_passwords_do_not_cross_a_network_in_the_clear(listen: str, more: tuple[str, ...]) -> None:
    if listen == "[::]:0" and not HAS_IPV6:
        pytest.skip("needs IPv6")
    error = error_in_process("sink", *LOCAL, "--listen", listen, *LOGIN, *more)
    assert error.startswith(f"--auth on {listen[:-1]}")
    assert "write --tls-cert FILE --tls-key FILE, or --tls auto, or --allow-plaintext-auth" in error


def test_a_catcher_with_logins_is_no_exception() -> None:
    assert "--allow-plaintext-auth" in error_in_process("catch", *ANY, *LOGIN)


def test_tls_auto_is_no_remedy_for_every_command(tmp_path: Path) -> None:
    logins = tmp_path / "logins"
    logins.write_text(run_in_process("passwd", "ann", stdin="secret\n"))
    error = error_in_process("serve", "app:handler", *ANY, "--auth-file", str(logins))
    assert "write --tls-cert FILE --tls-key FILE, or --allow-plaintext-auth" in error


def test_unless_that_is_wanted() -> None:
    with (
        Program("sink", *ANY, *LOGIN, "--allow-plaintext-auth") as program,
        smtplib.SMTP("127.0.0.1", program.ready_port()) as client,
    ):
        client.login("ann", "secret")


def test_within_the_machine_passwords_go_in_the_clear(tmp_path: Path) -> None:
    listen = [*LOCAL, "--listen", f"unix:{tmp_path}/smtp.sock"]
    if HAS_IPV6:
        listen += ["--listen", "[::1]:0"]
    with Program("sink", *listen, *LOGIN) as program:
        with smtplib.SMTP("127.0.0.1", program.ready_port()) as client:
            client.login("ann", "secret")
        assert program.stop()[0] == 0


@pytest.mark.parametrize("allowed", [False, True])
def test_a_certificate_is_to_be_used(files: Files, allowed: bool) -> None:
    options = (*ANY, *LOGIN, *files.options, *(["--allow-plaintext-auth"] if allowed else []))
    with (
        Program("sink", *options) as program,
        smtplib.SMTP("127.0.0.1", program.ready_port()) as client,
    ):
        client.ehlo()
        assert client.has_extn("auth") is allowed
        code, _ = client.docmd("AUTH PLAIN AGFubgBzZWNyZXQ=")
        assert code == (235 if allowed else 538)


@pytest.mark.parametrize("secured", [False, True])
def test_catch_takes_any_login_on_any_address(files: Files, secured: bool) -> None:
    options = (*ANY, "--quiet", *(files.options if secured else ()))
    with (
        Program("catch", *options) as program,
        smtplib.SMTP("127.0.0.1", program.ready_port()) as client,
    ):
        client.login("whoever", "whatever")


def test_lmtp(tmp_path: Path) -> None:
    with Program("sink", *LOCAL, "--protocol", "lmtp", "--dump", str(tmp_path)) as program:
        line = program.line()
        assert line.startswith("listening on lmtp://127.0.0.1:")
        with smtplib.LMTP("127.0.0.1", port_of(line)) as client:
            # One recipient: smtplib reads one reply, and LMTP has one for each.
            assert client.sendmail("a@b", ["c@d"], MESSAGE) == {}
    assert newest(tmp_path)["rcpt_tos"] == ["c@d"]


def test_proxy_protocol(tmp_path: Path) -> None:
    options = ("--proxy-protocol", "127.0.0.0/8", "--dump", str(tmp_path))
    with Program("sink", *LOCAL, *options) as program:
        port = port_of(program.line())
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n")
            client = smtplib.SMTP()
            client.sock = first
            client.file = None  # smtplib makes it of the socket
            assert client.getreply()[0] == 220
            client.sendmail("a@b", ["c@d"], MESSAGE)
            client.quit()
    assert newest(tmp_path)["peer"] == ["192.0.2.1", 4711]


def test_xclient(tmp_path: Path) -> None:
    options = ("--xclient", "::1/128", "--xclient", "127.0.0.0/8", "--dump", str(tmp_path))
    with (
        Program("sink", *LOCAL, *options) as program,
        smtplib.SMTP("127.0.0.1", port_of(program.line())) as client,
    ):
        client.ehlo()
        assert client.has_extn("xclient")
        assert client.docmd("XCLIENT", "ADDR=192.0.2.1 PORT=4711 HELO=spike LOGIN=ann")[0] == 220
        client.ehlo()
        client.sendmail("a@b", ["c@d"], MESSAGE)
    envelope = newest(tmp_path)
    assert envelope["peer"] == ["192.0.2.1", 4711]
    assert (envelope["helo"], envelope["auth"]) == ("spike", "ann")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--listen-tls", "127.0.0.1:0"], "write --tls-cert FILE --tls-key FILE"),
        (["--require-tls"], "write --tls-cert FILE --tls-key FILE"),
        (["--tls-key", "key.pem"], "write --tls-cert FILE as well"),
        (["--tls-cert", "nowhere.pem"], "give a PEM file that this user may read"),
        (["--auth", "ann"], "a login is USER:PASSWORD"),
        (["--auth-file", "nowhere"], "give a file of user:hash lines"),
        (["--proxy-protocol", "example.org"], "write one such as 127.0.0.0/8"),
        (["--xclient", "front.example.org"], "write one such as 127.0.0.0/8"),
        (["--protocol", "uucp"], "smtp"),
    ],
)
def test_errors(options: list[str], remedy: str) -> None:
    assert remedy in error_in_process("sink", *LOCAL, *options)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_text("no certificate")
    error = error_in_process("sink", *LOCAL, "--tls-cert", str(path))
    assert "give the certificate and the private key that belongs to it" in error


def test_a_key_that_is_encrypted(files: Files, tmp_path: Path) -> None:
    """OpenSSL would ask for the password at the terminal, which a daemon does not have."""
    key = load_pem_private_key(Path(files.key).read_bytes(), None)
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    error = error_in_process(
        "sink", *LOCAL, "--tls-cert", files.certificate, "--tls-key", str(path)
    )
    assert "both as PEM and not encrypted" in error


def test_a_file_of_logins_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    path.write_text("# staff\nann:secret\n")
    error = error_in_process("sink", *LOCAL, "--auth-file", str(path))
    assert f"{path}, line 2" in error
    assert "pillarbox passwd" in error
    assert "secret" not in error


def test_auth_required_of_nobody() -> None:
    error = error_in_process("sink", *LOCAL, "--require-auth")
    assert "AUTH is required" in error


def test_passwd_shows_no_password() -> None:
    line = run_in_process("passwd", "ann", stdin="secret\n")
    assert line.startswith("ann:SCRAM-SHA-256$")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("user", "stdin", "remedy"),
    [("a:b", "x\n", "no colon"), ("", "x\n", "empty"), ("ann", "\n", "no password was given")],
)
def test_passwd_refuses(user: str, stdin: str, remedy: str) -> None:
    assert remedy in error_in_process("passwd", user, stdin=stdin)
