"""The relay against servers that other people wrote: what leaves it is what came in.

The real program each time, with its spool on the disk. Postfix wants TLS by a certificate that the
relay has to know, and a login; smtp-sink shows what it is spoken to, and can do without extensions;
our own sink stands for a mail store of LMTP.
"""

from __future__ import annotations

import email
import email.message
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.cli.program import Program
from tests.cli.test_relay import HERE, MESSAGE, line_with, listed, mails, sinking, until
from tests.interop.cases import BLANK_LINES, DOTS, LARGE, UTF_8
from tests.interop.postfix import postfix, smtp_sink
from tests.interop.sending import HOST, LOGIN, same

MAILS = tuple(mail.octets for mail in (DOTS, UTF_8, BLANK_LINES, LARGE))
NAMES = ("ben@example.net", "carl@example.net")


@contextmanager
def relaying(folder: Path, *options: str) -> Iterator[tuple[Program, int]]:
    """Run a relay; give it, and its port."""
    own = ("--spool", str(folder / "spool"), "--hostname", "relay.test")
    with Program("relay", *HERE, *own, *options) as program:
        yield program, program.ready_port()


def submit(
    port: int, *messages: bytes, to: tuple[str, ...] = NAMES[:1], notify: str = ""
) -> dict[str, tuple[int, bytes]]:
    """Send messages over one connection; give the recipients that were refused."""
    options = [f"NOTIFY={notify}"] if notify else []
    refused: dict[str, tuple[int, bytes]] = {}
    with smtplib.SMTP(HOST, port, "client.test") as client:
        for octets in messages:
            refused |= client.sendmail("ann@example.org", to, octets, ["BODY=8BITMIME"], options)
    return refused


def behind(octets: bytes, *, hops: int) -> bytes:
    """Give a message without the Received lines that servers put in front of it."""
    for _ in range(hops):
        name, octets = octets.split(b"\r\n", 1)
        assert name.startswith(b"Received: from "), name
        while octets.startswith((b"\t", b" ")):
            octets = octets.split(b"\r\n", 1)[1]
    return octets


def reports(octets: bytes) -> dict[str, str]:
    """Give what a notification says of each recipient."""
    message = email.message_from_bytes(octets)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["To"] == "<ann@example.org>"
    assert [part.defects for part in message.walk()] == [[]] * len(list(message.walk()))
    status = message.get_payload(1)
    assert isinstance(status, email.message.Message)
    assert status.get_content_type() == "message/delivery-status"
    groups = [part for part in status.walk() if part is not status]
    assert groups[0]["Reporting-MTA"] == "dns; relay.test"
    said = {}
    for group in groups[1:]:
        kind, address = group["Final-Recipient"].split("; ")
        assert kind == "rfc822"
        said[address] = f"{group['Action']} {group['Status']}"
    return said


# smtp-sink


def dumped(folder: Path) -> list[tuple[list[str], bytes]]:
    """Give the recipients and the octets of each message that smtp-sink has taken."""
    taken = []
    for path in folder.iterdir():
        # It writes what was said in lines of its own, a Received line, the lines of the message
        # without CR, and an empty one.
        octets = path.read_bytes().removesuffix(b"\n").replace(b"\n", b"\r\n")
        head, message = octets.split(b"Received: ", 1)
        to = [
            line.removeprefix("X-Rcpt-Args: <").partition(">")[0]
            for line in head.decode().splitlines()
            if line.startswith("X-Rcpt-Args: ")
        ]
        taken.append((to, behind(b"Received: " + message, hops=2)))
    return taken


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        ((), "smtp"),
        (("-8", "-p"), "smtp"),  # without 8BITMIME and PIPELINING
        (("-e",), "smtp"),  # HELO alone
        (("-L",), "lmtp"),
    ],
    ids=["esmtp", "plain-esmtp", "helo", "lmtp"],
)
def test_smtp_sink(tmp_path: Path, options: tuple[str, ...], scheme: str) -> None:
    # To a server without 8BITMIME goes what needs none.
    wanted = [octets for octets in MAILS if octets.isascii() or options in ((), ("-L",))]
    with (
        smtp_sink(*options) as (to, folder),
        relaying(tmp_path, "--to", f"{scheme}://{HOST}:{to}") as (program, port),
    ):
        assert submit(port, *wanted, to=NAMES) == {}
        until(lambda: listed(tmp_path) == [])
        assert program.stop()[0] == 0
        taken = sorted(dumped(folder), key=lambda each: each[1])
    assert [to for to, _ in taken] == [list(NAMES)] * len(wanted)
    for sent, (_, got) in zip(sorted(wanted), taken, strict=True):
        same(sent, got)


def test_smtp_sink_that_refuses(tmp_path: Path) -> None:
    with (
        smtp_sink("-r", "RCPT") as (to, _folder),
        relaying(tmp_path, "--to", f"{HOST}:{to}") as (program, port),
    ):
        submit(port, MESSAGE, to=NAMES)
        assert "is deferred for " in line_with(program, "to ben@example.net")
        [queued] = listed(tmp_path)
        assert [one["last_reply"] for one in queued["recipients"]] == [  # type: ignore[attr-defined]
            "450 4.3.0 Error: command failed"
        ] * 2
        assert program.stop()[0] == 0


