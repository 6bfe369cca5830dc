"""How `pillarbox send` gets at a server: TLS, whom to trust, who we are; and in words why not.

What is sent there: sending.py. What goes wrong is told in one line that names the option to change.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Unpack

from pillarbox.asyncio.client import Client, ClientOptions, TlsMode, connect, connect_unix
from pillarbox.asyncio.client_error import (
    CertificateRefused,
    LoginFailed,
    SessionError,
    TlsFailed,
    TlsUnavailable,
)
from pillarbox.cli.errors import Failure
from pillarbox.listen import ListenAddress
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.initiation import NO_STARTTLS
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Password
from pillarbox.protocol.sasl_client import NEEDS_TLS, NO_AUTH

__all__ = ["Access", "tls_context"]

# A server that speaks first has done so by then, or is one that keeps its clients waiting.
SILENCE_SECONDS = 3.0


class _Hopeless(SessionError):
    """There is no way in. The text is for the user, as it stands."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Reply(421, "4.4.2", "There is no way in"))


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, and how to get at it.

    Attributes:
        server: Its address.
        hostname: What to say EHLO with; the machine's name where it is not given.
        tls: How to encrypt, if at all.
        context: Whom to trust.
        is_insecure: Whether nobody needs to be trusted, and a password may go in the clear.
        login: Who we are.
        silence_seconds: How long a server may be silent before it is asked whether it wants TLS.
    """

    server: ListenAddress
    hostname: str | None = None
    tls: TlsMode | None = None
    context: ssl.SSLContext | None = None
    is_insecure: bool = False
    login: Password | None = None
    silence_seconds: float = SILENCE_SECONDS

    @property
    def name(self) -> str:
        """The server, as the user wrote it."""
        server = self.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{host}:{server.port}" if server.path is None else f"unix:{server.path}"

    def client(self, trace: Callable[[str], None] | None = None) -> Client:
        """Make a client, not connected yet.

        Raises:
            Failure: The host name is none.
        """
        try:
            return self._connect(
                hostname=self.hostname,
                tls=self.tls,
                context=self.context,
                login=self.login,
                allow_plaintext_login=self.is_insecure,
                trace=trace,
            )
        except ValueError:
            raise Failure(
                f"--hostname {self.hostname!r} is no host name; write one such as client.example"
            ) from None

    def _connect(self, **options: Unpack[ClientOptions]) -> Client:
        if self.server.path is not None:
            return connect_unix(self.server.path, **options)
        return connect(self.server.host, self.server.port, **options)

    @contextlib.asynccontextmanager
    async def session(self, trace: Callable[[str], None] | None = None) -> AsyncIterator[Client]:
        """Open a session, and say goodbye in the end.

        Raises:
            OSError: There is no connection.
            SessionError: There is no session, or no more.
        """
        client = self.client(trace)
        try:
            await self._open(client)
            yield client
            await client.quit()
        finally:
            await client.abort()

    async def _open(self, client: Client) -> None:
        opening = asyncio.ensure_future(client.open())
        try:
            if self.tls is None:
                await asyncio.wait({opening}, timeout=self.silence_seconds)
                if client.protocol.greeting is None and await self._wants_tls(opening):
                    raise _Hopeless("this port seems to want TLS from the first octet: use --tls")
            await opening
        except ValueError as error:
            raise _Hopeless(f"--auth: {error}; no login is possible with it") from None
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)

    async def _wants_tls(self, opening: asyncio.Future[None]) -> bool:
        """See whether a silent server answers to TLS."""
        if opening.done():
            return False
        context = tls_context(None, is_insecure=True)
        timeouts = Timeouts.all(self.silence_seconds)
        probe = self._connect(
            hostname=self.hostname, tls="implicit", context=context, timeouts=timeouts
        )
        with contextlib.suppress(OSError, SessionError):
            await probe.open()
        await probe.abort()
        return probe.tls is not None

    # Why not

    def failure(self, error: OSError | SessionError) -> Failure:
        """Tell in one line why there is no session, or none any more."""
        if isinstance(error, OSError):
            return Failure(
                f"no connection to {self.name}: {_reason(error)}; is --server right, and does it"
                " run? 'pillarbox catch' starts one"
            )
        return Failure(f"{self.name}: {self._told(error)}")

    def _told(self, error: SessionError) -> str:
        match error:
            case _Hopeless():
                return str(error)
            case CertificateRefused():
                return _certificate_told(error)
            case TlsFailed():
                return self._tls_told(error)
            case TlsUnavailable():
                if error.reply != NO_STARTTLS:
                    return f"the server refuses STARTTLS: {error.reply}; try again later"
                return (
                    "the server offers no STARTTLS; leave --starttls out to send in the clear, or"
                    " use --tls with the server's port for that"
                )
            case LoginFailed():
                return self._login_told(error)
        if error.outcome is not None and error.outcome.is_in_doubt:
            return f"{error}; the message may have been delivered all the same"
        return f"{error}; the message was not delivered, try again"

    def _tls_told(self, error: TlsFailed) -> str:
        if error.said is None or self.tls == "starttls":
            return f"{error}; the message was not delivered"
        return (
            f"the server began without TLS, by {error.said!r}; write --starttls in place of --tls,"
            " or the server's port for TLS"
        )

    def _login_told(self, error: LoginFailed) -> str:
        if error.mechanism is not None:
            user = self.login.username if self.login is not None else ""
            return f"the login as {user} failed: {error.reply}; check the name and the password"
        if error.reply == NEEDS_TLS:
            return (
                "the password would go where everybody on the way can read it; add --starttls or"
                " --tls, or --insecure to let it go"
            )
        if error.reply == NO_AUTH:
            more = "" if self.tls else "add --starttls or --tls, or "
            return f"the server offers no login; {more}leave --auth out"
        return f"{error}; leave --auth out, or use another server"


def tls_context(ca_file: str | None, *, is_insecure: bool) -> ssl.SSLContext:
    """Decide whom to trust: the system's authorities, those of a file, or anybody.

    Raises:
        Failure: The file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise Failure(
            f"--ca-file {ca_file}: {reason}; give a PEM file of the authorities to trust"
        ) from None
    if is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _certificate_told(error: CertificateRefused) -> str:
    if "mismatch" in error.reason:
        remedy = "write --server with a name that the certificate has"
    else:
        remedy = "give who issued it by --ca-file FILE"
    return (
        f"the certificate does not verify: {error.reason}; {remedy}, or --insecure to go on"
        " without knowing who answers"
    )


def _reason(error: OSError) -> str:
    """Say what the system said; asyncio puts several attempts into one text."""
    found = re.search(r"\[Errno (\d+)\]", str(error))
    number = int(found[1]) if found else 0
    return os.strerror(number) if number else error.strerror or str(error)
