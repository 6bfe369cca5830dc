"""What every server of ours is told on the command line, and how a command is made.

A command is a module of this folder, named in the table of __init__.py, that has a function under
two decorators::

    @command("sink", example="pillarbox sink --dump ./mails")
    @listening_options
    @cloup.option("--dump", metavar="DIR", help="Keep each message in this folder.")
    def sink(listening: Listening, dump: str | None) -> None:
        \"\"\"Accept mail and discard it.\"\"\"
        from pillarbox.cli.run import run          # here, so that --help loads no event loop

        run(lambda: Sink(dump), listening)

Without `@listening_options` it is one that does not listen, and is called with its own options
alone. The first line of its docstring is its help. Options get their environment variables and
their keys in the configuration file from `@command`. Whatever is wrong is raised as
`Failure("what, and what to write instead")`; run.py tells what a server is.
"""

from __future__ import annotations

import contextlib
import functools
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click
import cloup
from click.core import ParameterSource

from pillarbox.cli.activation import inherited_sockets
from pillarbox.cli.errors import Failure
from pillarbox.config import Config, ConfigError
from pillarbox.listen import ListenAddress

if TYPE_CHECKING:
    from pillarbox.certificate import Certificates
    from pillarbox.handler import AnswersAuth
    from pillarbox.login import Logins

__all__ = ["Listening", "Network", "certificate_remedy", "listening_options", "parse_network"]

Network: TypeAlias = IPv4Network | IPv6Network

# Programs whose mail goes no further: a certificate that nobody can check is for tests.
SELF_SIGNING = ("catch", "sink")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and how a server listens: what the common options say."""

    addresses: tuple[ListenAddress, ...]
    tls_addresses: tuple[ListenAddress, ...]
    sockets: tuple[socket.socket, ...]
    tls_sockets: tuple[socket.socket, ...]
    config: Config
    certificates: Certificates | None
    logins: AnswersAuth | None
    workers: int
    loop: str
    metrics: ListenAddress | None
    log_format: str
    log_level: str


def _address(text: str) -> ListenAddress:
    try:
        return ListenAddress.parse(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def parse_network(text: str) -> Network:
    """Read `10.0.0.0/8` and the like, for a command line."""
    try:
        return ip_network(text)
    except ValueError:
        remedy = "write one such as 127.0.0.0/8 or 2001:db8::/32"
        with contextlib.suppress(ValueError):  # an address, and the size of the network it is in
            address = text.partition("/")[0]
            remedy = f"write {ip_network(text, strict=False)}, or {address} for it alone"
        raise click.BadParameter(f"{text!r} is not a network; {remedy}") from None


class _Seconds(click.FloatRange):
    """A time that passes: more than nothing, less than for ever."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number of seconds."""
        seconds = super().convert(value, param, ctx)
        assert isinstance(seconds, float)
        if not math.isfinite(seconds):
            self.fail(
                f"{value!r} is not a valid number of seconds; write one such as 300", param, ctx
            )
        return seconds


_COUNT = click.IntRange(min=1)

_GROUPS = (
    cloup.option_group(
        "Listening",
        cloup.option(
            "--listen",
            metavar="HOST:PORT",
            type=_address,
            multiple=True,
            default=["127.0.0.1:1025"],
            help="Where to listen; again for more. '[::1]:25' and 'unix:/path' do as well,"
            " port 0 picks a free one. Sockets that systemd passes take the default's place.",
        ),
        cloup.option("--listen-tls", metavar="HOST:PORT", type=_address, multiple=True,
                     help="The same with TLS from the first octet on; needs a certificate."),
        cloup.option("--protocol", type=click.Choice(["smtp", "lmtp"]), default="smtp",
                     help="What is spoken."),
        cloup.option("--proxy-protocol", metavar="NETWORK", type=parse_network, multiple=True,
                     help="Peers, such as 10.0.0.0/8, that begin with a PROXY header (v1 or v2);"
                     " again for more."),
        cloup.option("--xclient", metavar="NETWORK", type=parse_network, multiple=True,
                     help="Front servers that may say by XCLIENT for whom they stand;"
                     " again for more."),
        cloup.option("--hostname", metavar="NAME", help="The name in the greeting.",
                     show_default="the machine's"),
    ),
    cloup.option_group(
        "TLS and AUTH",
        cloup.option("--tls-cert", metavar="FILE", type=Path,
                     help="Offer STARTTLS with this certificate (PEM); a new one is taken up."),
        cloup.option("--tls-key", metavar="FILE", type=Path,
                     help="Its private key (PEM), unless it is in the same file."),
        cloup.option("--tls", type=click.Choice(["auto"]),
                     help="auto: a self-signed certificate made for this run (catch, sink)."),
        cloup.option("--require-tls", is_flag=True, help="Refuse MAIL without TLS."),
        cloup.option("--auth", metavar="USER:PASSWORD", multiple=True,
                     help="Accept this login; again for more."),
        cloup.option("--auth-file", metavar="FILE", type=Path,
                     help="Logins, as lines that `pillarbox passwd` makes; new ones are taken up."),
        cloup.option("--require-auth", is_flag=True, help="Refuse MAIL without AUTH."),
        cloup.option("--allow-plaintext-auth", is_flag=True,
                     help="Take passwords without TLS, where they can be overheard."),
    ),
    cloup.option_group(
        "Limits",
        cloup.option("--max-message-bytes", metavar="N", type=click.IntRange(min=0),
                     default=33_554_432, help="The largest message taken; 0 is no limit."),
        cloup.option("--max-recipients", metavar="N", type=_COUNT, default=1000,
                     help="The most recipients of one message."),
        cloup.option("--max-connections", metavar="N", type=_COUNT, default=1000,
                     help="The most connections at once, for each worker."),
        cloup.option("--max-connections-per-ip", metavar="N", type=_COUNT, default=100,
                     help="The most of them from one address."),
        cloup.option("--idle-timeout", metavar="SECONDS", type=_Seconds(), default=300,
                     help="Close a connection that is silent for so long."),
    ),
    cloup.option_group(
        "Running",
        cloup.option("--workers", metavar="N", type=_COUNT, default=1,
                     help="How many processes share the port."),
        cloup.option("--loop", type=click.Choice(["auto", "asyncio", "uvloop"]), default="auto",
                     help="The event loop; auto takes uvloop where it is installed."),
        cloup.option("--metrics", metavar="HOST:PORT", type=_address,
                     help="Answer there with Prometheus metrics, and /livez and /readyz."),
        cloup.option("--log-format", type=click.Choice(["text", "json"]), default="text",
                     help="How log lines look on standard error."),
        cloup.option("--log-level", default="info",
                     type=click.Choice(["debug", "info", "warning", "error"]),
                     help="The least that is logged."),
        help="SIGTERM ends it when open transactions have ended, SIGHUP has certificates and logins"
        " read again; in a terminal SIGHUP ends it too.",
    ),
)  # fmt: skip

