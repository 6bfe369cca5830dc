"""`pillarbox mailman`: hands what GNU Mailman 3 knows to Mailman, and relays the rest.

It is `pillarbox relay` (relay.py, relaying.py) with Mailman in front: all of its options, and those
here. What they come to is at the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening, listening_options
from pillarbox.cli.relay import relay
from pillarbox.config import ConfigError

if TYPE_CHECKING:
    from pillarbox.cli.relaying import Front
    from pillarbox.lists import AnyDomains
    from pillarbox.relay.route import NextHop

__all__ = ["mailman"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

RELAY_GROUPS = ("Where mail goes", "Who may send", "Spool", "Messages", "Telling")


def relay_options(function: _Function) -> _Function:
    """Give a command the options of `pillarbox relay`, but for those about listening."""
    for option in reversed(relay.params):
        group = getattr(option, "group", None)
        if isinstance(option, click.Option) and group is not None and group.title in RELAY_GROUPS:
            own = copy.copy(option)
            # --to alone has a variable that is said; the others get theirs from the command.
            is_said = isinstance(option.envvar, str)
            own.envvar = "PILLARBOX_MAILMAN_TO" if is_said else None
            function.__dict__.setdefault("__click_params__", []).append(own)
    return function


@command(
    "mailman",
    example="pillarbox mailman --to smtp.example.org:25 --mailman-domain lists.example.org",
)
@cloup.option_group(
    "Mailman",
    cloup.option(
        "--mailman-lmtp",
        metavar="HOST:PORT",
        default="127.0.0.1:8024",
        help="Where Mailman's LMTP runner listens.",
    ),
    cloup.option(
        "--mailman-domain",
        metavar="DOMAIN",
        multiple=True,
        show_default="Mailman is asked of every recipient",
        help="A domain that has lists; again for more.",
    ),
    cloup.option(
        "--mailman-domains-file",
        metavar="FILE",
        type=Path,
        help="Mailman's own file of them, data/postfix_domains; read again when it changes.",
    ),
    cloup.option(
        "--unknown",
        type=click.Choice(["relay", "reject"]),
        default="relay",
        help="What to do with recipients in these domains that Mailman does not know.",
    ),
)
@relay_options
@listening_options
def mailman(
    listening: Listening,
    mailman_lmtp: str,
    mailman_domain: tuple[str, ...],
    mailman_domains_file: Path | None,
    unknown: str,
    **options: Any,
) -> None:
    """Hand what GNU Mailman 3 knows to Mailman, and relay the rest.

    Lists and their addresses, such as -request, take mail from anybody; all else is relayed as
    'pillarbox relay' does it, by default for this machine alone. Both are kept safely until they
    are delivered, each in a queue of its own.
    """
    from pillarbox.cli.relay_config import relay_config
    from pillarbox.cli.relaying import serve_relay

    config = relay_config(listening, options)
    front = _front(
        _lmtp(mailman_lmtp),
        _domains(mailman_domain, mailman_domains_file),
        hostname=config.hostname,
        rejects_unknown=unknown == "reject",
    )
    serve_relay(listening, config, front)


def _lmtp(text: str) -> NextHop:
    from pillarbox.mailman.route import parse_mailman

    try:
        return parse_mailman(text)
    except ConfigError as error:
        raise Failure(f"--mailman-lmtp {error}") from None


def _domains(names: tuple[str, ...], file: Path | None) -> AnyDomains:
    from pillarbox.relay.permission import Permission, comparable_domain

    if file is not None:
        if names:
            raise Failure("--mailman-domain and --mailman-domains-file say the same; leave one out")
        return file
    try:
        Permission(domains=names)
    except ConfigError as error:
        raise Failure(f"--mailman-domain: {error}") from None
    return [comparable_domain(name) for name in names] or None


def _front(
    lmtp: NextHop, names: AnyDomains, *, hostname: str, rejects_unknown: bool
) -> Callable[[], Front]:
    """Check the domains, and give what makes the front in the event loop."""
    from pillarbox.cli.mailman_front import MailmanFront
    from pillarbox.lists import ListDomains

    try:
        domains = ListDomains(names)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Failure(
            f"--mailman-domains-file {names}: {reason}; name Mailman's data/postfix_domains, or"
            " write --mailman-domain"
        ) from None
    if domains.is_any and rejects_unknown:
        raise Failure(
            "--unknown reject is for Mailman's domains, and these are not said; write"
            " --mailman-domain DOMAIN, or --mailman-domains-file FILE"
        )
    return lambda: MailmanFront(lmtp, domains, hostname=hostname, rejects_unknown=rejects_unknown)
