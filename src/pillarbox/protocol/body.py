"""The message under way: its parts, its limits, and what was decided on it so far.

Octets come from a reader of framing.py; what goes out are `BodyPart` and `BodyAborted`. A message
that breaks a rule is read to its end all the same, and thrown away: the client stays in step
(RFC 5321 §4.5.3.1.9).
"""

from __future__ import annotations

from pillarbox.protocol.event import BodyAborted, BodyPart
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.framing import BodyReader, NewlineCheck
from pillarbox.protocol.replies import TOO_LARGE
from pillarbox.protocol.reply import Reply

__all__ = ["IncomingBody"]

BARE_NEWLINE = Reply(550, "5.6.11", "A CR or LF that is not part of a CRLF")


class IncomingBody:
    """One message between its DATA or first BDAT and the reply to its end.

    Args:
        reader: Where the octets come from; put a new one here for each BDAT chunk.
        offer: The limits.
        newlines: Looks for bare CR and LF, or `None` where they are allowed.
    """

    __slots__ = (
        "_newlines",
        "_offer",
        "_parts",
        "_pending",
        "is_announced",
        "kept_replies",
        "octets",
        "reader",
        "refusal",
    )

    def __init__(self, reader: BodyReader, offer: Offer, newlines: NewlineCheck | None) -> None:
        self.reader = reader
        self.is_announced = False
        """Whether a part has been given out, so that somebody waits for the rest."""
        self.kept_replies: tuple[Reply, ...] = ()
        """The answer that came before the end of the message."""
        self.refusal: Reply | None = None
        """The rule that the message broke."""
        self._offer = offer
        self._newlines = newlines
        self._parts: list[bytes] = []
        self._pending = 0
        self.octets = 0

    def pull(self) -> BodyPart | BodyAborted | None:
        """Read what there is; give a part that need not wait for the end.

        Returns:
            `None` when the reader has no more for now: see `reader.is_finished`.
        """
        reader = self.reader
        while not reader.is_finished and (data := reader.read()):
            self.octets += len(data)
            if self.refusal is not None:
                continue
            limit = self._offer.max_message_bytes
            if limit and self.octets > limit:
                return self.refuse(TOO_LARGE)
            if self._newlines is not None and not self._newlines.accepts(data):
                return self.refuse(BARE_NEWLINE)
            if not self.kept_replies:
                self._parts.append(data)
                self._pending += len(data)
        # Small chunks are whole when they are read, and pile up all the same.
        is_end = reader.is_finished and reader.is_last
        if self._pending and not is_end and self._may_go_out():
            self.is_announced = True
            return BodyPart(self._take(), is_last=False)
        return None

    def _may_go_out(self) -> bool:
        return self.is_announced or self._pending > self._offer.whole_body_octets

    def finish(self) -> BodyPart | BodyAborted | None:
        """Give the last part, or `None` where it is refused or answered already."""
        # A CR may be the last octet of all, by BDAT.
        if self.refusal is None and self._newlines and not self._newlines.accepts(b"", final=True):
            return self.refuse(BARE_NEWLINE)
        if self.refusal is not None or self.kept_replies:
            return None
        return BodyPart(self._take(), is_last=True)

    def refuse(self, reply: Reply) -> BodyAborted | None:
        """Throw the message away; tell whoever waits for the rest."""
        self.refusal = reply
        self._parts.clear()
        self._pending = 0
        return self.abort(reply)

    @property
    def known_refusal(self) -> Reply | None:
        """What the message is refused by already, though its end has not come."""
        if self.refusal is None and not any(reply.is_positive for reply in self.kept_replies):
            return next(iter(self.kept_replies), None)
        return self.refusal

    def abort(self, reply: Reply | None) -> BodyAborted | None:
        """Tell whoever waits for the rest, if anybody does, that it will not come."""
        if self.is_announced and not self.kept_replies:
            self.is_announced = False
            return BodyAborted(reply)
        return None

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._pending = 0
        return data
