"""Commands out, answers in: which reply answers which command (RFC 2920; RFC 5321 §4.3).

Commands still to be said stand in one queue, what the next replies answer in another. Where the
server offers PIPELINING all that is queued goes out at once, otherwise each waits for the answer
to the one before: the one place that knows the difference. What answers mean: client.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from pillarbox.protocol.client_state import ANSWERS, Awaited
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import ReplyParser, broken, printable

__all__ = ["MAX_CHUNKS_WAITING", "Pipeline"]

# So many chunks go out before the first is answered: enough to keep a long way busy, few enough
# to stop soon after one is refused.
MAX_CHUNKS_WAITING: Final = 8

_FIRST_DIGITS: Final = {
    awaited: frozenset((*answer.success, 4, 5)) for awaited, answer in ANSWERS.items()
}


class Pipeline:
    """What is to be said, what was said, and what answers are due.

    Args:
        trace: Called with each line of the dialogue.
    """

    __slots__ = ("_out", "_queue", "_replies", "_trace", "awaited", "is_pipelined", "steps")

    def __init__(self, trace: Callable[[str], None] | None) -> None:
        self.is_pipelined = False
        """Whether the server offers PIPELINING."""
        self.awaited: deque[Awaited] = deque((Awaited.GREETING,))
        """What the next replies answer."""
        self.steps = 0
        """Counts what is said and answered."""
        self._queue: deque[tuple[bytes, Awaited]] = deque()
        self._out: list[bytes] = []
        self._replies = ReplyParser()
        self._trace = trace

    @property
    def is_idle(self) -> bool:
        """Whether all is said and answered."""
        return not self._queue and not self.awaited

    @property
    def has_room(self) -> bool:
        """Whether another chunk of the message may go out now."""
        waiting = len(self.awaited)
        return not waiting or (self.is_pipelined and waiting < MAX_CHUNKS_WAITING)

    @property
    def buffered_octets(self) -> int:
        """How much was received that no reply has been made of."""
        return len(self._replies)

    # Out

    def say(self, *commands: tuple[bytes, Awaited]) -> None:
        """Say these after what is queued already.

        What RFC 2920 §3.1 wants last in a group has to be last of `commands`.
        """
        self._queue.extend(commands)
        self.advance()

    def advance(self) -> None:
        """Say what may be said by now of what is queued."""
        while self._queue and (self.is_pipelined or not self.awaited):
            line, awaited = self._queue.popleft()
            self._out.append(line + b"\r\n")
            self.awaited.append(awaited)
            self.steps += 1
            self._show("C: ", line)

    def say_secret(self, line: bytes, awaited: Awaited, *, shown: bytes) -> None:
        """Say a line at once, when nothing else is under way, and show another one in its place."""
        self._out.append(line + b"\r\n")
        self.awaited.append(awaited)
        self.steps += 1
        self._show("C: ", shown)

    def write(self, octets: bytes) -> None:
        """Send octets of the message."""
        self._out.append(octets)
        self.steps += 1

    def write_chunk(
        self, command: bytes, awaited: Awaited, octets: bytes, *, answers: int = 1
    ) -> None:
        """Say a BDAT command and send its octets; ask `has_room` before."""
        self.say((command, awaited))
        self.awaited.extend([awaited] * (answers - 1))
        self._out.append(octets)
        self._show("C: ", b"(%d octets)" % len(octets))

    def end_data(self, octets: int, *, answers: int = 1) -> None:
        """Wait for the answer to a message of this size, whose final dot was written.

        Args:
            octets: The size.
            answers: How many there are: in LMTP one for each recipient (RFC 2033 §4.2).
        """
        self.awaited.extend([Awaited.END] * answers)
        self._show("C: ", b"(%d octets)" % octets)
        self._show("C: ", b".")

    def data_to_send(self) -> bytes:
        """Give the octets to send now, and forget them."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def unsay(self) -> None:
        """Forget what is queued and not said."""
        self._queue.clear()

    def begin_anew(self) -> None:
        """Forget what was learnt of the server in the clear (RFC 3207 §4.2)."""
        self.is_pipelined = False
        self.steps += 1

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self._queue.clear()
        self._out.clear()
        self.awaited.clear()
        self._replies = ReplyParser()

    # In

    def feed(self, data: bytes) -> None:
        """Take what the network gave."""
        self._replies.feed(data)

    def next_answer(self) -> tuple[Reply, Awaited | None] | None:
        """Give the next reply and what it answers, if anything; `None` until it is whole.

        Raises:
            RemoteProtocolError: It is no reply, or none that this command can have.
        """
        reply = self._replies.next_reply()
        if reply is None:
            return None
        self.steps += 1
        if self._trace is not None:
            self._show_reply(reply)
        if not self.awaited:
            return reply, None
        awaited = self.awaited.popleft()
        if reply.code // 100 not in _FIRST_DIGITS[awaited]:
            raise broken(f"{awaited.value} was answered by {reply}")
        return reply, awaited

    def _show_reply(self, reply: Reply) -> None:
        if reply.code == 334:
            # SCRAM's messages are enough to try passwords on, at leisure and unseen.
            self._show("S: ", b"334 (challenge)")
            return
        for line in self._replies.lines:
            self._show("S: ", line)

    def _show(self, side: str, line: bytes) -> None:
        if self._trace is not None:
            self._trace(side + printable(line))
