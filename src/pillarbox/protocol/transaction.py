"""One message on its way: MAIL, RCPT, the octets by DATA or BDAT, and the answers (RFC 5321 §3.3).

The part of the client's session that is over with each message; the session around it is client.py.
Over LMTP each recipient that was taken has an answer of its own at the end (RFC 2033 §4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pillarbox.protocol.client_event import Outcome
from pillarbox.protocol.client_state import Awaited, ClientState
from pillarbox.protocol.outgoing import OutgoingMessage
from pillarbox.protocol.pipeline import Pipeline
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions, broken

__all__ = ["END_OCTETS", "MESSAGE_ANSWERS", "SLICE_OCTETS", "Transaction"]

# A message that is here as a whole goes out in slices of this size.
SLICE_OCTETS: Final = 262_144

# Where somebody is asked before the end goes out, no more than this goes out with it: what the
# system does not take at once stays with the driver, and goes out later without a question.
END_OCTETS: Final = 16_384


class Transaction:
    """One message, from MAIL to its outcome.

    Args:
        message: The message, its form chosen.
        pipeline: What the session says its commands by.
        is_lmtp: Whether LMTP is spoken.
        is_question: Whether it ends with the answers to RCPT, and no message follows.
        may_end: Asked right before the last octets are written.
    """

    __slots__ = (
        "_is_lmtp",
        "_is_question",
        "_may_end",
        "_pipeline",
        "is_stale",
        "message",
        "outcome",
        "state",
    )

    def __init__(
        self,
        message: OutgoingMessage,
        pipeline: Pipeline,
        *,
        is_lmtp: bool,
        is_question: bool = False,
        may_end: Callable[[], bool] | None = None,
    ) -> None:
        self.message = message
        self.state = ClientState.ENVELOPE
        """How far it is: `ENVELOPE`, `BODY`, `ENDING`, or `WITHHELD` where it may not end."""
        self.is_stale = False
        """Whether the server still has the sender, so that RSET has to come before the next."""
        self.outcome: Outcome | None = None
        """What became of it, once that is known."""
        self._pipeline = pipeline
        self._is_lmtp = is_lmtp
        self._is_question = is_question
        self._may_end = may_end

    # Out

    def begin(self, extensions: Extensions, *, resets: bool) -> None:
        """Say as much as may be said before the first answer."""
        message = self.message
        commands = [(b"RSET", Awaited.RSET)] if resets else []
        commands.append((message.mail_command(extensions), Awaited.MAIL))
        commands.extend((line, Awaited.RCPT) for line in message.rcpt_commands(extensions))
        if message.writer is not None and self._pipeline.is_pipelined:
            commands.append((b"DATA", Awaited.DATA))
        self._pipeline.say(*commands)

    @property
    def may_write(self) -> bool:
        """Whether octets of the message may go out now."""
        if self.state is not ClientState.BODY:
            return False
        # How many answers a chunk behind a refused one has in LMTP, no RFC tells: one at a time.
        return self._pipeline.is_idle if self._is_lmtp else self._pipeline.has_room

    @property
    def has_lone_refusal(self) -> bool:
        """Whether the first answer to a whole message refuses it, and others are due still."""
        return (
            self._is_lmtp
            and self.state is ClientState.ENDING
            and len(self.message.end_replies) == 1
            and not self.message.end_replies[0][0].is_positive
        )

    def write_slice(self) -> None:
        """Write the next octets of a message that is here as a whole."""
        end_octets = 0 if self._may_end is None else END_OCTETS
        part, is_last = self.message.take_slice(SLICE_OCTETS, end_octets=end_octets)
        self.write(part, is_last=is_last)

    def write(self, part: bytes, *, is_last: bool) -> None:
        """Write octets of the message; ask `may_write` before.

        Where it may not end, the last octets are not written, and nothing is from there on: a
        server has no message of what the connection ends in.
        """
        if is_last and self._may_end is not None and not self._may_end():
            self.state = ClientState.WITHHELD
            return
        writer = self.message.writer
        answers = self.message.taken if self._is_lmtp else 1
        if writer is not None:
            self._pipeline.write(writer.write(part, is_last=is_last))
            if is_last:
                self._pipeline.end_data(writer.octets, answers=answers)
        elif is_last:
            command = b"BDAT %d LAST" % len(part)
            self._pipeline.write_chunk(command, Awaited.LAST, part, answers=answers)
        elif part:
            self._pipeline.write_chunk(b"BDAT %d" % len(part), Awaited.BDAT, part)
        if is_last:
            self.state = ClientState.ENDING

    # In

    def take(self, reply: Reply, awaited: Awaited) -> None:
        """Take an answer, and say what is due after it; look at `outcome` then.

        Raises:
            RemoteProtocolError: There is no way on from here.
        """
        _RUN[awaited](self, reply, awaited)

    def end_by_lone_refusal(self) -> Outcome:
        """Take the one refusal that came for all whose answer is due still."""
        return self.message.outcome(*self.message.end_replies[0])

    def end(self, reply: Reply, awaited: Awaited | None) -> Outcome:
        """Tell what became of it at the end of the session: the answer to something, or our own."""
        is_sent = awaited is None and self.state is ClientState.ENDING
        return self.message.outcome(reply, awaited.value if awaited else None, is_sent=is_sent)

    def _mail_answered(self, reply: Reply, _awaited: Awaited) -> None:
        self.message.mail_reply = reply
        self.is_stale = reply.is_positive
        if not reply.is_positive:
            self._pipeline.unsay()
            self._end_envelope(reply)

    def _rcpt_answered(self, reply: Reply, _awaited: Awaited) -> None:
        self.message.rcpt_replies.append(reply)
        self._end_envelope(reply)

    def _end_envelope(self, reply: Reply) -> None:
        """Go on to the message once all recipients are answered, if it is taken for any.

        BDAT waits for that even where it could be pipelined: a server that refuses all recipients
        and does not skip the octets would run them as commands.
        """
        if not self._pipeline.is_idle:
            return
        if self._is_question:
            self.outcome = self.message.answers(reply)
        elif not self.message.taken:
            self.outcome = self.message.outcome(reply, None)
        elif self.message.writer is None:
            self._begin_body()
        else:
            self._pipeline.say((b"DATA", Awaited.DATA))

    def _begin_body(self) -> None:
        self.state = ClientState.BODY
        data = self.message.data
        at_once = SLICE_OCTETS if self._may_end is None else END_OCTETS
        if data is not None and len(data) <= at_once:
            self.write(data, is_last=True)

    def _data_answered(self, reply: Reply, awaited: Awaited) -> None:
        if reply.code >= 400:
            self.outcome = self.message.outcome(reply, awaited.value)
        elif self.message.taken:
            self._begin_body()
        elif self._is_lmtp:
            # RFC 2033 §4.2 wants a 503, and nobody knows how many answers a lone dot has here.
            raise broken("DATA was answered by 354 after every recipient was refused")
        else:
            # Pipelined, and taken for nobody: RFC 2920 §3.1 wants the lone dot.
            self.state = ClientState.ENDING
            self._pipeline.write(b".\r\n")
            self._pipeline.end_data(0)

    def _end_answered(self, reply: Reply, awaited: Awaited) -> None:
        self.message.end_replies.append((reply, awaited.value))
        if self._pipeline.is_idle:
            self.is_stale = False
            self.outcome = self.message.outcome(reply, awaited.value)

    def _chunk_answered(self, reply: Reply, awaited: Awaited) -> None:
        message = self.message
        if self._is_lmtp and awaited is Awaited.LAST:
            self._end_answered(reply, awaited)
            return
        if message.refusal is None and not reply.is_positive:
            # RFC 3030 §2: no more chunks, and RSET before anything else.
            message.refusal = reply, awaited.value
            self.state = ClientState.ENDING
        if self.state is ClientState.ENDING and self._pipeline.is_idle:
            self.is_stale = message.refusal is not None
            self.outcome = message.outcome(reply, awaited.value)

    def _rset_answered(self, reply: Reply, _awaited: Awaited) -> None:
        """Go on: where RSET was refused, so will MAIL be."""


# What each answer does.
_RUN: Final[Mapping[Awaited, Callable[[Transaction, Reply, Awaited], None]]] = {
    Awaited.RSET: Transaction._rset_answered,
    Awaited.MAIL: Transaction._mail_answered,
    Awaited.RCPT: Transaction._rcpt_answered,
    Awaited.DATA: Transaction._data_answered,
    Awaited.END: Transaction._end_answered,
    Awaited.BDAT: Transaction._chunk_answered,
    Awaited.LAST: Transaction._chunk_answered,
}

MESSAGE_ANSWERS: Final = frozenset(_RUN)
"""What a transaction takes the answers to."""