# Postfix


@pytest.fixture(scope="module")
def next_hop(
    tmp_path_factory: pytest.TempPathFactory, authority: tuple[trustme.CA, Path]
) -> Iterator[tuple[int, Path]]:
    """Run Postfix; give its port, and the folder of what it sends on."""
    folder = tmp_path_factory.mktemp("sent-on")
    signer, path = authority
    certificate = path.with_name("postfix.pem")
    signer.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    with sinking(folder) as to, postfix(certificate, to=to) as port:
        yield port, folder


def login(folder: Path, port: int, authority: Path, password: str = LOGIN[1]) -> tuple[str, ...]:
    """Make the options that name Postfix, and log in there."""
    secret = folder / "password"
    secret.write_text(f"{password}\n")
    to = f"smtp://{LOGIN[0]}@localhost:{port}"
    return ("--to", to, "--to-password-file", str(secret), "--ca-file", str(authority))


def take(folder: Path, count: int) -> list[bytes]:
    """Wait for messages, and take them away."""
    until(lambda: len(mails(folder)) >= count)
    taken = mails(folder)
    for path in (*folder.glob("*.eml"), *folder.glob("*.json")):
        path.unlink()
    return taken


def test_postfix_by_starttls_and_a_login(
    tmp_path: Path, next_hop: tuple[int, Path], authority: tuple[trustme.CA, Path]
) -> None:
    to, folder = next_hop
    with relaying(tmp_path, *login(tmp_path, to, authority[1])) as (program, port):
        assert submit(port, *MAILS) == {}
        until(lambda: listed(tmp_path) == [])
        taken = sorted(behind(octets, hops=2) for octets in take(folder, len(MAILS)))
        status, (relaying_to,) = program.stop()
        assert status == 0
        assert "INFO relaying to " in relaying_to
    for sent, got in zip(sorted(MAILS), taken, strict=True):
        same(sent, got)


def test_postfix_that_knows_some_of_the_recipients(
    tmp_path: Path, next_hop: tuple[int, Path], authority: tuple[trustme.CA, Path]
) -> None:
    to, folder = next_hop
    with relaying(tmp_path, *login(tmp_path, to, authority[1])) as (_, port):
        names = ("nobody@example.net", *NAMES, "Nobody@example.NET")
        assert submit(port, MESSAGE, to=names) == {}
        until(lambda: listed(tmp_path) == [])
        taken = [behind(octets, hops=1) for octets in take(folder, 2)]
    [report] = [octets for octets in taken if b"multipart/report" in octets]
    assert reports(report) == {
        "nobody@example.net": "failed 5.1.1",
        "Nobody@example.NET": "failed 5.1.1",
    }
    [sent] = [octets for octets in taken if octets is not report]
    same(MESSAGE, behind(sent, hops=1))


def test_postfix_of_somebody_else(
    tmp_path: Path, next_hop: tuple[int, Path], authority: tuple[trustme.CA, Path]
) -> None:
    to, folder = next_hop
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with relaying(tmp_path, *login(tmp_path, to, other)) as (program, port):
        submit(port, MESSAGE)
        line = line_with(program, "WARNING")
        assert "the certificate does not verify: " in line
        assert "give who issued it by --ca-file FILE" in line
        assert program.stop()[0] == 0
    with relaying(tmp_path, *login(tmp_path, to, authority[1], "wrong")) as (program, _):
        assert f"the login as {LOGIN[0]} failed: 535 5.7.8" in line_with(program, "WARNING")
        assert program.stop()[0] == 0
    assert len(listed(tmp_path)) == 1
    with relaying(tmp_path, *login(tmp_path, to, authority[1])):
        [octets] = take(folder, 1)
    same(MESSAGE, behind(octets, hops=2))


# A mail store


def test_our_own_sink_by_lmtp(tmp_path: Path) -> None:
    with ExitStack() as stack:
        path, folder = tmp_path / "lmtp", tmp_path / "taken"
        listen = ("--listen", f"unix:{path}", "--protocol", "lmtp", "--dump", str(folder))
        stack.enter_context(Program("sink", *listen)).ready()
        _, port = stack.enter_context(relaying(tmp_path, "--to", f"lmtp:unix:{path}"))
        assert submit(port, *MAILS, to=NAMES) == {}
        taken = sorted(behind(octets, hops=1) for octets in take(folder, len(MAILS)))
        for sent, got in zip(sorted(MAILS), taken, strict=True):
            same(sent, got)
        submit(port, MESSAGE, to=NAMES, notify="SUCCESS")
        message, report = sorted(take(folder, 2), key=lambda octets: b"multipart" in octets)
        same(MESSAGE, behind(message, hops=1))
        assert reports(report) == dict.fromkeys(NAMES, "delivered 2.0.0")
