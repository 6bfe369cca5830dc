"""What a client is told to send, what a client is, and what is compared afterwards.

The clients themselves are in clients.py (programs) and languages.py (libraries), the cases in
cases.py.
"""

from __future__ import annotations

import email
import email.policy
import os
import quopri
import subprocess
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from pathlib import Path
from typing import Literal

import pytest

from tests.cli.program import clean_environment

__all__ = [
    "HOST",
    "LOGIN",
    "TIME_LIMIT_SECONDS",
    "Client",
    "Installed",
    "Mail",
    "NotSent",
    "Sending",
    "leave",
    "run",
    "same",
]

HOST = "127.0.0.1"
LOGIN = ("ann", "s3cret word")
"""What the servers under test accept."""

TIME_LIMIT_SECONDS = 30

Security = Literal["none", "starttls", "tls"]


@dataclass(frozen=True, slots=True)
class Mail:
    """A message: a subject for the header, and a body to the octet."""

    body: bytes
    subject: str = "Lunch"

    @property
    def octets(self) -> bytes:
        """The message as it is given to a client that takes it whole."""
        header = (
            "From: ann@example.org\r\n"
            "To: ben@example.org\r\n"
            f"Subject: {self.subject}\r\n"
            "MIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: 8bit\r\n"
            "\r\n"
        )
        return header.encode() + self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One run of a client: all that it is told.

    Attributes:
        folder: Where it may leave files.
        authority: A file with the certificate that signed the server's.
        mechanism: How to log in, by its SASL name; `None` is not at all.
        password: The one to log in by; a test may want it wrong.
        is_smtputf8: Whether an address needs SMTPUTF8.
        is_chunked: Whether to send by BDAT, with octets as they are.
    """

    port: int
    folder: Path
    authority: Path
    mails: tuple[Mail, ...]
    mail_from: str
    rcpt_tos: tuple[str, ...]
    security: Security = "none"
    mechanism: str | None = None
    user: str = LOGIN[0]
    password: str = LOGIN[1]
    is_lmtp: bool = False
    is_smtputf8: bool = False
    is_chunked: bool = False
    is_pipelined: bool = False

    @property
    def mail(self) -> Mail:
        """The message, where there is one."""
        (mail,) = self.mails
        return mail

    def files(self, *, line_end: bytes = b"\r\n") -> list[Path]:
        """Write the messages, one a file."""
        paths = []
        for number, mail in enumerate(self.mails, 1):
            path = self.folder / f"{number}.eml"
            path.write_bytes(mail.octets.replace(b"\r\n", line_end))
            paths.append(path)
        return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A program that other people wrote.

    Attributes:
        needs: A command that ends well where it is installed.
        debian: The packages of Debian that bring it.
    """

    name: str
    needs: Sequence[str] = ()
    debian: tuple[str, ...] = ()

    def is_here(self) -> bool:
        """Whether this machine has it."""
        try:
            done = (
                subprocess.run(self.needs, capture_output=True, check=False) if self.needs else None
            )
        except OSError:
            return False
        return done is None or done.returncode == 0

    def want(self) -> None:
        """Leave the test that runs where it is not here."""
        if not self.is_here():
            leave(f"{self.name} is not here; `make interop-clients` installs it")


def leave(why: str) -> None:
    """Skip the test that runs; where tests have to be whole, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client(Installed):
    """A client of SMTP.

    Attributes:
        send: Sends, or raises NotSent.
        composes: Whether it makes the header itself and may encode the body. Then subject, sender
            and the decoded body are compared, otherwise every octet.
        cannot: The cases it is not made for, each with the reason.
    """

    send: Callable[[Sending], None]
    composes: bool = False
    cannot: Mapping[str, str] = field(default_factory=dict)

    def compare(self, mail: Mail, stored: bytes, *, is_chunked: bool = False) -> None:
        """Hold what was stored against what was to be sent, to the octet."""
        # Mail data is lines (RFC 5321 §4.1.1.4): a client ends the last one. BDAT carries octets.
        end = b"" if is_chunked or mail.body.endswith(b"\r\n") else b"\r\n"
        if not self.composes:
            same(mail.octets + end, stored)
            return
        parsed = email.message_from_bytes(stored, policy=email.policy.compat32)
        assert str(make_header(decode_header(parsed["Subject"]))) == mail.subject
        assert "@example.org" in str(make_header(decode_header(parsed["From"])))
        body = stored.partition(b"\r\n\r\n")[2]
        encoding = str(parsed.get("Content-Transfer-Encoding", "7bit")).lower()
        if encoding in _DECODERS:  # and then there need be no line end
            same(mail.body, _DECODERS[encoding](body))
        else:
            same(mail.body + end, body)


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "quoted-printable": quopri.decodestring,
    "base64": b64decode,
}


def same(wanted: bytes, got: bytes) -> None:
    """Compare megabytes, and tell in a line where they part."""
    if wanted == got:
        return
    at = next(
        (at for at, pair in enumerate(zip(wanted, got, strict=False)) if pair[0] != pair[1]),
        min(len(wanted), len(got)),
    )
    around = slice(max(at - 40, 0), at + 40)
    raise AssertionError(
        f"{len(wanted)} octets were sent and {len(got)} stored; they part at {at}:"
        f" {wanted[around]!r} became {got[around]!r}"
    )


class NotSent(Exception):
    """The client says that the message did not go."""


def run(
    sending: Sending, *command: str | Path, stdin: bytes = b"", env: Mapping[str, str] = {}
) -> None:
    """Run a client that is a program, its configuration out of sight.

    Raises:
        NotSent: It ended with an error; the message holds what it said.
    """
    environment = clean_environment(
        HOME=str(sending.folder), TMPDIR=str(sending.folder), LC_ALL="C.UTF-8", **env
    )
    arguments = [str(part) for part in command]
    done = subprocess.run(
        arguments,
        input=stdin,
        env=environment,
        cwd=sending.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace")[-4000:]
        raise NotSent(f"{arguments[0]} ended with {done.returncode}:\n{said}")
