"""The octets of one connection: a PROXY header, TLS, pausing, and time; what they mean is above.

`Connection` is built on this. The layers under SMTP are peeled off in the order in which they come:
PROXY header, TLS, then clear text for the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, cast

from pillarbox.asyncio.tls import TlsLayer
from pillarbox.dialogue import Dialogue
from pillarbox.listen import plain_address
from pillarbox.log import peer_text
from pillarbox.protocol.body import IncomingBody
from pillarbox.protocol.event import Mail
from pillarbox.protocol.framing import ChunkReader
from pillarbox.protocol.note import LoginDecided
from pillarbox.protocol.proxy import ProxyError, ProxyHeader, parse_proxy_header
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import TlsFacts
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.state import State

if TYPE_CHECKING:
    from pillarbox.asyncio.connection import Connection
    from pillarbox.asyncio.server import Listener, Server
    from pillarbox.envelope import Session

__all__ = ["Wire"]

IDLE = Reply(421, "4.4.2", "Idle too long")
TOO_SLOW = Reply(421, "4.4.2", "Too slow")
TOO_LONG = Reply(421, "4.4.2", "This session has lasted long enough")

# A client that does not read our last words is not waited for.
LINGER_SECONDS = 5.0
# Message data may stall for a while before its rate is looked at: a client may take that long over
# one block of it (RFC 5321 §4.5.3.2.5).
RATE_GRACE_SECONDS = 180.0


class Wire(asyncio.Protocol):
    """The transport of a connection, and the layers between it and the protocol.

    Args:
        server: Whose connection this is.
        listener: Where it came in, and what is spoken there.
    """

    __slots__ = (
        "_active_at",
        "_awaited",
        "_began_at",
        "_chokes",
        "_dialogue",
        "_held",
        "_is_layered",
        "_is_lost",
        "_is_paused",
        "_line_octets",
        "_line_since",
        "_listener",
        "_mail",
        "_mail_since",
        "_proxy",
        "_rated",
        "_rated_since",
        "_server",
        "_tls",
        "_transport",
        "client",
        "protocol",
    )

    def __init__(self, server: Server, listener: Listener) -> None:
        asks = server.questions
        self.protocol = ServerConnection(
            server.offer,
            asks_connect=asks.connect is not None,
            asks_mail=asks.mail is not None,
            asks_rcpt=asks.rcpt is not None,
            is_tls=listener.is_tls,
        )
        self.client: str | None = None
        """For whom the server counts the connection; `None` until it is let in."""
        self._server = server
        self._listener = listener
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._awaited: bytes | None = None  # what there is of a PROXY header that is due
        self._proxy: ProxyHeader | None = None
        self._tls: TlsLayer | None = None
        self._is_layered = False
        self._is_lost = False
        self._is_paused = False
        self._chokes = 0
        self._dialogue = Dialogue() if server.config.keeps_dialogue else None
        self._held = b""
        self._active_at = self._began_at = server.now
        self._rated: IncomingBody | ChunkReader | None = None
        self._rated_since = self._line_since = 0.0
        self._line_octets = 0
        self._mail: Mail | None = None
        self._mail_since = 0.0

    # What the connection built on this does

    @property
    def session(self) -> Session:
        """What logs and the handler know this connection by."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Handle what there is; greet, when there was nothing yet."""
        raise NotImplementedError

    def _is_waiting_for_peer(self) -> bool:
        """Tell whether it is the client's turn, not the handler's."""
        raise NotImplementedError

    # Beginning

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or find out first who it is."""
        self._transport = cast("asyncio.Transport", transport)
        if self._server.admission.expects_proxy(transport):
            self._awaited = b""
            self._is_layered = True
            self._server.admission.await_proxy_header(cast("Connection", self))
        else:
            self._enter()

    def _enter(self) -> None:
        """Count the client, and greet it; send it away where it is one too many."""
        refusal = self._server.admit(cast("Connection", self))
        if refusal is not None:
            if not self._listener.is_tls:  # there, nobody could read it
                self._transport.write(refusal.wire)
            self._transport.close()
        elif self._listener.is_tls:
            self._start_tls()
        else:
            self._go_on()

    @property
    def peer(self) -> tuple[str, int] | str:
        """The client's address, by XCLIENT or PROXY header where there was one."""
        peer: tuple[str, int] | str
        if self._proxy is not None and self._proxy.source is not None:
            peer = self._proxy.source
        else:
            peer = plain_address(self._transport.get_extra_info("peername"))
        xclient = self.protocol.xclient
        return peer if xclient is None else xclient.peer(peer)

    @property
    def local(self) -> tuple[str, int] | str:
        """Our address that the client connected to."""
        local: tuple[str, int] | str
        if self._proxy is not None and self._proxy.destination is not None:
            local = self._proxy.destination
        else:
            local = plain_address(self._transport.get_extra_info("sockname"))
        xclient = self.protocol.xclient
        return local if xclient is None else xclient.local(local)

    @property
    def proxy(self) -> tuple[str, int] | str | None:
        """The proxy that spoke first, and told whom it stands for or that it is none; or `None`."""
        if self._proxy is None:
            return None
        return plain_address(self._transport.get_extra_info("peername"))

    # Layers

    def _unwrap(self, data: bytes) -> bytes:
        """Take octets of the network; give those that are SMTP."""
        if self._awaited is not None:
            data = self._take_proxy_header(self._awaited + data)
            if self._transport.is_closing():
                return b""
        if self._tls is not None and data:
            return self._decrypt(self._tls, data)
        return data

    def _take_proxy_header(self, data: bytes) -> bytes:
        try:
            found = parse_proxy_header(data)
        except ProxyError as error:
            journal = self._server.journal
            journal.counters.connections += 1
            journal.counters.refused_proxy += 1
            text = "connection from %s closed: %s"
            journal.tell(
                self, "PROXY errors", text, peer_text(self.peer), error, level=logging.WARNING
            )
            self._transport.abort()
            return b""
        if found is None:
            self._awaited = data
            return b""
        self._proxy, end = found
        self._awaited = None
        self._is_layered = False
        self._enter()
        return data[end:]

    def _start_tls(self) -> None:
        """Begin the handshake; what the client sends from now on is TLS."""
        context = self._server.tls_context
        assert context is not None  # a listener with TLS and an offer of STARTTLS have one
        self._tls = TlsLayer(context)
        self._is_layered = True
        self._began_at = self._server.now

    def _decrypt(self, tls: TlsLayer, data: bytes) -> bytes:
        was_established = tls.is_established
        try:
            clear = tls.receive(data)
        except ssl.SSLError as error:
            journal = self._server.journal
            journal.counters.handshakes_failed += not was_established
            why = error.reason or error
            journal.tell(self, "TLS failures", "TLS with %s failed: %s", peer_text(self.peer), why)
            self._transport.write(tls.data_to_send())
            self._transport.close()
            return b""
        if tls.is_established and not was_established:
            self._tls_established(tls)  # the greeting and the end of the handshake leave in one
        if (answer := tls.data_to_send()) and not self._transport.is_closing():
            self._transport.write(answer)
        if tls.is_closed:
            self.protocol.receive_data(clear)
            self.eof_received()
            return b""
        return clear

    def _is_unfinished(self) -> bool:
        """Tell whether a layer below SMTP is still being set up."""
        return self._awaited is not None or (self._tls is not None and not self._tls.is_established)

    def _tls_established(self, tls: TlsLayer) -> None:
        self._server.journal.counters.handshakes_succeeded += 1
        facts = TlsFacts(self._server.channel_bindings(tls))
        if self.protocol.state is State.TLS:
            self.protocol.tls_started(facts)
        else:
            self.protocol.tls_facts = facts
        self._go_on()

    # Sending

    def flush(self) -> None:
        """Write what the protocol has to say."""
        data = self.protocol.data_to_send()
        is_held = bool(self.protocol.notes) and self._take_notes()
        if not data or self._is_lost:
            return
        if is_held or self._held:  # what is said later may not come sooner
            self._hold(data)
        else:
            self._write(data)

    def _take_notes(self) -> bool:
        """Count and log what the protocol decided; tell whether a login failed."""
        has_failed = False
        for note in self.protocol.take_notes():
            self._server.journal.take(self, note)
            if isinstance(note, LoginDecided) and note.identity is None:
                has_failed |= not note.reply.is_transient  # or else it is we who failed
        return has_failed

    def _write(self, data: bytes) -> None:
        if self._is_lost or self._transport.is_closing():
            return
        if self._dialogue is not None:
            self._dialogue.sent(data)
        self._transport.write(data if self._tls is None else self._tls.encrypt(data))

    def _hold(self, data: bytes) -> None:
        """Answer a failed login late, whatever was wrong with it: guessing has to cost time."""
        is_due = bool(self._held)
        self._held += data
        if not is_due:
            self._choke()
            self._server.loop.call_later(self._server.config.auth_delay_seconds, self._let_go)

    def _let_go(self) -> None:
        if self._is_lost:
            return
        self._say_held()
        if self.protocol.state is State.CLOSED:
            self._shut()
        self.resume_writing()

    def _say_held(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._write(held)

    def _shut(self) -> None:
        """Close the connection once all is written."""
        if self._transport.is_closing():
            return
        self._active_at = self._server.now
        if self._tls is not None and self._tls.is_established and not self._is_lost:
            self._transport.write(self._tls.close())
        self._transport.close()

    # Pausing

    def pause_writing(self) -> None:
        """Read no more from a client that does not read what we say."""
        self._choke()

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._chokes -= 1
        if not self._chokes:
            self._resume()

    def _choke(self) -> None:
        self._chokes += 1
        self._pause()

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and not self._chokes and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    # Time

    def check(self, now: float) -> None:
        """Close the connection of a client that takes too long over something."""
        silent_seconds = now - self._active_at
        if self._transport.is_closing():
            if silent_seconds > LINGER_SECONDS:
                self._transport.abort()
        elif self._is_unfinished():
            config = self._server.config
            if now - self._began_at > min(
                config.handshake_timeout_seconds, config.idle_timeout_seconds
            ):
                self._server.journal.counters.timeouts_handshake += 1
                self._tell_time_out("no handshake in time")
                self._transport.abort()
        elif not self._is_waiting_for_peer():
            self._active_at = now
            self._rated_since = now
            self._line_since = 0.0
        elif silent_seconds > self.protocol.timeout_seconds:
            self._server.journal.counters.timeouts_idle += 1
            self._time_out(IDLE)
        else:
            incoming = self.protocol.incoming
            if incoming is not self._rated:  # another message than at the last tick, or none
                self._rated = incoming
                self._rated_since = now
                self._line_since = 0.0
            if incoming is not None:
                self._check_rate(now, incoming)
            else:
                self._check_line(now)

    def _check_rate(self, now: float, incoming: IncomingBody | ChunkReader) -> None:
        """A message that drips in one octet at a time holds a connection for days."""
        late_seconds = now - self._rated_since - RATE_GRACE_SECONDS
        least = self._server.config.min_message_rate
        if late_seconds > 0 and incoming.octets < late_seconds * least:
            self._server.journal.counters.timeouts_slow += 1
            self._time_out(TOO_SLOW)
        elif now - self._rated_since > self._server.config.max_session_seconds:
            # Such as one that was refused for its size, and goes on.
            self._server.journal.counters.timeouts_session += 1
            self._time_out(TOO_LONG)

    def _check_line(self, now: float) -> None:
        """A command has the idle time-out as a whole, not for each of its octets.

        A session has its end between two transactions, or where one transaction alone has lasted
        for as long and still brings no message.
        """
        octets = self.protocol.buffered_octets
        if not octets:
            self._line_since = 0.0
        elif not self._line_since or octets < self._line_octets:
            self._line_since = now  # it cannot have shrunk but by a command that was whole
        self._line_octets = octets
        if self._line_since and now - self._line_since > self.protocol.timeout_seconds:
            self._server.journal.counters.timeouts_slow += 1
            self._time_out(TOO_SLOW)
            return
        mail = self.protocol.mail
        if mail is not self._mail:  # another transaction than at the last tick, or none
            self._mail = mail
            self._mail_since = now
        since = self._began_at if mail is None else self._mail_since
        if now - since > self._server.config.max_session_seconds:
            self._server.journal.counters.timeouts_session += 1
            self._time_out(TOO_LONG)

    def _time_out(self, reply: Reply) -> None:
        self._tell_time_out(reply)
        self.close(reply)

    def _tell_time_out(self, why: object) -> None:
        text = "connection from %s closed: %s"
        self._server.journal.tell(self, "time-outs", text, peer_text(self.peer), why)

    def close(self, reply: Reply) -> None:
        """Send a last reply, and close."""
        self.protocol.close(reply)
        self._say_held()
        self.flush()
        self._shut()
