"""The asyncio client: one session after another, and no SMTP (see protocol/client.py for that).

`connect()` is the way in::

    async with connect("127.0.0.1", 1025) as client:
        outcome = await client.send("ann@example.org", ["bob@example.org"], message)

What a server says of a message is a value, for each recipient. What breaks the session is an
exception (client_error.py), with what became of the message in it. The octets, TLS and time are
client_wire.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from importlib.util import find_spec
from types import TracebackType
from typing import Literal, TypeAlias, TypedDict, Unpack, cast

from pillarbox.asyncio.client_error import (
    LoginFailed,
    SessionError,
    SessionLost,
    SessionRefused,
    TlsUnavailable,
)
from pillarbox.asyncio.client_wire import ClientWire
from pillarbox.asyncio.tls import ServerTls
from pillarbox.config import machine_hostname
from pillarbox.protocol.address import Path
from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import (
    NEED_BODY,
    ClientEvent,
    LoggedIn,
    LoginRefused,
    Outcome,
    Refused,
    Sent,
    TlsRefused,
)
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.dsn import MailDsn
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_TLS,
    NO_MAIL_DSN,
    BodyType,
    Need,
)
from pillarbox.protocol.outgoing import AnyRecipient
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions
from pillarbox.protocol.sasl_client import (
    CLIENT_MECHANISMS,
    ClientCredentials,
    ClientMechanismFactory,
)
from pillarbox.protocol.transaction import END_OCTETS

__all__ = ["Client", "ClientOptions", "TlsMode", "connect", "connect_unix"]

TIMED_OUT = Reply(421, "4.4.2", "The server did not answer in time")
GIVEN_UP = Reply(421, "4.4.2", "The session was given up")

# A message that comes in small parts goes out in parts of this size: each chunk is answered.
CHUNK_OCTETS = 65_536

TlsMode: TypeAlias = Literal["starttls", "implicit"]
"""How a session is encrypted: after a word in the clear, or from the first octet on."""

Dial: TypeAlias = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]
_Chunks: TypeAlias = AsyncGenerator[tuple[bytes, bool], None]


class ClientOptions(TypedDict, total=False):
    """The options that `connect()` tells of, for whoever passes them on."""

    hostname: str | None
    is_lmtp: bool
    tls: TlsMode | None
    context: ssl.SSLContext | None
    server_hostname: str | None
    login: ClientCredentials | None
    allow_plaintext_login: bool
    timeouts: Timeouts | None
    lone_refusal_seconds: float | None
    trace: Callable[[str], None] | None


def connect(host: str, port: int, **options: Unpack[ClientOptions]) -> Client:
    """Make a client of the server at an address; use it by `async with`, or `open()` and `quit()`.

    Args:
        host: A name or an address.
        port: The port.
        options: All that follows.
        hostname: What the client calls itself; the machine's name where it is not given.
        is_lmtp: Speak LMTP, as to a mail store: an answer for each recipient.
        tls: `"starttls"`: encrypt before anything is said of mail, or fail; `"implicit"`: from the
            first octet on, as on port 465. Without it, call `start_tls()` where that is wanted.
        context: What to trust and to show. Where it is not given, the system's authorities are
            trusted, and the certificate has to be valid and made out to `server_hostname`.
        server_hostname: The name that the certificate is held to, and that is asked for (SNI); the
            host where it is not given.
        login: Who we are: a `Password`, a `Token` or `External()`.
        allow_plaintext_login: Let a password or a token go without TLS, even where that is only to
            this machine.
        timeouts: How long to wait for what, in seconds: `Timeouts.all(10)` for everything.
        lone_refusal_seconds: For LMTP servers that may refuse a message for all its recipients by
            one reply, as GNU Mailman does: how long to wait for the others.
        trace: Called with each line of the dialogue: `C: ` or `S: ` in front, `T: ` where TLS
            begins. Passwords are not in it.

    Raises:
        ValueError: The host name is none.
    """

    def dial(factory: Callable[[], asyncio.Protocol]) -> Awaitable[object]:
        return asyncio.get_running_loop().create_connection(factory, host, port)

    if options.get("server_hostname") is None:
        options["server_hostname"] = host.partition("%")[0]  # no certificate has a zone
    return Client(dial, **options)


def connect_unix(path: str, **options: Unpack[ClientOptions]) -> Client:
    """Make a client of the server at a UNIX socket; see `connect()`."""

    def dial(factory: Callable[[], asyncio.Protocol]) -> Awaitable[object]:
        return asyncio.get_running_loop().create_unix_connection(factory, path)

    return Client(dial, **options)


class Client:
    """One session with a server, for one message after the other. `connect()` makes it.

    Args:
        dial: Connects a protocol of asyncio.
        options: See `connect()`.
    """

    def __init__(self, dial: Dial, **options: Unpack[ClientOptions]) -> None:
        trace = options.get("trace")
        self._mode = options.get("tls")
        self.protocol = ClientConnection(
            options.get("hostname") or machine_hostname(),
            is_lmtp=options.get("is_lmtp", False),
            is_tls=self._mode == "implicit",
            timeouts=options.get("timeouts"),
            lone_refusal_seconds=options.get("lone_refusal_seconds"),
            trace=trace,
        )
        """The state of the session."""
        self.tls: ServerTls | None = None
        """What is known of TLS; `None` in the clear."""
        self._dial = dial
        self._trace = trace
        self._context = options.get("context")
        self._server_hostname = options.get("server_hostname")
        self._credentials = options.get("login")
        self._allow_plaintext = options.get("allow_plaintext_login", False)
        self._is_used = False
        self._wire = ClientWire(self.protocol)

    async def __aenter__(self) -> Client:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.quit()
        else:
            await self.abort()

    @property
    def extensions(self) -> Extensions:
        """What the server offers: the parameters of each keyword, the keyword in capitals."""
        return self.protocol.extensions

    @property
    def is_open(self) -> bool:
        """Whether a message can be sent, as far as is known; look before reusing a session."""
        return self._is_alive() and self.protocol.messages_left != 0

    def _is_alive(self) -> bool:
        if not self.protocol.is_open:
            return False
        if self.protocol.is_silent:
            return True
        with contextlib.suppress(RemoteProtocolError):
            return self.protocol.next_event() is NEED_DATA
        return False

    async def open(self) -> None:
        """Connect, encrypt and log in as was asked for; call `quit()` or `abort()` in the end.

        Raises:
            OSError: There is no connection; a `TimeoutError` where it took too long.
            SessionError: There is one, and no session as was asked for: `SessionRefused`,
                `TlsUnavailable`, `TlsFailed`, `CertificateRefused`, `LoginFailed` or `SessionLost`.
            RuntimeError: The client was opened before.
        """
        if self._is_used:
            raise RuntimeError("this client was opened already; make another one by connect()")
        self._is_used = True
        seconds = self.protocol.timeouts.connect
        try:
            async with asyncio.timeout(seconds):
                await self._dial(lambda: self._wire)
        except TimeoutError:
            raise TimeoutError(f"no connection within {seconds:g} seconds") from None
        try:
            await self._begin()
            if self._mode == "starttls":
                await self.start_tls()
            if self._credentials is not None:
                await self.login(self._credentials, allow_plaintext=self._allow_plaintext)
        except (SessionError, ValueError):
            await self.quit()
            raise

    async def _begin(self) -> None:
        """Wait until the server is ready."""
        event = await self._next_event()
        if isinstance(event, Refused):
            with contextlib.suppress(SessionLost):
                await self._next_event()
            raise SessionRefused(f"the server refuses the session: {event.reply}", event.reply)

    async def start_tls(
        self, context: ssl.SSLContext | None = None, *, server_hostname: str | None = None
    ) -> None:
        """Encrypt the session by STARTTLS; look at `tls` and `extensions` then.

        Args:
            context: What to trust; that of `connect()` where it is not given.
            server_hostname: What the certificate is held to; that of `connect()` likewise.

        Raises:
            TlsUnavailable: The server does not offer it, or refuses. The session goes on.
            TlsFailed: The handshake failed; `CertificateRefused` where the certificate is why.
            SessionError: The session is over.
            LocalProtocolError: The session is not open, or encrypted already.
        """
        self._context = context or self._context
        self._server_hostname = server_hostname or self._server_hostname
        self.protocol.start_tls()
        event = await self._next_event()
        if isinstance(event, TlsRefused):
            raise TlsUnavailable(f"there is no TLS: {event.reply}", event.reply)
        if isinstance(event, Refused):
            with contextlib.suppress(SessionLost):
                await self._next_event()
            raise SessionRefused(f"the server refuses the session: {event.reply}", event.reply)

    async def login(
        self, credentials: ClientCredentials, *, allow_plaintext: bool = False
    ) -> LoggedIn:
        """Say who we are, by the strongest mechanism that the server offers.

        Args:
            credentials: A `Password`, a `Token` or `External()`.
            allow_plaintext: Let a password or a token go without TLS.

        Raises:
            LoginFailed: The server does not know us, or nothing that it offers will do. The session
                goes on, unless the server said goodbye.
            SessionLost: The session broke.
            LocalProtocolError: The session is not open, or logged in already.
            ValueError: No mechanism can carry these credentials.
        """
        mechanisms = _mechanisms()
        self.protocol.login(credentials, mechanisms=mechanisms, allow_plaintext=allow_plaintext)
        event = await self._next_event()
        if isinstance(event, LoginRefused):
            text = f"the login failed: {event.reply}"
            if event.mechanism is None and len(mechanisms) == len(CLIENT_MECHANISMS):
                text += '; for SCRAM install "pillarbox[auth]"'
            raise LoginFailed(text, event.reply, mechanism=event.mechanism)
        return cast("LoggedIn", event)

    async def send(
        self,
        mail_from: str | Path,
        rcpt_tos: Sequence[AnyRecipient],
        data: bytes | AsyncIterable[bytes],
        *,
        size: int | None = None,
        body: BodyType | None = None,
        smtputf8: bool = False,
        dsn: MailDsn = NO_MAIL_DSN,
        requires_tls: bool = False,
        chunking: bool = True,
        may_end: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Send a message, and tell what the server said, for each recipient.

        A refusal is no exception: look at `outcome.is_accepted` and `outcome.refused`. The session
        goes on after it, unless the server said goodbye (see `is_open`).

        Args:
            mail_from: The sender's address; empty for the null reverse-path of a bounce.
            rcpt_tos: The recipients: addresses, or a `Recipient` that says more.
            data: The message, or its parts as they come: some 64 KiB of them are kept at a time.
            size: See `ClientConnection.send_message()`, as for all that follow.
            body: What the octets are.
            smtputf8: The message has UTF-8 in its header.
            dsn: What the sender wants of notifications.
            requires_tls: Every hop has to be encrypted and verified.
            chunking: Use BDAT where the server offers it.
            may_end: Asked right before the last octets go out, when all others are with the system.
                Where it says no, the session is closed, and the server has no message.

        Raises:
            SessionLost: The session broke before the server had said all. It is closed.
            LocalProtocolError: The session is not open yet, or another message is under way.
            ValueError: An address is none, or the message cannot go by DATA; where that shows in a
                later part, the session is closed.
        """
        await self._require_alive()
        self.protocol.send_message(
            mail_from,
            rcpt_tos,
            data if isinstance(data, bytes) else None,
            size=size,
            body=body,
            smtputf8=smtputf8,
            dsn=dsn,
            requires_tls=requires_tls,
            chunking=chunking,
            may_end=may_end,
        )
        if isinstance(data, bytes):
            event = await self._next_event()
        else:
            end_octets = None if may_end is None else END_OCTETS
            async with contextlib.aclosing(_chunks(data, end_octets)) as chunks:
                event = await self._next_event(chunks)
        return cast("Sent", event).outcome

    async def ask(self, mail_from: str | Path, rcpt_tos: Sequence[AnyRecipient]) -> Outcome:
        """Ask which recipients the server would take, and send nothing.

        Args:
            mail_from: The sender's address; empty for the null reverse-path.
            rcpt_tos: The recipients.

        Raises:
            SessionLost: The session broke. It is closed.
            LocalProtocolError: The session is not open yet, or a message is under way.
            ValueError: An address is none.
        """
        await self._require_alive()
        self.protocol.ask(mail_from, rcpt_tos)
        return cast("Sent", await self._next_event()).outcome

    async def _require_alive(self) -> None:
        if not self._is_alive() and (reply := self.protocol.closing_reply) is not None:
            await self._wire.close()
            raise SessionLost(f"the session is over: {reply}", reply)

    async def quit(self) -> None:
        """Say goodbye, and close. Where the session is over already, that is no error."""
        if self._is_alive():
            self.protocol.quit()
            with contextlib.suppress(SessionLost):
                await self._next_event()
        await self.abort()

    async def abort(self) -> None:
        """Close without a word. A message whose end was not sent is not delivered."""
        self.protocol.abandon(GIVEN_UP)
        await self._wire.close()

    async def _next_event(self, chunks: _Chunks | None = None) -> ClientEvent | None:
        """Send and wait until something happens; `None` is the end of the session."""
        try:
            event = await self._pump(chunks)
        except RemoteProtocolError as error:
            await self._wire.close()
            text = f"{error}: {tls}" if (tls := self._wire.tls_error) else str(error)
            raise self._lost(text) from error
        except BaseException:
            await self.abort()
            raise
        if self.protocol.closing_reply is not None:
            await self._wire.close()
        return None if isinstance(event, Need) else event

    async def _pump(self, chunks: _Chunks | None) -> ClientEvent | Need:
        protocol, wire = self.protocol, self._wire
        while True:
            event = protocol.next_event()
            wire.flush()
            if event is NEED_DATA:
                if not await wire.wait():
                    is_said = protocol.has_lone_refusal
                    protocol.abandon(TIMED_OUT)
                    if not is_said:
                        raise self._lost(TIMED_OUT.text)
            elif event is NEED_TLS:
                await self._begin_tls()
            elif event is NEED_BODY:
                part, is_last = await anext(cast("_Chunks", chunks))
                protocol.send_part(part, is_last=is_last)
            elif event is NEED_CLOSE or not isinstance(event, Need):
                return event

    async def _begin_tls(self) -> None:
        context = self._context or ssl.create_default_context()
        if context.check_hostname and not self._server_hostname:
            raise ValueError("to verify the certificate its name is needed: give server_hostname")
        self.tls = await self._wire.start_tls(context, self._server_hostname)
        if self._trace is not None:
            self._trace(f"T: {_described(self.tls)}")
        self._wire.tls_started()

    def _lost(self, text: str) -> SessionLost:
        event = self.protocol.next_event()
        outcome = event.outcome if isinstance(event, Sent) else None
        return SessionLost(text, cast("Reply", self.protocol.closing_reply), outcome)


