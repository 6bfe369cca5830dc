"""`pillarbox send`: sends a message from a file or standard input.

Here are its options. What is sent, and for whom: letter.py; over the network, with the dialogue
or a progress bar: sending.py.
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
    from pillarbox.protocol.event import BodyType

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
    "file",
    default="-",
    metavar="[FILE]",
    help="The message, with a header or as plain text; - is standard input.",
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
    "Filling a server",
    cloup.option(
        "--count",
        metavar="N",
        type=_COUNT,
        default=1,
        help="Send it so many times, and show how fast.",
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
    file: str,
    mail_from: str | None,
    rcpt_tos: tuple[str, ...],
    body_type: str | None,
    server: ListenAddress,
    hostname: str | None,
    count: int,
    connections: int,
) -> int:
    """Send a message and show the dialogue.

    The exit status is 0 where every recipient was accepted, 1 where something was refused, 2 for
    wrong usage or no connection.
    """
    from pillarbox.cli.letter import read_letter
    from pillarbox.cli.sending import Sending, send_many, send_one

    letter = read_letter(
        _read(file),
        mail_from=mail_from,
        rcpt_tos=rcpt_tos,
        is_binary=body_type == "binarymime",
    )
    body = cast("BodyType | None", body_type and body_type.upper())
    sending = Sending(letter, server, body=body, hostname=hostname)
    return send_one(sending) if count == 1 else send_many(sending, count, connections)


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
