"""TLS between the transport and the protocol, in memory: octets in, octets out, no I/O.

The same code on every event loop. asyncio's own `start_tls()` needs a task for each handshake,
takes no octets that were read already (behind a PROXY header), and costs more CPU; and here it is
plain to see that nothing of the clear text survives STARTTLS.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from pillarbox.channel_binding import end_point
from pillarbox.envelope import Tls

__all__ = ["ServerTls", "TlsLayer"]

# No read gives more: it is the most that one record carries (RFC 8446 §5.1).
_READ_OCTETS = 16_384


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a client knows of its encrypted connection to a server.

    Attributes:
        version: Such as `TLSv1.3`.
        cipher: The cipher suite's name.
        server_hostname: The name that was asked for (SNI) and that the certificate was held to.
        is_verified: Whether the certificate was: who issued it, and its name.
        certificate: What it says, as `ssl.SSLObject.getpeercert()` gives it; `None` where nobody
            looked at who issued it.
        der: Its octets.
    """

    version: str
    cipher: str
    server_hostname: str | None
    is_verified: bool
    certificate: Mapping[str, object] | None
    der: bytes | None


class TlsLayer:
    """One TLS connection, seen from the server, or from the client.

    Feed what the network gives to `receive()`, which returns clear text; send what `encrypt()` and
    `data_to_send()` return. `is_established` turns true when the handshake is done.

    Args:
        context: The certificate and the rules.
        server_side: Whether we are the server. The client speaks first: see `begin()`.
        server_hostname: What the client asks for (SNI) and holds the certificate to.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "is_closed", "is_established")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = True,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
        )
        self.is_established = False
        self.is_closed = False
        """Whether the peer said that it will send no more."""

    def begin(self) -> bytes:
        """Give the first octets of the client's side."""
        self.receive(b"")
        return self._outgoing.read()

    def receive(self, data: bytes) -> bytes:
        """Take octets of the network; give the clear text in them.

        Raises:
            ssl.SSLError: This is not TLS, or a kind that we do not speak. Send `data_to_send()`,
                which has the alert, and close.
        """
        self._incoming.write(data)
        if not self.is_established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.is_established = True
        parts: list[bytes] = []
        # To read where nothing is left raises an exception, which costs as much as a record.
        while self._incoming.pending or self._object.pending():
            try:
                part = self._object.read(_READ_OCTETS)
            except ssl.SSLWantReadError:  # of a record, there is a part
                break
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                self.is_closed = True
                break
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        """Give the octets that carry this clear text, and whatever else waits to be sent."""
        if data:
            self._object.write(data)
        return self._outgoing.read()

    def data_to_send(self) -> bytes:
        """Give what TLS itself has to say: the handshake, alerts."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """Say goodbye, so that the peer knows nothing was cut off (RFC 8446 §6.1)."""
        with contextlib.suppress(ssl.SSLError):  # the peer's own goodbye is not waited for
            self._object.unwrap()
        return self._outgoing.read()

    def channel_binding(self) -> bytes | None:
        """Give the `tls-unique` binding, which TLS 1.3 does not have any more (RFC 9266 §1)."""
        return None if self._object.version() == "TLSv1.3" else self._object.get_channel_binding()

    def end_point(self) -> bytes | None:
        """Give the client the `tls-server-end-point` binding, which the certificate makes."""
        der = self._object.getpeercert(binary_form=True)
        return None if der is None else end_point(der)

    def server_facts(self) -> ServerTls:
        """Tell the client what was agreed on."""
        cipher = self._object.cipher()
        context = self._object.context
        return ServerTls(
            self._object.version() or "",
            cipher[0] if cipher else "",
            self._object.server_hostname,
            context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname,
            self._object.getpeercert() or None,
            self._object.getpeercert(binary_form=True),
        )

    @property
    def server_name(self) -> str | None:
        """The name that the client asked for (SNI), as the server heard it."""
        return getattr(self._object, "pillarbox_server_name", None)

    def facts(self) -> Tls:
        """Tell the server what was agreed on."""
        cipher = self._object.cipher()
        return Tls(
            self._object.version() or "",
            cipher[0] if cipher else "",
            self.server_name,
            self._object.getpeercert() or None,
        )
