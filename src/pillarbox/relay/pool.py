"""Sessions with next hops: how one is opened, and which servers are left alone for a while.

A server that cannot be talked to is marked, for everybody: it is tried again after a while that
grows from failure to failure, by one session. The other servers of a destination are tried
meanwhile. One that has sessions open and refuses another is full: it gets no more at once than it
has taken, until a while has passed. What a session is used for, and how many a destination wants:
destination.py.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pillarbox.asyncio.client import Client, ClientOptions, connect, connect_unix
from pillarbox.asyncio.client_error import (
    CertificateRefused,
    LoginFailed,
    SessionError,
    SessionLost,
    SessionRefused,
    TlsFailed,
    TlsUnavailable,
)
from pillarbox.log import visible
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Password
from pillarbox.relay.clock import Clock
from pillarbox.relay.delivery import Session
from pillarbox.relay.route import Hop, NoRoute, Route, TlsPolicy, is_next_hop
from pillarbox.relay.spool import Backoff

__all__ = ["HOST_BACKOFF", "Connector", "Pool", "Unreachable", "connect_to"]

log = logging.getLogger("pillarbox")

HOST_BACKOFF = Backoff(first_seconds=15.0, factor=2.0, most_seconds=300.0, jitter=0.2)

# How long what DNS said is believed, good or bad.
ROUTE_SECONDS = 60.0
# A server whose TLS does not work is not asked for it again so soon.
CLEAR_SECONDS = 3600.0

# Nobody begins with TLS here.
_PORT_WITHOUT_TLS = 25

# RFC 7504: a server that says so takes no mail at all.
_NO_MAIL_CODES = (521, 556)

NO_CONNECTION = Reply(451, "4.4.1", "No connection to the next server")
NO_SESSION = Reply(451, "4.4.2", "No session with the next server")
NO_TLS = Reply(451, "4.7.5", "No verified TLS with the next server")
NO_LOGIN = Reply(451, "4.7.8", "The next server refuses our login")


class Unreachable(Exception):
    """No server of a destination can be talked to for now.

    Attributes:
        reply: What to tell of it.
        until: When to try again.
    """

    def __init__(self, reply: Reply, until: float) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.until = until


class Connector(Protocol):
    """Makes clients, not connected yet; tests have one without a network."""

    def __call__(self, hop: Hop, options: ClientOptions, /) -> Client:
        """Make a client of a server."""
        ...


def connect_to(hop: Hop, options: ClientOptions, /) -> Client:
    """Make a client over TCP, or over a UNIX socket."""
    if hop.path is not None:
        return connect_unix(hop.path, **options)
    return connect(hop.host, hop.port, **options)


class _Broken(SessionLost):
    """A session did not do its work, although it could be opened."""


@dataclass(slots=True)
class _Server:
    """What is known of a server at one address."""

    failures: int = 0
    until: float = 0.0
    reply: Reply = NO_CONNECTION
    clear_until: float = 0.0
    open: int = 0
    """How many sessions there are."""
    room: int = 0
    """How many there can be, until `full_until`."""
    full_until: float = 0.0
    refusals: int = 0
    """How often in a row it had no room for another."""

    def until_room(self, now: float) -> float:
        """Tell when another session may be tried; what is past is at once."""
        is_full = self.full_until > now and self.open >= self.room > 0
        return max(self.until, self.full_until) if is_full else self.until


@dataclass(slots=True)
class _Known:
    """What routing said of a destination."""

    hops: Sequence[Hop] | NoRoute
    until: float


class Pool:
    """Opens sessions.

    Args:
        route: Tells the servers of a destination.
        clock: Tells the time.
        chance: Gives a random number from 0 to 1.
        hostname: What we call ourselves.
        connector: Makes clients.
        backoff: How long a server is left alone.
        timeouts: How long to wait for what.
        context: Whom to trust; the system's authorities where it is not given.
    """

    def __init__(
        self,
        route: Route,
        *,
        clock: Clock,
        chance: Callable[[], float],
        hostname: str | None = None,
        connector: Connector = connect_to,
        backoff: Backoff = HOST_BACKOFF,
        timeouts: Timeouts | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.opened = 0
        """How many sessions were opened."""
        self.failed = 0
        """How often one could not be."""
        self._route = route
        self._clock = clock
        self._chance = chance
        self._hostname = hostname
        self._connector = connector
        self._backoff = backoff
        self._timeouts = timeouts
        self._context = context
        self._unverified: ssl.SSLContext | None = None
        self._known: dict[str, _Known] = {}
        self._servers: dict[tuple[str, str], _Server] = {}

    async def open(self, destination: str) -> Session:
        """Open a session with the first server of a destination that can be had.

        Raises:
            Unreachable: There is none for now.
            NoRoute: There will be none: the reply has 5xx.
        """
        now = self._clock.now()
        soonest: tuple[float, Reply] | None = None
        refusals = 0
        hops = await self._hops(destination)
        for hop in hops:
            server = self._server(hop)
            if server.until_room(now) <= now:
                session = await self._try(hop, server)
                if session is not None:
                    return session
            refusals += server.reply.code in _NO_MAIL_CODES
            until = server.until_room(now)
            if soonest is None or until < soonest[0]:
                soonest = until, server.reply
        if soonest is None:
            raise NoRoute(NO_SESSION)
        if refusals == len(hops) and not is_next_hop(destination):
            raise NoRoute(soonest[1])
        raise Unreachable(soonest[1], soonest[0])

    async def close(self, session: Session) -> None:
        """Say goodbye to a server, and count with its room again."""
        try:
            await session.client.quit()
        finally:
            self._server(session.hop).open -= 1

    def _server(self, hop: Hop) -> _Server:
        return self._servers.setdefault((hop.address, hop.username), _Server())

    def blame(self, hop: Hop, fault: str) -> float:
        """Leave a server alone whose sessions break; tell until when."""
        server = self._server(hop)
        self._mark(hop, server, _Broken(fault, NO_SESSION))
        return server.until

    def retry(self) -> None:
        """Forget for how long servers and routes are left alone: somebody may have mended them."""
        self._known.clear()
        for server in self._servers.values():
            server.until = server.full_until = 0.0

    def forget(self) -> None:
        """Let go of what is of no use any more; call it now and then."""
        now = self._clock.now()
        for destination, known in tuple(self._known.items()):
            if known.until <= now:
                del self._known[destination]
        for key, server in tuple(self._servers.items()):
            idle = server.until + self._backoff.most_seconds
            if max(idle, server.clear_until) <= now and not server.open:
                del self._servers[key]

    async def _hops(self, destination: str) -> Sequence[Hop]:
        known = self._known.get(destination)
        now = self._clock.now()
        if known is None or known.until <= now:
            try:
                hops: Sequence[Hop] | NoRoute = await self._route.hops(destination)
            except NoRoute as error:
                level = logging.WARNING if error.remedy else logging.INFO
                log.log(level, "%s: %s", visible(destination), visible(str(error)))
                hops = error
            known = self._known[destination] = _Known(hops, now + ROUTE_SECONDS)
        if isinstance(known.hops, NoRoute):
            if known.hops.reply.is_transient:
                raise Unreachable(known.hops.reply, known.until)
            raise known.hops
        return known.hops

    # One server

    async def _try(self, hop: Hop, server: _Server) -> Session | None:
        """Open a session with a server; `None` where it cannot be had, which is marked."""
        try:
            client = await self._open(hop, server)
        except (OSError, SessionError, ValueError) as error:
            if server.open:
                self._mark_full(hop, server, error)
            else:
                self._mark(hop, server, error)
            return None
        self.opened += 1
        server.open += 1
        if server.open > server.room:
            server.room = server.open
            server.refusals = 0
        if server.failures:
            log.info("%s answers again", hop)
        server.failures = 0
        server.until = 0.0
        return Session(client, hop)

    async def _open(self, hop: Hop, server: _Server) -> Client:
        options = ClientOptions(
            hostname=self._hostname,
            is_lmtp=hop.is_lmtp,
            server_hostname=hop.name or None,
            timeouts=self._timeouts,
            lone_refusal_seconds=hop.lone_refusal_seconds,
        )
        if hop.tls.is_verified:
            options["tls"] = "implicit" if hop.tls is TlsPolicy.IMPLICIT else "starttls"
            options["context"] = self._verified_context()
            if hop.username:
                options["login"] = Password(hop.username, hop.password or "")
        client = self._connector(hop, options)
        await client.open()
        if hop.tls is TlsPolicy.OPPORTUNISTIC and "STARTTLS" in client.extensions:
            if server.clear_until > self._clock.now():
                return client
            try:
                await client.start_tls(self._unverified_context())
            except TlsUnavailable:
                return client
            except (TlsFailed, SessionLost) as error:
                # RFC 7435 §3: rather in the clear than not at all.
                server.clear_until = self._clock.now() + CLEAR_SECONDS
                text = visible(str(error))
                log.warning("%s: %s; going on in the clear, for an hour", hop, text)
                client = self._connector(hop, options)
                await client.open()
        return client

    def _verified_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def _unverified_context(self) -> ssl.SSLContext:
        if self._unverified is None:
            self._unverified = ssl.create_default_context()
            self._unverified.check_hostname = False
            self._unverified.verify_mode = ssl.CERT_NONE
        return self._unverified

    def _mark_full(self, hop: Hop, server: _Server, error: Exception) -> None:
        """Have a server no more sessions than it has: it does its work in these."""
        self.failed += 1
        now = self._clock.now()
        server.room = server.open
        server.reply = _reply(error)
        if server.full_until > now:
            return
        server.refusals += 1
        server.full_until = now + self._backoff.wait(server.refusals, self._chance())
        text = "%s: takes no more sessions than %d now (%s)"
        log.info(text, hop, server.room, visible(str(server.reply)))

    def _mark(self, hop: Hop, server: _Server, error: Exception) -> None:
        """Leave a server alone for a while, and say what to do about it."""
        self.failed += 1
        now = self._clock.now()
        if server.until > now:
            return  # somebody else found out meanwhile
        server.failures += 1
        wait = self._backoff.wait(server.failures, self._chance())
        server.until = now + wait
        server.reply = _reply(error)
        log.warning(
            "%s: %s; no mail goes there for %.0f seconds, and none is lost",
            hop,
            visible(_told(error, hop)),
            wait,
        )


def _reply(error: Exception) -> Reply:
    match error:
        case SessionRefused():
            return error.reply
        case LoginFailed():
            return NO_LOGIN.saying(f"{NO_LOGIN.text}: {error.reply}")
        case TlsUnavailable() | TlsFailed():
            return NO_TLS.saying(f"{NO_TLS.text}: {visible(str(error))}")
        case SessionError():
            return NO_SESSION.saying(f"{NO_SESSION.text}: {visible(str(error))}")
        case OSError():
            return NO_CONNECTION.saying(f"{NO_CONNECTION.text}: {visible(_reason(error))}")
    return NO_SESSION


def _told(error: Exception, hop: Hop) -> str:
    """Say what is wrong, and what the operator can do."""
    match error:
        case _Broken():
            return f"its sessions break: {error}; see what its log says of them"
        case CertificateRefused() if "mismatch" in error.reason:
            return f"{error.reason}; name the next hop as its certificate does"
        case CertificateRefused():
            return (
                f"the certificate does not verify: {error.reason}; give who issued it by --ca-file"
                " FILE, or renew it there"
            )
        case TlsFailed() if error.said is not None:
            return f"it began without TLS, by {error.said!r}; write smtp+starttls:// or its port"
        case TlsFailed():
            return f"{error}; look at its TLS versions and ciphers"
        case TlsUnavailable():
            return (
                f"{error.reply}; without TLS no login is sent: write smtps:// and its port for"
                " that, or use another next hop"
            )
        case LoginFailed():
            return (
                f"the login as {hop.username} failed: {error.reply}; check the name in --to and"
                " the password in --to-password-file"
            )
        case SessionRefused():
            return f"it refuses the session: {error.reply}; ask who runs it"
        case SessionError():
            text = f"{error}; does it speak {'LMTP' if hop.is_lmtp else 'SMTP'} there?"
            may_want_tls = not hop.is_lmtp and hop.tls is not TlsPolicy.IMPLICIT
            if may_want_tls and hop.port != _PORT_WITHOUT_TLS:
                text += " If it begins with TLS, write smtps://"
            return text
        case OSError():
            return f"no connection: {_reason(error)}; is it right, and does it run?"
    return f"{error}; check the login's name and password"


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
