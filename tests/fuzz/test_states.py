"""Property 7: a model of the states, small enough to be read, beside the core."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from tests.fuzz.session import MECHANISMS, Session
from tests.grammar import split_answers


class Model(Enum):
    """What the client has said that counts."""

    NOTHING = 0
    HELLO = 1
    SENDER = 2
    RECIPIENT = 3
    CHUNKS = 4
    OVER = 5


MAX_ERRORS = 30
MAX_AUTH_FAILURES = 3

OFFER = Offer(
    hostname="mx.test",
    max_errors=MAX_ERRORS,
    max_recipients=3,
    offers_tls=True,
    mechanisms=MECHANISMS,
    allows_plaintext_auth=True,
    max_auth_failures=MAX_AUTH_FAILURES,
    offers_xclient=True,
)


class Conversation(RuleBasedStateMachine):
    """A client that says anything, and knows what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(OFFER)
        self.model = Model.NOTHING
        self.recipients = 0
        self.errors = 0
        self.messages = 0
        self.is_login_required = False
        self.is_tls = False
        self.identity: str | None = None
        self.login: str | None = None  # who the front server says it is
        self.failures = 0
        self.steps = 0

    @initialize(is_login_required=st.booleans(), far=st.integers(0, 3))
    def begin(self, is_login_required: bool, far: int) -> None:
        self.is_login_required = is_login_required
        self.session = Session(replace(OFFER, requires_auth=is_login_required))
        # Left to chance alone, few conversations come as far as a message.
        if far > 0:
            self.hello(b"EHLO c\r\n")
        if far > 1 and is_login_required:
            self.log_in(is_right=True, is_in_steps=False)
        if far > 1:
            self.sender(b"MAIL FROM:<a@b>\r\n")
        if far > 2:
            self.recipient(is_later=False, line=b"RCPT TO:<a@%b>\r\n")

    def say(self, octets: bytes, code: int, *, is_dead: bool = False) -> None:
        """Say something, which has exactly one answer."""
        self.steps += 1
        said = [answer.code for answer in split_answers(self.session.feed(octets))]
        if self.model is Model.OVER:
            assert said == []
            return
        is_error = is_dead or code in (500, 501, 503, 530, 553, 555)
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
        if self.model is Model.HELLO and self.is_login_required and self.identity is None:
            self.say(line, 530)
        elif self.model is Model.HELLO:
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
        line=st.sampled_from([b"RCPT TO:<a@dead>\r\n", b"rcpt to: <a@dead>\r\n"]),
        times=st.integers(1, MAX_ERRORS),
    )
    def dead_recipients(self, line: bytes, times: int) -> None:
        for _ in range(times):
            if self.model not in (Model.SENDER, Model.RECIPIENT):
                self.say(line, 503)
            elif self.recipients >= 3:
                self.say(line, 452)
            else:
                self.say(line, 550, is_dead=True)

    @rule(is_right=st.booleans(), is_in_steps=st.booleans())
    def log_in(self, is_right: bool, is_in_steps: bool) -> None:
        response = b"AGFubgBzZWNyZXQ=" if is_right else b"AGFubgB3cm9uZw=="
        if self.model is not Model.HELLO or self.identity is not None:
            self.say(b"AUTH PLAIN " + response + b"\r\n", 503)
            return
        if is_in_steps:
            self.say(b"Auth Plain\r\n", 334)
            self.answer_challenge(response, is_right=is_right)
        else:
            self.answer_challenge(b"AUTH PLAIN " + response, is_right=is_right)

    @rule(times=st.integers(1, MAX_AUTH_FAILURES))
    def guess(self, times: int) -> None:
        for _ in range(times):
            self.log_in(is_right=False, is_in_steps=False)

    def answer_challenge(self, line: bytes, *, is_right: bool) -> None:
        if is_right:
            self.say(line + b"\r\n", 235)
            self.identity = "ann"
            return
        said = [answer.code for answer in split_answers(self.session.feed(line + b"\r\n"))]
        self.failures += 1
        if self.failures < MAX_AUTH_FAILURES:
            assert said == [535]
        else:
            assert said == [535, 421]
            self.model = Model.OVER

    @rule(line=st.sampled_from([b"*", b"!", b"NOOP", b"AUTH PLAIN", b"", b"QUIT"]))
    def log_in_and_give_up(self, line: bytes) -> None:
        if self.model is Model.HELLO and self.identity is None:
            self.say(b"AUTH PLAIN\r\n", 334)
            self.say(line + b"\r\n", 501)

    @rule(behind=st.sampled_from([b"", b"EHLO evil\r\n", b"MAIL FROM:<e@evil>\r\n", b"QUIT\r\n"]))
    def start_tls(self, behind: bytes) -> None:
        if self.is_tls or self.model not in (Model.NOTHING, Model.HELLO):
            self.say(b"STARTTLS\r\n", 503)
            return
        self.say(b"STARTTLS\r\n" + behind, 220)
        self.is_tls = True
        self.goes(Model.NOTHING)
        self.identity = self.login

    @rule(
        said=st.sampled_from(
            [
                *((b"LOGIN=ben", "ben"), (b"login=[unavailable] NAME=x", None)),
                *((b"ADDR=192.0.2.9", "as before"), (b"ADDR=x", "wrong"), (b"", "wrong")),
            ]
        )
    )
    def another_client(self, said: tuple[bytes, str | None]) -> None:
        line = b"XCLIENT " + said[0] + b"\r\n"
        if self.model not in (Model.NOTHING, Model.HELLO):
            self.say(line, 503)
        elif said[1] == "wrong":
            self.say(line, 501)
        else:
            self.say(line, 220)
            self.goes(Model.NOTHING)
            if said[1] != "as before":
                self.login = said[1]
            self.identity = self.login

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

    # Most of a conversation is to come before its end.
    @precondition(lambda self: self.steps > 15)
    @rule()
    def quit(self) -> None:
        self.say(b"QUIT\r\n", 221)
        self.goes(Model.OVER)

    @precondition(lambda self: self.steps > 15 and self.model is not Model.OVER)
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
            assert (protocol.domain is not None) is (self.model is not Model.NOTHING)
            assert (protocol.is_tls, protocol.identity) == (self.is_tls, self.identity)
        taken = [message for message in self.session.happened if isinstance(message, bytes)]
        assert len(taken) == self.messages


TestConversation = Conversation.TestCase
