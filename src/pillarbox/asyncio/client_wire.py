"""The octets of a client's connection: TLS, pausing, and time; no SMTP.

`Client` awaits what comes here. TLS is a layer in memory as on the server's side (tls.py), and not
asyncio's `start_tls()`: one code on every event loop, the failed handshake's own error, and nothing
that was read in the clear can be taken for what came encrypted.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from pillarbox.asyncio.client_error import CertificateRefused, TlsFailed
from pillarbox.asyncio.tls import ServerTls, TlsLayer
from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import printable
from pillarbox.protocol.sasl import TlsFacts

__all__ = ["ClientWire"]

TLS_FAILED = Reply(454, "4.7.5", "TLS failed")

# A server has no reason to say more than this at once; TCP makes it wait.
HIGH_WATER_OCTETS = 131_072
# A server that does not take our last words is not waited for.
LINGER_SECONDS = 1.0
# RFC 8446 §5.1: what a record begins with, of those that a server sends.
_RECORD_TYPES = b"\x14\x15\x16\x17"


class ClientWire(asyncio.Protocol):
    """The connection, as asyncio sees it.

    Args:
        protocol: What takes and gives the octets.
    """

    def __init__(self, protocol: ClientConnection) -> None:
        self.tls_error: ssl.SSLError | None = None
        """What broke TLS, in the handshake or later."""
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._is_paused = False
        self._is_ended = False
        self._is_lost = asyncio.Event()
        self._steps = -1
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._tls: TlsLayer | None = None
        self._is_shaking_hands = False
        self._first = b""  # of what came where TLS was due
        self._early: list[bytes] = []  # what came behind the handshake, before it was looked at

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        # A pause lasts until all is with the system: the end of a message waits for nothing else.
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        """Take octets of the network."""
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        if self._is_shaking_hands:
            self._early.append(data)
        elif data:
            self._protocol.receive_data(data)
        if self._protocol.buffered_octets > HIGH_WATER_OCTETS and not self._is_paused:
            self._is_paused = True
            cast("asyncio.Transport", self._transport).pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Take note that there will be no more."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that there is no connection any more."""
        self._is_lost.set()
        self._end()

    def _end(self) -> None:
        self._is_ended = True
        self._protocol.receive_eof()
        self._wake()

    def pause_writing(self) -> None:
        """Write no more for now."""
        self._protocol.is_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._protocol.is_paused = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    # TLS

    def _decrypt(self, tls: TlsLayer, data: bytes) -> bytes:
        if self.tls_error is not None:
            return b""
        self._first = self._first or data[:200]
        try:
            clear = tls.receive(data)
        except ssl.SSLError as error:
            self.tls_error = error
            clear = b""
        if answer := tls.data_to_send():
            cast("asyncio.Transport", self._transport).write(answer)
        if tls.is_closed or self.tls_error is not None:
            self._end()
        return clear

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str | None) -> ServerTls:
        """Do the handshake; call `tls_started()` next.

        Raises:
            TlsFailed: It failed; `CertificateRefused` where the certificate is why.
        """
        tls = TlsLayer(context, server_side=False, server_hostname=server_hostname)
        self._tls = tls
        self._is_shaking_hands = True
        cast("asyncio.Transport", self._transport).write(tls.begin())
        while not tls.is_established:
            if self.tls_error is not None:
                raise self._failed(self.tls_error, server_hostname)
            if self._is_ended:
                raise TlsFailed("the server closed the connection in the handshake", TLS_FAILED)
            if not await self.wait():
                raise TlsFailed("the server did not answer the handshake in time", TLS_FAILED)
        return tls.server_facts()

    def tls_started(self) -> None:
        """Tell the protocol, and give it what came behind the handshake."""
        tls = cast("TlsLayer", self._tls)
        bindings = {
            "tls-unique": tls.channel_binding(),
            "tls-server-end-point": tls.end_point(),
        }
        self._protocol.tls_started(
            TlsFacts({name: octets for name, octets in bindings.items() if octets})
        )
        self._is_shaking_hands = False
        self._protocol.receive_data(b"".join(self._early))
        self._early.clear()

    def _failed(self, error: ssl.SSLError, server_hostname: str | None) -> TlsFailed:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message.rstrip(".")
            return CertificateRefused(
                f"the certificate of {server_hostname or 'the server'} does not verify: {reason};"
                " connect by a name that it has, or give a context that trusts who issued it",
                TLS_FAILED,
                reason=reason,
            )
        if self._first[:1] not in _RECORD_TYPES:
            said = printable(self._first.partition(b"\r\n")[0])
            return TlsFailed(
                f"where TLS was due the server said in the clear: {said}", TLS_FAILED, said=said
            )
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return TlsFailed(f"TLS failed: {reason}", TLS_FAILED)

    # What the client calls

    def flush(self) -> None:
        """Write what there is to send."""
        data = self._protocol.data_to_send()
        if data and self._transport is not None and self.tls_error is None:
            try:
                self._transport.write(data if self._tls is None else self._tls.encrypt(data))
            except ssl.SSLError as error:
                self.tls_error = error
                self._end()

    async def wait(self) -> bool:
        """Wait until the server says more or takes more; `False` when it did neither in time.

        The deadline is one for each step of the protocol: an answer that comes octet by octet does
        not put it off.
        """
        loop = asyncio.get_running_loop()
        if self._steps != self._protocol.steps:
            self._steps = self._protocol.steps
            self._deadline = loop.time() + self._protocol.timeout_seconds
        if self._is_paused and self._transport is not None and not self._is_lost.is_set():
            self._is_paused = False
            self._transport.resume_reading()
        if self._timer is None or self._deadline < self._timer_at:
            self._set_timer(loop)
        self._waiter = loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the clock at the deadline.

        A timer for each wait costs as much as all else in it: one that comes too early, because
        the server answered, is set anew.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = loop.call_at(self._deadline, self._check_deadline, loop)

    def _check_deadline(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        # The timer of uvloop goes by milliseconds, and may come a little early.
        if self._timer_at >= self._deadline or loop.time() >= self._deadline:
            self._waiter.set_result(False)
        else:
            self._set_timer(loop)

    async def close(self) -> None:
        """Drop the connection, and wait until it is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport, tls = self._transport, self._tls
        if transport is None:
            return
        if tls is not None and tls.is_established and self.tls_error is None:
            await self._close_tls(transport, tls)
        transport.abort()
        await self._is_lost.wait()

    async def _close_tls(self, transport: asyncio.Transport, tls: TlsLayer) -> None:
        """Say goodbye, where that can be said at once."""
        if self._is_lost.is_set() or transport.is_closing() or transport.get_write_buffer_size():
            return
        transport.write(tls.close())
        transport.close()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self._is_lost.wait()
        except TimeoutError:
            return
