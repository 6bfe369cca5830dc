"""`pillarbox send`: sends messages from files or standard input.

Here are its options. What is sent, and for whom: letter.py; how the server is got at: access.py;
over the network, with the dialogue or a progress bar: sending.py.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure
from pillarbox.config import ConfigError
from pillarbox.listen import ListenAddress

if TYPE_CHECKING:
    from pillarbox.asyncio.client import TlsMode
    from pillarbox.protocol.event import BodyType
    from pillarbox.protocol.sasl import Password

__all__ = ["send"]

_COUNT = click.IntRange(min=1)


def _address(text: str) -> ListenAddress:
    try:
        address = ListenAddress.parse(text)
    except ConfigError:
        address = ListenAddress()
    if address.path is None and not address.port:
        raise click.BadParameter(
            f"{text!r} is no server; write '127.0.0.1:1025', '[::1]:1025' or 'unix:/path'"
        )
    return address


@command("send", example="echo Hello | pillarbox send --from ann@example.org --to bob@example.org")
@cloup.argument(
    "files",
    nargs=-1,
    metavar="[FILE]...",
    help="The message, with a header or as plain text; - is standard input, as is no file."
    " Several are sent one after the other.",
)
@cloup.option_group(
    "Envelope",
    cloup.option(
        "--from",
        "mail_from",
        metavar="ADDRESS",
        show_default="the message's",
        help="The sender; '<>' for the null sender of a bounce.",
    ),
    cloup.option(
        "--to",
        "rcpt_tos",
        metavar="ADDRESS",
        multiple=True,
        show_default="the message's",
        help="The recipient; again for more.",
    ),
    cloup.option(
        "--body-type",
        default=None,
        show_default="as the message needs",
        type=click.Choice(["7bit", "8bitmime", "binarymime"]),
        help="What to call the octets; binarymime keeps the ends of lines.",
    ),
)
@cloup.option_group(
    "Server",
    cloup.option(
        "--server",
        metavar="HOST:PORT",
        type=_address,
        default="127.0.0.1:1025",
        help="Where to send it; '[::1]:25' and 'unix:/path' do as well.",
    ),
    cloup.option(
        "--hostname",
        metavar="NAME",
        show_default="the machine's",
        help="The name to say EHLO with.",
    ),
)
@cloup.option_group(
    "TLS and AUTH",
    cloup.option("--starttls", is_flag=True, help="Encrypt by STARTTLS, or do not send."),
    cloup.option(
        "--tls",
        is_flag=True,
        envvar="PILLARBOX_SEND_TLS",
        help="Encrypt from the first octet on, as on port 465.",
    ),
    cloup.option(
        "--ca-file",
        metavar="FILE",
        show_default="the system's",
        help="Trust the authorities of this file (PEM).",
    ),
    cloup.option(
        "--insecure",
        is_flag=True,
        help="Do not verify the certificate; without TLS, send the password all the same.",
    ),
    cloup.option(
        "--auth",
        metavar="USER[:PASSWORD]",
        envvar="PILLARBOX_SEND_AUTH",
        help="Log in; asks for the password that is not here or in PILLARBOX_SEND_AUTH.",
    ),
)
@cloup.option_group(
    "Filling a server",
    cloup.option(
        "--count",
        metavar="N",
        type=_COUNT,
        default=1,
        help="Send each so many times, and show how fast.",
    ),
    cloup.option(
        "--connections",
        metavar="N",
        type=_COUNT,
        default=1,
        help="Over so many connections at once.",
    ),
)
def send(
    files: tuple[str, ...],
    mail_from: str | None,
    rcpt_tos: tuple[str, ...],
    body_type: str | None,
    server: ListenAddress,
    hostname: str | None,
    starttls: bool,
    tls: bool,
    ca_file: str | None,
    insecure: bool,
    auth: str | None,
    count: int,
    connections: int,
) -> int:
    """Send a message and show the dialogue, or several and show how many.

    The exit status is 0 where every recipient was accepted, 1 where something was refused, 2 for
    wrong usage, no connection, or not the one that was asked for.
    """
    from pillarbox.cli.access import Access, tls_context
    from pillarbox.cli.letter import read_letter
    from pillarbox.cli.sending import Sending, send_many, send_one

    mode = _mode(server, starttls=starttls, tls=tls, is_insecure=insecure)
    if ca_file is not None and mode is None:
        raise Failure("--ca-file is for TLS; add --starttls or --tls")
    context = tls_context(ca_file, is_insecure=insecure) if mode is not None else None
    login = None if auth is None else _login(auth)
    letters = []
    for file in files or ["-"]:
        try:
            letter = read_letter(
                _read(file),
                mail_from=mail_from,
                rcpt_tos=rcpt_tos,
                is_binary=body_type == "binarymime",
            )
        except Failure as failure:
            if len(files) < 2:
                raise
            raise Failure(f"{file}: {failure.message.removeprefix(f'{file}: ')}") from None
        letters.append(letter)
    body = cast("BodyType | None", body_type and body_type.upper())
    access = Access(server, hostname, tls=mode, context=context, is_insecure=insecure, login=login)
    sending = Sending(letters, access, body=body)
    if count == len(letters) == 1:
        return send_one(sending)
    return send_many(sending, count * len(letters), connections)


def _mode(server: ListenAddress, *, starttls: bool, tls: bool, is_insecure: bool) -> TlsMode | None:
    if starttls and tls:
        raise Failure(
            "--starttls and --tls are two ways to one end; write the one that the port is for:"
            " --tls for 465, --starttls for 25 and 587"
        )
    if (starttls or tls) and server.path is not None and not is_insecure:
        raise Failure("a UNIX socket has no name to hold the certificate to; add --insecure")
    return "starttls" if starttls else "implicit" if tls else None


def _login(text: str) -> Password:
    """Read USER:PASSWORD; ask for the password where there is none and somebody to ask."""
    from pillarbox.protocol.sasl import Password

    user, colon, password = text.partition(":")
    if not user:
        raise Failure("--auth has no user; write USER:PASSWORD, or USER to be asked")
    if not colon:
        if not sys.stderr.isatty():
            raise Failure(
                "--auth has no password, and nobody is here to be asked; write USER:PASSWORD, best"
                " into PILLARBOX_SEND_AUTH, where other users do not see it"
            )
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return Password(user, password)


def _read(file: str) -> bytes:
    if file == "-":
        if sys.stdin.isatty():
            click.echo("Type the message; Ctrl-D on a line of its own ends it.", err=True)
        return sys.stdin.buffer.read()
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{file}: {reason}; name a file, or - for standard input") from None
