"""`pillarbox relay`: accepts, stores durably, delivers to the next server.

Here are its options and what they come to; what runs: relaying.py. The spool's own command is
queue.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from pillarbox.cli.command import command
from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening, listening_options
from pillarbox.config import ConfigError

if TYPE_CHECKING:
    import ssl

    from pillarbox.cli.options import Network
    from pillarbox.relay.intake import Hook
    from pillarbox.relay.permission import Permission
    from pillarbox.relay.route import NextHop
    from pillarbox.relay.webhook import Webhook

__all__ = ["DEFAULT_SPOOL", "Relaying", "relay", "spool_folder"]

DEFAULT_SPOOL = "./pillarbox-spool"

# With a key, a message is held in memory and signed there, which takes some times its size.
MAX_SIGNED_BYTES = 67_108_864


class Duration(click.FloatRange):
    """A time that passes: `90`, `90s`, `5m`, `4h`, `5d`."""

    name = "duration"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it, as seconds."""
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", str(value), re.ASCII)
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no time; write one such as 90s, 5m, 4h or 5d", param, ctx)
        return seconds


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_COUNT = click.IntRange(min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaying:
    """What the options come to.

    Attributes:
        hostname: Who we are.
        folder: The spool.
        next_hop: Where mail goes; `None` is as DNS says.
        password: The proof of who we are there.
        context: Whom to trust there; `None` for the system's authorities.
        permission: Who may send where.
        header: What stands in front of every message.
        hooks: What puts more there.
        webhook: Who is told of each attempt, once that is made.
        first_retry_seconds: See `Backoff`.
        longest_retry_seconds: See `Backoff`.
        lifetime_seconds: How long a message is tried.
        delay_notice_seconds: See `Limits`.
        all_sessions: See `Limits`.
        most_sessions: See `Limits`.
        is_logged: Whether each attempt is logged with its fields.
        has_figures: Whether somebody asks for figures.
    """

    hostname: str
    folder: Path
    next_hop: NextHop | None
    password: str | None
    context: ssl.SSLContext | None
    permission: Permission
    header: bytes
    hooks: tuple[Hook, ...]
    webhook: Callable[[], Webhook] | None
    first_retry_seconds: float
    longest_retry_seconds: float
    lifetime_seconds: float
    delay_notice_seconds: float
    all_sessions: int
    most_sessions: int
    is_logged: bool
    has_figures: bool


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
        metavar="PATH",
        default=DEFAULT_SPOOL,
        help="The folder that keeps messages until they are delivered.",
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
    from pillarbox.cli.relaying import serve_relay

    serve_relay(listening, _relaying(listening, options))


def _relaying(listening: Listening, options: dict[str, Any]) -> Relaying:
    """Check the options together."""
    if listening.workers > 1:
        raise Failure(
            "--workers: one process has the spool, and does the work of many; leave --workers out"
        )
    hop = _next_hop(options["to"], is_mx=options["mx"], listening=listening)
    password = _password(hop, options["to_password_file"])
    hooks = _hooks(listening, options)
    return Relaying(
        hostname=listening.config.hostname,
        folder=spool_folder(options["spool"]),
        next_hop=hop,
        password=password,
        context=_context(options["ca_file"]),
        permission=_permission(listening, options),
        header=_header(options["add_header"]),
        hooks=hooks,
        webhook=_webhook(options["webhook"]),
        **_retries(options),
        all_sessions=options["max_sessions"],
        most_sessions=options["max_sessions_per_destination"],
        is_logged=listening.log_format == "json",
        has_figures=listening.metrics is not None,
    )


def _next_hop(text: str | None, *, is_mx: bool, listening: Listening) -> NextHop | None:
    from pillarbox.relay.route import NextHop

    if text is None:
        if not is_mx:
            raise Failure(
                "where mail goes is not said; write --to HOST:PORT for a next server, or --mx to"
                " ask DNS for each domain"
            )
        return None
    if is_mx:
        raise Failure("--to names one server for all mail, and --mx asks DNS; leave one out")
    try:
        hop = NextHop.parse(text)
    except ConfigError as error:
        raise Failure(f"--to {error}") from None
    for address in (*listening.addresses, *listening.tls_addresses):
        if (address.host, address.port) == (hop.host, hop.port) and address.port:
            raise Failure(
                f"--to {text} is this relay itself, and mail would go round; write the address of"
                " the next server"
            )
    return hop


def _password(hop: NextHop | None, file: Path | None) -> str | None:
    if file is None:
        if hop is not None and hop.username:
            raise Failure(
                f"--to logs in as {hop.username} and there is no password; write"
                " --to-password-file FILE"
            )
        return None
    if hop is None or not hop.username:
        raise Failure(
            "--to-password-file is for a login, and --to has none; write --to smtps://USER@HOST:465"
        )
    lines = _read("--to-password-file", file).splitlines()
    try:
        password = lines[0].decode() if lines else ""
    except UnicodeDecodeError:
        raise Failure(f"--to-password-file {file}: it is not text; write the password") from None
    if not password:
        raise Failure(f"--to-password-file {file}: its first line is empty; write the password")
    return password


def _context(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    from pillarbox.cli.access import tls_context

    return tls_context(ca_file, is_insecure=False)


def _permission(listening: Listening, options: dict[str, Any]) -> Permission:
    from pillarbox.relay.permission import Permission

    config = listening.config
    networks = tuple(map(_network, options["allow_network"]))
    try:
        return Permission(
            networks=networks,
            domains=options["allow_domain"],
            front_networks=(*config.proxy_networks, *config.xclient_networks),
            allows_local=options["allow_local"],
            is_open_on_purpose=options["open_relay_on_purpose"],
        )
    except ConfigError as error:
        if "network" not in str(error):
            raise Failure(f"--allow-domain: {error}") from None
        raise Failure(
            f"--allow-network: {error}, or write --open-relay-on-purpose as well"
        ) from None


def _network(text: str) -> Network:
    from pillarbox.cli.options import parse_network

    try:
        return parse_network(text)
    except click.BadParameter as error:
        raise Failure(f"--allow-network: {error.message}") from None


def _header(lines: tuple[str, ...]) -> bytes:
    for line in lines:
        if not re.fullmatch(r"[!-9;-~]{1,70}: ?[ -~\t]{1,900}", line):
            raise Failure(
                f"--add-header {line!r} is no header line; write 'X-Site: example', in ASCII"
            )
    return "".join(f"{line}\r\n" for line in lines).encode()


def _hooks(listening: Listening, options: dict[str, Any]) -> tuple[Hook, ...]:
    names = ("dkim_key", "dkim_selector", "dkim_domain")
    missing = [name for name in names if not options[name]]
    if len(missing) == len(names):
        return ()
    if missing:
        wanted = " and ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise Failure(f"a DKIM signature needs a key, its selector and a domain; write {wanted}")
    most = listening.config.max_message_bytes
    if not 0 < most <= MAX_SIGNED_BYTES:
        raise Failure(
            "--dkim-key has messages signed in memory; write --max-message-bytes of at most"
            f" {MAX_SIGNED_BYTES}"
        )
    try:
        from pillarbox.relay.sign import DkimSigner
    except ImportError:
        raise Failure(
            '--dkim-key needs the library dkimpy; pip install "pillarbox[dkim]", or leave it out'
        ) from None
    key = _read("--dkim-key", options["dkim_key"])
    try:
        signer = DkimSigner(key, selector=options["dkim_selector"], domain=options["dkim_domain"])
    except ConfigError as error:
        raise Failure(f"--dkim-key {options['dkim_key']}: {error}") from None
    return (signer,)


def _webhook(url: str | None) -> Callable[[], Webhook] | None:
    if url is None:
        return None
    from pillarbox.relay.webhook import Webhook, check_url

    try:
        check_url(url)
    except ConfigError as error:
        raise Failure(f"--webhook {error}") from None
    return lambda: Webhook(url)


def _retries(options: dict[str, Any]) -> dict[str, float]:
    first, longest, lifetime = (
        options[name] for name in ("first_retry", "longest_retry", "lifetime")
    )
    if first > longest:
        raise Failure("--first-retry is longer than --longest-retry; write a shorter one")
    if first >= lifetime:
        raise Failure(
            "--first-retry is not shorter than --lifetime, so nothing would be tried twice; write"
            " a longer --lifetime"
        )
    return {
        "first_retry_seconds": first,
        "longest_retry_seconds": longest,
        "lifetime_seconds": lifetime,
        "delay_notice_seconds": options["delay_notice"],
    }


def spool_folder(text: str) -> Path:
    """Read `--spool`.

    Raises:
        Failure: It is something that we do not have.
    """
    if "://" in text:
        raise Failure(f"--spool {text}: a spool is a folder of this machine so far; write its path")
    if not text:
        raise Failure(f"--spool is empty; write a folder such as {DEFAULT_SPOOL}")
    if Path(text).is_file():
        raise Failure(f"--spool {text}: it is a file; name a folder, which is made if need be")
    return Path(text)


def _read(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{option} {file}: {reason}; name a file that can be read") from None
