"""What the options of `pillarbox relay` come to, and one clear line for each that cannot work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pillarbox.cli.errors import Failure
from pillarbox.cli.options import Listening, Network, parse_network
from pillarbox.cli.spool_place import Place, spool_place
from pillarbox.config import ConfigError

if TYPE_CHECKING:
    import ssl

    from pillarbox.relay.intake import Hook
    from pillarbox.relay.permission import Permission
    from pillarbox.relay.rate import Rate
    from pillarbox.relay.route import NextHop
    from pillarbox.relay.webhook import Webhook

__all__ = ["RelayConfig", "relay_config"]

# With a key, a message is held in memory and signed there, which takes some times its size.
MAX_SIGNED_BYTES = 67_108_864

# Leases are renewed each second, from their half on.
LEAST_LEASE_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """What the options come to.

    Attributes:
        hostname: Who we are.
        spool: The spool: a folder, or the URL of a database.
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
        lease_seconds: See `Limits`.
        all_sessions: See `Limits`.
        most_sessions: See `Limits`.
        rate: See `Limits`.
        is_logged: Whether each attempt is logged with its fields.
        has_figures: Whether somebody asks for figures.
    """

    hostname: str
    spool: Place
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
    lease_seconds: float
    all_sessions: int
    most_sessions: int
    rate: Rate | None
    is_logged: bool
    has_figures: bool


def relay_config(listening: Listening, options: dict[str, Any]) -> RelayConfig:
    """Check the options together.

    Raises:
        Failure: They cannot work.
    """
    if listening.workers > 1:
        raise Failure(
            "--workers: one process has the spool, and does the work of many; leave --workers out"
        )
    hop = _next_hop(options["to"], is_mx=options["mx"], listening=listening)
    password = _password(hop, options["to_password_file"])
    hooks = _hooks(listening, options)
    return RelayConfig(
        hostname=listening.config.hostname,
        spool=spool_place(options["spool"]),
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
        rate=options["max_rate_per_destination"],
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
    if options["lease"] < LEAST_LEASE_SECONDS:
        raise Failure(
            "--lease is so short that it may end before a message is sent; write"
            f" {LEAST_LEASE_SECONDS:.0f}s or more"
        )
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
        "lease_seconds": options["lease"],
    }


def _read(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{option} {file}: {reason}; name a file that can be read") from None
