r"""A transport in memory, and a clock that stands still: the asyncio driver without a network.

::

    clock = FakeClock()
    server = Server(handler, clock=clock)
    client = MemoryTransport(Connection(server, Listener(is_tls=False)))
    client.feed(b"NOOP\r\n")
    clock.advance(301)
    server.check_deadlines()
    assert client.heard().endswith(b"421 4.4.2 Idle too long\r\n")
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["FakeClock", "MemoryTransport"]


class FakeClock:
    """A clock that stands still until it is told to go on.

    Pass it as `Server(handler, clock=clock)`, and call `server.check_deadlines()` after each
    `advance()`.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class MemoryTransport(asyncio.Transport):
    """A connection with no network under an asyncio protocol; the test is the peer.

    What the peer sends arrives at once while the protocol reads, and waits while it does not. What
    the protocol writes waits while the peer does not read (`is_read = False`), and above
    `high_water` the protocol is told.

    Args:
        protocol: The near end; its `connection_made()` is called.
        peername: The peer's address.
        sockname: The near end's address.
        high_water: How much may wait to be read by the peer.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        *,
        peername: object = ("192.0.2.1", 49152),
        sockname: object = ("192.0.2.25", 25),
        high_water: int = 65536,
    ) -> None:
        super().__init__({"peername": peername, "sockname": sockname})
        self.is_paused = False
        """Whether the protocol has stopped reading."""
        self.is_lost = False
        """Whether the connection is over."""
        self.writes = 0
        """How often the protocol wrote: each time is a packet, or more."""
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._high_water = high_water
        self._is_read = True
        self._is_closing = False
        self._is_choked = False
        self._inbound = bytearray()
        self._is_eof = False
        self._outbound = bytearray()
        self._heard = bytearray()
        protocol.connection_made(self)

    # The peer's end

    @property
    def waiting_octets(self) -> int:
        """How much the peer sent that the protocol has not taken."""
        return len(self._inbound)

    @property
    def is_read(self) -> bool:
        """Whether the peer reads."""
        return self._is_read

    @is_read.setter
    def is_read(self, is_read: bool) -> None:
        self._is_read = is_read
        self._deliver()

    def feed(self, data: bytes) -> None:
        """Send as the peer."""
        self._inbound += data
        self._arrive()

    def feed_eof(self) -> None:
        """Close the peer's side."""
        self._is_eof = True
        self._arrive()

    def lose(self, error: Exception | None = None) -> None:
        """Break the connection, as a reset by the peer does."""
        self._finish(error or ConnectionResetError("reset by the peer"))

    def heard(self) -> bytes:
        """Give what the peer has read since this was called last."""
        data = bytes(self._heard)
        self._heard.clear()
        return data

    def _arrive(self) -> None:
        while self._inbound and not self.is_paused and not self._is_closing:
            data = bytes(self._inbound)
            self._inbound.clear()
            self._protocol.data_received(data)
        if self._is_eof and not self._inbound and not self.is_paused and not self._is_closing:
            self._is_eof = False
            if not self._protocol.eof_received():
                self.close()

    def _deliver(self) -> None:
        if self._is_read:
            self._heard += self._outbound
            self._outbound.clear()
            if self._is_choked:
                self._is_choked = False
                self._protocol.resume_writing()
            if self._is_closing:
                self._finish(None)
        elif len(self._outbound) > self._high_water and not self._is_choked:
            self._is_choked = True
            self._protocol.pause_writing()

    def _finish(self, error: Exception | None) -> None:
        self._is_closing = True
        if not self.is_lost:
            self.is_lost = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    # The protocol's end, as asyncio has it

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send to the peer, when it reads."""
        if not self.is_lost:
            self.writes += 1
            self._outbound += data
            self._deliver()

    def pause_reading(self) -> None:
        """Let what the peer sends wait."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """Take what the peer sends, soon."""
        self.is_paused = False
        self._loop.call_soon(self._arrive)

    def is_reading(self) -> bool:
        """Tell whether what the peer sends arrives."""
        return not self.is_paused and not self._is_closing

    def get_write_buffer_size(self) -> int:
        """Tell how much the peer has not read."""
        return len(self._outbound)

    def is_closing(self) -> bool:
        """Tell whether this end has closed."""
        return self._is_closing

    def close(self) -> None:
        """Close when the peer has read all."""
        self._is_closing = True
        self._deliver()

    def abort(self) -> None:
        """Close now."""
        self._outbound.clear()
        self._finish(None)