async def _chunks(data: AsyncIterable[bytes], end_octets: int | None) -> _Chunks:
    """Put parts together until they are worth a chunk, and tell which is the last.

    Args:
        data: The parts.
        end_octets: No more than these come in the last one.
    """
    held: list[bytes] = []
    octets = 0
    async for part in data:
        if octets >= CHUNK_OCTETS:
            yield b"".join(held), False
            held.clear()
            octets = 0
        if part:
            held.append(part)
            octets += len(part)
    last = b"".join(held)
    if end_octets is not None and len(last) > end_octets:
        yield last[:-end_octets], False
        last = last[-end_octets:]
    yield last, True


def _described(tls: ServerTls) -> str:
    """Tell of TLS in a line."""
    verified = "verified" if tls.is_verified else "not verified"
    name = f" for {tls.server_hostname}" if tls.is_verified else ""
    return f"{tls.version}, {tls.cipher}, the certificate is {verified}{name}"


def _mechanisms() -> Mapping[str, ClientMechanismFactory]:
    """List what we can log in by: SCRAM where scramp is installed, and the others."""
    if find_spec("scramp") is None:
        return CLIENT_MECHANISMS
    from pillarbox.scram_client import SCRAM_CLIENT_MECHANISMS

    return {**SCRAM_CLIENT_MECHANISMS, **CLIENT_MECHANISMS}
