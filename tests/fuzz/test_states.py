"""Property 7: a model of the states, small enough to be read, beside the core."""

from __future__ import annotations

from enum import Enum

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from tests.fuzz.session import Session
from tests.grammar import split_answers


class Model(Enum):
    """What the client has said that counts."""

    NOTHING = 0
    HELLO = 1
    SENDER = 2
    RECIPIENT = 3
    CHUNKS = 4
    OVER = 5


MAX_ERRORS = 12


class Conversation(RuleBasedStateMachine):
    """A client that says anything, and knows what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(Offer(hostname="mx.test", max_errors=MAX_ERRORS, max_recipients=3))
        self.model = Model.NOTHING
        self.recipients = 0
        self.errors = 0
        self.messages = 0

    def say(self, octets: bytes, code: int) -> None:
        """Say something, which has exactly one answer."""
        said = [answer.code for answer in split_answers(self.session.feed(octets))]
        if self.model is Model.OVER:
            assert said == []
            return
        is_error = code in (500, 501, 503, 553, 555)
        self.errors += is_error
        if is_error and self.errors >= MAX_ERRORS:
            assert said == [code, 421]
            self.model = Model.OVER
        else:
            assert said == [code]

    def goes(self, model: Model) -> None:
        if self.model is not Model.OVER:
            self.model = model

    @rule(verb=st.sampled_from([b"EHLO c\r\n", b"HELO c\r\n", b"Ehlo [192.0.2.1]\r\n"]))
    def hello(self, verb: bytes) -> None:
        self.say(verb, 250)
        self.goes(Model.HELLO)

    @rule(line=st.sampled_from([b"MAIL FROM:<a@b>\r\n", b"mail from: <>\r\n"]))
    def sender(self, line: bytes) -> None:
        if self.model is Model.HELLO:
            self.say(line, 250)
            self.goes(Model.SENDER)
            self.recipients = 0
        else:
            self.say(line, 503)

    @rule(
        is_later=st.booleans(), line=st.sampled_from([b"RCPT TO:<a@%b>\r\n", b"rcpt to:<a@%b>\r\n"])
    )
    def recipient(self, is_later: bool, line: bytes) -> None:
        octets = line % (b"x2" if is_later else b"x")
        if self.model not in (Model.SENDER, Model.RECIPIENT):
            self.say(octets, 503)
        elif self.recipients >= 3:
            self.say(octets, 452)
        elif is_later:
            self.say(octets, 450)
        else:
            self.say(octets, 250)
            self.recipients += 1
            self.goes(Model.RECIPIENT)

    @rule(
        verb=st.sampled_from([b"DATA\r\n", b"Data\r\n"]),
        body=st.sampled_from([b"", b"x\r\n", b"\n"]),
    )
    def data(self, verb: bytes, body: bytes) -> None:
        if self.model is not Model.RECIPIENT:
            self.say(verb, 503)
            return
        self.say(verb, 354)
        self.finish(
            body + (b"" if body.endswith(b"\r\n") or not body else b"\r\n") + b".\r\n", body
        )

    def finish(self, octets: bytes, body: bytes) -> None:
        if body == b"\n":
            self.say(octets, 550)
        else:
            self.say(octets, 250)
            self.messages += 1
            self.errors = 0
        self.goes(Model.HELLO)

    @rule(body=st.sampled_from([b"", b"QUIT\r\n"]), is_last=st.booleans())
    def chunk(self, body: bytes, is_last: bool) -> None:
        octets = b"BDAT %d%b\r\n%b" % (len(body), b" LAST" if is_last else b"", body)
        if self.model not in (Model.RECIPIENT, Model.CHUNKS):
            self.say(octets, 503)
        elif is_last:
            self.finish(octets, body)
        else:
            self.say(octets, 250)
            self.goes(Model.CHUNKS)

    @rule()
    def bad_chunk(self) -> None:
        if self.model in (Model.RECIPIENT, Model.CHUNKS):
            self.say(b"BDAT 3\r\na\nb", 550)
            self.goes(Model.HELLO)
        else:
            self.say(b"BDAT 3\r\na\nb", 503)

    @rule()
    def reset(self) -> None:
        self.say(b"RSET\r\n", 250)
        if self.model is not Model.NOTHING:
            self.goes(Model.HELLO)

    @rule(
        line=st.sampled_from([(b"NOOP", 250), (b"HELP", 214), (b"VRFY x", 252), (b"EXPN x", 502)])
    )
    def nothing(self, line: tuple[bytes, int]) -> None:
        # 502 to EXPN is no error of the client's: the command is known.
        self.say(line[0] + b"\r\n", line[1])

    @rule(
        line=st.sampled_from(
            [
                (b"BREW", 500),
                (b"NO\nOP", 500),
                (b"x" * 3000, 500),
                (b"QUIT now", 501),
                (b"EHLO", 501),
            ]
        )
    )
    def nonsense(self, line: tuple[bytes, int]) -> None:
        self.say(line[0] + b"\r\n", line[1])

    @rule()
    def quit(self) -> None:
        self.say(b"QUIT\r\n", 221)
        self.goes(Model.OVER)

    @precondition(lambda self: self.model is not Model.OVER)
    @rule()
    def server_closes(self) -> None:
        self.session.protocol.close(Reply(421, "4.3.2", "Shutting down"))
        self.session.pump()
        self.goes(Model.OVER)

    @invariant()
    def what_is_known_is_what_was_said(self) -> None:
        protocol = self.session.protocol
        assert self.session.is_closed is (self.model is Model.OVER)
        if self.model is not Model.OVER:
            assert (protocol.mail is not None) is (self.model.value >= Model.SENDER.value)
            has_recipients = self.model in (Model.RECIPIENT, Model.CHUNKS)
            assert len(protocol.rcpts) == (self.recipients if has_recipients else 0)
        taken = [message for message in self.session.happened if isinstance(message, bytes)]
        assert len(taken) == self.messages


TestConversation = Conversation.TestCase
