"""Clients that are libraries: smtplib is called here, the others by a script in their language.

A script reads one JSON object from standard input, sends what it says, and ends with a status
other than 0 when that was not possible. All of them take a message whole.
"""

from __future__ import annotations

import functools
import json
import os
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path

from tests.interop.programs import PERL_PACKAGES
from tests.interop.sending import HOST, TIME_LIMIT_SECONDS, Client, NotSent, Sending, run

__all__ = ["CACHE", "LIBRARIES"]

SCRIPTS = Path(__file__).parent / "scripts"
CACHE = Path(__file__).parents[2] / ".interop"
"""Where `make interop-clients` puts what is not installed on the machine; git ignores it."""


def with_smtplib(sending: Sending) -> None:
    try:
        _with_smtplib(sending)
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(repr(error)) from error


def _with_smtplib(sending: Sending) -> None:
    context = ssl.create_default_context(cafile=sending.authority)
    client: smtplib.SMTP
    if sending.security == "tls":
        client = smtplib.SMTP_SSL(
            HOST, sending.port, "client.test", context=context, timeout=TIME_LIMIT_SECONDS
        )
    else:
        kind = smtplib.LMTP if sending.is_lmtp else smtplib.SMTP
        client = kind(HOST, sending.port, "client.test")
    with client:
        if sending.security == "starttls":
            client.starttls(context=context)
        client.ehlo()
        if sending.mechanism:
            client.user, client.password = sending.user, sending.password
            answer = getattr(client, f"auth_{sending.mechanism.lower()}")
            client.auth(sending.mechanism, answer)
        options = ("SMTPUTF8", "BODY=8BITMIME") if sending.is_smtputf8 else ()
        for mail in sending.mails:
            client.sendmail(sending.mail_from, sending.rcpt_tos, mail.octets, options)


# By a script, in a process of its own


def _order(sending: Sending) -> bytes:
    """Write down what a script has to send."""
    order = {
        "host": HOST,
        "port": sending.port,
        "authority": str(sending.authority),
        "security": sending.security,
        "mechanism": sending.mechanism,
        "user": sending.user,
        "password": sending.password,
        "lmtp": sending.is_lmtp,
        "smtputf8": sending.is_smtputf8,
        "chunked": sending.is_chunked,
        "mail_from": sending.mail_from,
        "rcpt_tos": sending.rcpt_tos,
        "messages": [str(path) for path in sending.files()],
    }
    return json.dumps(order).encode()


def with_aiosmtplib(sending: Sending) -> None:
    # It leaves its transport behind when it has quit, which is an error in a test's process.
    run(sending, sys.executable, SCRIPTS / "with_aiosmtplib.py", stdin=_order(sending))


def perl(sending: Sending) -> None:
    run(sending, "perl", SCRIPTS / "net_smtp.pl", stdin=_order(sending))


def ruby(sending: Sending) -> None:
    run(sending, "ruby", SCRIPTS / "net_smtp.rb", stdin=_order(sending))


def node(sending: Sending) -> None:
    modules = {"NODE_PATH": str(CACHE / "node_modules")}
    run(sending, "node", SCRIPTS / "nodemailer.js", stdin=_order(sending), env=modules)


def go(sending: Sending) -> None:
    run(sending, _go_program(), stdin=_order(sending))


@functools.cache
def _go_program() -> Path:
    """Compile the script; Go's own cache knows when that is not necessary."""
    CACHE.mkdir(exist_ok=True)
    program = CACHE / "net_smtp"
    subprocess.run(
        ["go", "build", "-o", program, SCRIPTS / "net_smtp.go"],
        check=True,
        # Without C there need be no C compiler, without modules no network.
        env={**os.environ, "GOCACHE": str(CACHE / "go"), "CGO_ENABLED": "0", "GO111MODULE": "off"},
    )
    return program


_NO_LMTP = {"lmtp": "no LMTP", "lmtp-2-recipients": "no LMTP"}
_NO_SCRAM = {"login-scram-sha-256": "no SCRAM"}
_NO_BDAT = {"bdat": "no BDAT"}
_NO_PIPELINING = {"pipelining": "no PIPELINING"}

LIBRARIES = (
    Client(
        name="smtplib",
        send=with_smtplib,
        cannot={
            **_NO_SCRAM,
            **_NO_BDAT,
            **_NO_PIPELINING,
            "lmtp-2-recipients": "it reads one reply to a message, LMTP has one a recipient",
        },
    ),
    Client(
        name="aiosmtplib",
        send=with_aiosmtplib,
        needs=(sys.executable, "-c", "import aiosmtplib"),
        cannot={**_NO_LMTP, **_NO_SCRAM, **_NO_BDAT, **_NO_PIPELINING},
    ),
    Client(
        name="Net::SMTP",
        send=perl,
        needs=("perl", "-e", "use Net::SMTP; use IO::Socket::SSL; use Authen::SASL; use JSON::PP"),
        debian=("perl", *PERL_PACKAGES),
        cannot={
            **_NO_LMTP,
            **_NO_SCRAM,
            **_NO_PIPELINING,
            "smtputf8-address": "no parameter SMTPUTF8",
        },
    ),
    Client(
        name="ruby",
        send=ruby,
        needs=("ruby", "-rnet/smtp", "-ropenssl", "-rjson", "-e", ""),
        debian=("ruby",),
        cannot={**_NO_LMTP, **_NO_SCRAM, **_NO_BDAT, **_NO_PIPELINING},
    ),
    Client(
        name="go",
        send=go,
        needs=("go", "version"),
        debian=("golang-go",),
        cannot={
            **_NO_LMTP,
            **_NO_SCRAM,
            **_NO_BDAT,
            **_NO_PIPELINING,
            "login-login": "no LOGIN",
        },
    ),
    Client(
        name="nodemailer",
        send=node,
        needs=("node", "-e", f"require({json.dumps(str(CACHE / 'node_modules/nodemailer'))})"),
        debian=("npm",),
        cannot={**_NO_SCRAM, **_NO_BDAT, **_NO_PIPELINING},
    ),
)
