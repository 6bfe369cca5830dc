"""`pillarbox relay`: accepts, stores durably, delivers to the next server.

Here are its options. What they come to, and what is wrong with them: relay_config.py; what runs:
relaying.py. The spool's own command is queue.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.duration import Duration
from pillarbox.cli.options import Listening, listening_options
from pillarbox.cli.rate import MessageRate
from pillarbox.cli.spool_place import DEFAULT_SPOOL

__all__ = ["relay"]


_COUNT = click.IntRange(min=1)


@command("relay", example="pillarbox relay --to smtps://me@smtp.example.org --to-password-file F")
@cloup.option_group(
    "Where mail goes",
    cloup.option(
        "--to",
        metavar="HOST:PORT",
        envvar="PILLARBOX_RELAY_TO",
        help="The next server. 'smtps://USER@HOST:465' and 'smtp://USER@HOST' log in,"
        " under TLS always; 'lmtp://HOST:24' and 'lmtp:unix:/path' are mail stores.",
    ),
    cloup.option("--mx", is_flag=True, help="Deliver to the servers that DNS names."),
    cloup.option(
        "--to-password-file",
        metavar="FILE",
        type=Path,
        help="The password of --to, as the file's first line.",
    ),
    cloup.option(
        "--ca-file",
        metavar="FILE",
        show_default="the system's",
        help="Trust the authorities of this file (PEM) to know --to.",
    ),
)
@cloup.option_group(
    "Who may send",
    cloup.option(
        "--allow-network",
        metavar="CIDR",
        multiple=True,
        help="Clients that may send anywhere, beside this machine's and those that have"
        " logged in; again for more.",
    ),
    cloup.option(
        "--allow-domain",
        metavar="DOMAIN",
        multiple=True,
        help="Recipients that anybody may send to; again for more.",
    ),
    cloup.option(
        "--allow-local/--no-allow-local",
        default=True,
        help="Whether this machine's programs may send anywhere; not where a proxy here"
        " hides its clients.",
    ),
    cloup.option(
        "--open-relay-on-purpose",
        is_flag=True,
        help="Take networks as wide as the Internet for --allow-network.",
    ),
)
@cloup.option_group(
    "Spool",
    cloup.option(
        "--spool",
        metavar="PATH|URL",
        default=DEFAULT_SPOOL,
        help="The folder that keeps messages until they are delivered; or a database that"
        " several relays share: 'postgresql://USER@HOST/NAME'.",
    ),
    cloup.option(
        "--first-retry",
        metavar="TIME",
        type=Duration(),
        default="5m",
        help="When to try again; after twice as long each time from then on.",
    ),
    cloup.option(
        "--longest-retry",
        metavar="TIME",
        type=Duration(),
        default="4h",
        help="The longest wait between attempts.",
    ),
    cloup.option(
        "--lifetime",
        metavar="TIME",
        type=Duration(),
        default="5d",
        help="Give a message up after so long, and tell its sender.",
    ),
    cloup.option(
        "--delay-notice",
        metavar="TIME",
        type=Duration(),
        default="4h",
        help="Tell the sender after so long that a message still waits.",
    ),
    cloup.option(
        "--lease",
        metavar="TIME",
        type=Duration(),
        default="5m",
        help="In a shared spool: what a relay that is gone was trying, another tries after so"
        " long.",
    ),
    cloup.option(
        "--max-sessions",
        metavar="N",
        type=_COUNT,
        default=200,
        help="The most sessions with other servers at once.",
    ),
    cloup.option(
        "--max-sessions-per-destination",
        metavar="N",
        type=_COUNT,
        default=20,
        help="The most of them for one destination.",
    ),
    cloup.option(
        "--max-rate-per-destination",
        metavar="N/TIME",
        type=MessageRate(),
        show_default="no limit",
        help="The most messages for one destination in a time, such as 100/1m: in any minute"
        " no more than a hundred. Others wait in the spool.",
    ),
)
@cloup.option_group(
    "Messages",
    cloup.option(
        "--add-header",
        metavar="'NAME: VALUE'",
        multiple=True,
        help="A line to put in front of every message; again for more.",
    ),
    cloup.option(
        "--dkim-key",
        metavar="FILE",
        type=Path,
        help="Sign messages of those who may send anywhere, with this private key (PEM).",
    ),
    cloup.option("--dkim-selector", metavar="NAME", help="The key's name in DNS."),
    cloup.option("--dkim-domain", metavar="DOMAIN", help="The domain that signs."),
)
@cloup.option_group(
    "Telling",
    cloup.option("--webhook", metavar="URL", help="Post what came of each attempt there, as JSON."),
)
@listening_options
def relay(listening: Listening, **options: Any) -> None:
    """Accept mail, keep it safely, and deliver it to the next server.

    By default it relays for this machine alone. 'pillarbox queue' looks at what waits.
    """
    from pillarbox.cli.relay_config import relay_config
    from pillarbox.cli.relaying import serve_relay

    serve_relay(listening, relay_config(listening, options))
