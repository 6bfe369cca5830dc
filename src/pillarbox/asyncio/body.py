"""A message body that is still coming in, read from the connection as the handler asks for it.

There is no queue: asking for the next part asks the protocol core for its next event, and waiting
for octets is what lets the driver read on. A handler that takes its time so slows the client down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.envelope import Body
from pillarbox.handler import IncompleteBody
from pillarbox.protocol.event import NEED_CLOSE, NEED_SEND, BodyAborted, BodyPart
from pillarbox.protocol.reply import Reply

if TYPE_CHECKING:
    from pillarbox.asyncio.connection import Connection

__all__ = ["BodyStream"]


class BodyStream(Body):
    """The body of a large message.

    Args:
        connection: Where more comes from.
        first: The part that is here already.
    """

    __slots__ = ("_connection", "_failure", "is_finished", "octets")

    def __init__(self, connection: Connection, first: bytes) -> None:
        super().__init__(first)
        self._connection = connection
        self._failure: IncompleteBody | None = None
        self.octets = len(first)
        """How much has been asked for and has come."""
        self.is_finished = False
        """Whether the last part was given, so that an answer is owed for the whole."""

    @property
    def is_whole(self) -> bool:
        """Never at once: see `data`."""
        return False

    @property
    def is_failed(self) -> bool:
        """Whether the rest will not come, so that no answer is owed."""
        return self._failure is not None

    @property
    def data(self) -> bytes:
        """Not to be had at once.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("this message is still coming in; use `await body.read()`")

    async def __anext__(self) -> bytes:
        """Give the next octets, reading more from the network as needed."""
        if self._data:
            first, self._data = self._data, b""
            return first
        while not self.is_finished:
            if self._failure is not None:
                raise self._failure
            event = self._connection.protocol.next_event()
            if isinstance(event, BodyPart):
                self.is_finished = event.is_last
                self.octets += len(event.data)
                if event.data:
                    return event.data
            elif isinstance(event, BodyAborted):
                self.fail(event.reply)
            elif event is NEED_CLOSE:
                self.fail()
            elif event is NEED_SEND:
                self._connection.flush()
            else:
                await self._connection.more_data()
        raise StopAsyncIteration

    def fail(self, reply: Reply | None = None) -> None:
        """Tell the reader that the rest will not come, the next time it asks."""
        if not self.is_finished and self._failure is None:
            self._failure = IncompleteBody(reply)
