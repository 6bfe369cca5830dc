"""LMTP for programs that wait: one exchange after the other, on a plain socket (RFC 2033).

The same protocol core as everywhere (protocol/client.py), without an event loop. `smtplib.LMTP`
is no choice: it reads one answer where there is one for each recipient.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from types import TracebackType

from pillarbox.config import machine_hostname
from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import ClientEvent, Outcome, Ready, Refused, Sent
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import NEED_DATA, Need
from pillarbox.protocol.reply import Reply

__all__ = ["LmtpSession"]

LOST = Reply(421, "4.4.2", "The connection was lost")
TIMED_OUT = Reply(421, "4.4.2", "The server did not answer in time")

READ_OCTETS = 65_536


class LmtpSession:
    """A session with an LMTP server, open once it is made; close it in the end.

    Args:
        address: Host and port.
        timeouts: How long to wait for what.
        lone_refusal_seconds: See `ClientConnection`.

    Raises:
        OSError: There is no connection, or no session.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        timeouts: Timeouts,
        lone_refusal_seconds: float | None = None,
    ) -> None:
        self._connection = ClientConnection(
            machine_hostname(),
            is_lmtp=True,
            timeouts=timeouts,
            lone_refusal_seconds=lone_refusal_seconds,
        )
        self._socket = socket.create_connection(address, timeouts.connect)
        try:
            event = self._converse()
            if not isinstance(event, Ready):
                raise ConnectionRefusedError(f"no session: {self._why(event)}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LmtpSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether another message can be sent, as far as is known."""
        return self._connection.is_open

    def ask(self, rcpt_to: str) -> Outcome:
        """Ask whether the server would take a recipient.

        Raises:
            ValueError: The address is none.
        """
        self._connection.ask("", [rcpt_to])
        return self._outcome()

    def send(self, mail_from: str, rcpt_tos: Sequence[str], data: bytes) -> Outcome:
        """Send a message, its lines ended by CRLF.

        Raises:
            ValueError: An address is none, or a line is not ended so.
        """
        self._connection.send_message(mail_from, rcpt_tos, data)
        return self._outcome()

    def close(self) -> None:
        """Say goodbye, and wait for no answer."""
        with contextlib.suppress(OSError), self._socket:
            if self._connection.is_open:
                self._connection.quit()
                self._socket.sendall(self._connection.data_to_send())

    def _outcome(self) -> Outcome:
        event = self._converse()
        assert isinstance(event, Sent)
        return event.outcome

    def _why(self, event: ClientEvent | None) -> Reply | None:
        return event.reply if isinstance(event, Refused) else self._connection.closing_reply

    def _converse(self) -> ClientEvent | None:
        """Send and wait until something has happened; `None` is the end of the session.

        That the session breaks is no error: it is told what became of the message.
        """
        connection = self._connection
        while True:
            try:
                event = connection.next_event()
            except RemoteProtocolError:
                continue  # the next event tells what came of that
            if not isinstance(event, Need):
                return event
            try:
                self._socket.settimeout(connection.timeout_seconds)
                self._socket.sendall(connection.data_to_send())
                if event is NEED_DATA:
                    self._hear()
            except TimeoutError:
                connection.abandon(TIMED_OUT)
            except OSError:
                connection.abandon(LOST)
            if connection.closing_reply is not None:
                event = connection.next_event()
                return None if isinstance(event, Need) else event

    def _hear(self) -> None:
        octets = self._socket.recv(READ_OCTETS)
        if octets:
            self._connection.receive_data(octets)
        else:
            self._connection.receive_eof()