_AS_GIVEN = ("workers", "loop", "metrics", "log_format", "log_level")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def listening_options(function: _Function) -> Callable[..., Any]:
    """Give a command the common options, as its first argument `listening`."""

    @functools.wraps(function)
    def with_listening(**options: Any) -> Any:
        return function(_take_listening(options), **options)

    decorated: Callable[..., Any] = with_listening
    for group in reversed(_GROUPS):
        decorated = group(decorated)
    return decorated


def _take_listening(options: dict[str, Any]) -> Listening:
    """Take the common options out of all of them."""
    hostname = options.pop("hostname")
    named = {} if hostname is None else {"hostname": hostname}
    try:
        logins = _take_logins(options)
        config = Config(
            **named,
            max_message_bytes=options.pop("max_message_bytes"),
            max_recipients=options.pop("max_recipients"),
            max_connections=options.pop("max_connections"),
            max_connections_per_ip=options.pop("max_connections_per_ip"),
            idle_timeout_seconds=options.pop("idle_timeout"),
            is_lmtp=options.pop("protocol") == "lmtp",
            requires_tls=options.pop("require_tls"),
            requires_auth=options.pop("require_auth"),
            allows_plaintext_auth=options.pop("allow_plaintext_auth") or None,
            proxy_networks=tuple(options.pop("proxy_protocol")),
            xclient_networks=tuple(options.pop("xclient")),
        )
        certificates = _take_certificates(options, config.hostname)
    except ConfigError as error:
        raise Failure(str(error)) from None
    tls_addresses = tuple(options.pop("listen_tls"))
    if tls_addresses and certificates is None:
        raise Failure(f"--listen-tls needs a certificate; write {certificate_remedy()}")
    if config.requires_tls and certificates is None:
        raise Failure(f"--require-tls needs a certificate; write {certificate_remedy()}")
    addresses = tuple(options.pop("listen"))
    sockets, tls_sockets = inherited_sockets()
    if tls_sockets and certificates is None:
        raise Failure(f"a socket named smtps needs a certificate; write {certificate_remedy()}")
    source = click.get_current_context().get_parameter_source("listen")
    if (sockets or tls_sockets) and source is ParameterSource.DEFAULT:
        addresses = ()
    elif not addresses:
        raise Failure("--listen is empty; write an address such as 127.0.0.1:1025")
    return Listening(
        addresses=addresses,
        tls_addresses=tls_addresses,
        sockets=sockets,
        tls_sockets=tls_sockets,
        config=config,
        certificates=certificates,
        logins=logins,
        **{name: options.pop(name) for name in _AS_GIVEN},
    )


def _take_certificates(options: dict[str, Any], hostname: str) -> Certificates | None:
    """Load the certificate: what is wrong with it is better told before anything listens."""
    certificate, key = options.pop("tls_cert"), options.pop("tls_key")
    if options.pop("tls") is not None:
        if not _may_make_certificate():
            raise Failure(
                f"--tls auto is for {' and '.join(SELF_SIGNING)}: nobody can check such a"
                " certificate; write --tls-cert FILE --tls-key FILE"
            )
        if certificate is not None or key is not None:
            given = "--tls-cert" if certificate is not None else "--tls-key"
            raise Failure(f"--tls auto makes a certificate and {given} gives one; leave one out")
        try:
            from pillarbox.cli.self_signed import self_signed
        except ImportError:
            raise Failure(
                '--tls auto needs the library cryptography; pip install "pillarbox[tls]",'
                " or write --tls-cert FILE --tls-key FILE"
            ) from None
        return self_signed(hostname)
    if certificate is None:
        if key is not None:
            raise Failure("--tls-key has no certificate; write --tls-cert FILE as well")
        return None
    from pillarbox.certificate import CertificateFiles, Certificates

    return Certificates(CertificateFiles(certificate=certificate, key=key))


def certificate_remedy() -> str:
    """Tell how this command is given a certificate."""
    remedy = "--tls-cert FILE --tls-key FILE"
    return f"{remedy}, or --tls auto" if _may_make_certificate() else remedy


def _may_make_certificate() -> bool:
    return click.get_current_context().command.name in SELF_SIGNING


def _take_logins(options: dict[str, Any]) -> Logins | None:
    pairs, file = options.pop("auth"), options.pop("auth_file")
    if not pairs and file is None:
        return None
    from pillarbox.login import Logins

    return Logins.read(pairs, file)
