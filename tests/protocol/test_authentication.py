"""AUTH as a dialogue (RFC 4954): when it may come, what ends it, what it is told."""

from __future__ import annotations

import base64

import pytest

from pillarbox.envelope import Session
from pillarbox.protocol.auth import MAX_RESPONSE_OCTETS
from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, Auth
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import (
    STANDARD_MECHANISMS,
    Challenge,
    Credentials,
    Failure,
    Mechanism,
    Outcome,
    Password,
    Question,
    ScramUser,
    Success,
    TlsFacts,
    Token,
)
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.state import State
from tests.conftest import Talk

MECHANISMS = {name: STANDARD_MECHANISMS[name] for name in ("PLAIN", "LOGIN", "OAUTHBEARER")}
PLAINTEXT = Offer(hostname="mx.test", mechanisms=MECHANISMS, allows_plaintext_auth=True)
NEEDS_TLS = Offer(hostname="mx.test", mechanisms=MECHANISMS, offers_tls=True)
REQUIRED = Offer(
    hostname="mx.test", mechanisms=MECHANISMS, allows_plaintext_auth=True, requires_auth=True
)
NOBODY = Offer(hostname="mx.test")


class Users:
    """Ann may log in."""

    def auth(self, _session: Session, credentials: Credentials) -> str | None:
        match credentials:
            case Password("ann", "secret", "") | Token("ann", "secret"):
                return "ann"
        return None

    def message(self, session: Session, _envelope: object, _body: object) -> None:
        assert session.identity == "ann"


def coded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


WHY = coded(b'{"status":"invalid_token","schemes":"bearer"}')
PLAIN = coded(b"\0ann\0secret")
HELLO = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 ...
"""
SUCCEEDED = "S: 235 2.7.0 Authentication succeeded"
FAILED = "S: 535 5.7.8 Authentication credentials invalid"

# What the client says, and what it is told.
DIALOGUES = {
    "initial": f"C: AUTH PLAIN {PLAIN}\n{SUCCEEDED}",
    "any case": f"C: auth plain {PLAIN}\n{SUCCEEDED}",
    "in two steps": f"C: AUTH PLAIN\nS: 334 ...\nC: {PLAIN}\n{SUCCEEDED}",
    "LOGIN": f"C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {coded(b'ann')}\nS: 334 UGFzc3dvcmQ6\n"
    f"C: {coded(b'secret')}\n{SUCCEEDED}",
    "once": f"C: AUTH PLAIN {PLAIN}\n{SUCCEEDED}\nC: AUTH PLAIN {PLAIN}\n"
    "S: 503 5.5.1 Authenticated already",
    "still after RSET and EHLO": f"C: AUTH PLAIN {PLAIN}\n{SUCCEEDED}\nC: RSET\nS: 250 ...\n"
    f"C: EHLO client.test\nS: 250 ...\nC: AUTH PLAIN {PLAIN}\nS: 503 5.5.1 Authenticated already",
    "not in a transaction": f"C: MAIL FROM:<>\nS: 250 ...\nC: AUTH PLAIN {PLAIN}\n"
    "S: 503 5.5.1 AUTH has no place in a transaction; RSET ends it",
    "cancelled": "C: AUTH PLAIN\nS: 334 ...\nC: *\nS: 501 5.7.0 Authentication cancelled\n"
    f"C: AUTH PLAIN {PLAIN}\n{SUCCEEDED}",
    "no base64": "C: AUTH PLAIN ann\nS: 501 5.5.2 Not base64",
    "no base64 in a response": "C: AUTH PLAIN\nS: 334 ...\nC: NOOP !\nS: 501 5.5.2 Not base64\n"
    "C: NOOP\nS: 250 2.0.0 OK",
    "an empty initial response": "C: AUTH PLAIN =\n"
    "S: 501 5.5.2 Syntax: authorization-id NUL username NUL password",
    "an empty response": "C: AUTH PLAIN\nS: 334 ...\nC:\n"
    "S: 501 5.5.2 Syntax: authorization-id NUL username NUL password",
    "unknown": "C: AUTH GSSAPI\nS: 504 5.5.4 Mechanism not offered",
    "no mechanism": "C: AUTH\nS: 501 5.5.4 Syntax: AUTH mechanism [initial-response]",
    "too much": "C: AUTH PLAIN a b\nS: 501 5.5.4 Syntax: AUTH mechanism [initial-response]",
    "for somebody else": f"C: AUTH PLAIN {coded(b'ben' + bytes(1) + b'ann' + bytes(1) + b'secret')}"
    f"\n{FAILED}",
    "failed, and again": f"C: AUTH PLAIN {coded(b'-ann-wrong'.replace(b'-', bytes(1)))}\n{FAILED}\n"
    f"C: AUTH PLAIN {PLAIN}\n{SUCCEEDED}",
    "a bearer": "C: AUTH OAUTHBEARER "
    + coded(b"n,a=ann,-auth=Bearer wrong--".replace(b"-", b"\1"))
    + f"\nS: 334 {WHY}\nC: AQ==\n{FAILED}",
}


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES)
def test_dialogue(talk: Talk, dialogue: str) -> None:
    talk(f"{HELLO}{dialogue}", offer=PLAINTEXT, handler=Users)


def test_the_limit_on_failures(talk: Talk) -> None:
    wrong = coded(b"\0ann\0wrong")
    tries = "\n".join(f"C: AUTH PLAIN {wrong}\n{FAILED}" for _ in range(3))
    talk(
        f"{HELLO}{tries}\nS: 421 4.7.0 Too many failed logins\nS: [closed]",
        offer=PLAINTEXT,
        handler=Users,
    )


def test_before_ehlo(talk: Talk) -> None:
    talk(
        "S: 220 mx.test ESMTP\nC: AUTH PLAIN\nS: 503 5.5.1 Say EHLO first",
        offer=PLAINTEXT,
        handler=Users,
    )


def test_not_offered(talk: Talk) -> None:
    talk(f"{HELLO}C: AUTH PLAIN\nS: 502 5.5.1 AUTH is not offered", offer=NOBODY)


def test_not_in_the_clear(talk: Talk) -> None:
    talk(
        f"{HELLO}C: AUTH PLAIN {PLAIN}\nS: 538 5.7.11 Encryption required; say STARTTLS first",
        offer=NEEDS_TLS,
        handler=Users,
    )
    assert not any(keyword.startswith("AUTH") for keyword in NEEDS_TLS.keywords())
    assert "AUTH PLAIN LOGIN OAUTHBEARER" in NEEDS_TLS.keywords(is_tls=True)


def test_required(talk: Talk) -> None:
    talk(
        f"""{HELLO}
    C: MAIL FROM:<ann@example.org>
    S: 530 5.7.0 Authentication required
    C: MAIL FROM:<ann@example.org> SIZE=1
    S: 530 5.7.0 Authentication required
    C: AUTH PLAIN {PLAIN}
    {SUCCEEDED}
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 Sender OK
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 Recipient OK
    C: DATA
    S: 354 ...
    C: x
    C: .
    S: 250 2.0.0 Message accepted
    """,
        offer=REQUIRED,
        handler=Users,
    )


# The core by itself.


def ready(*, offer: Offer = PLAINTEXT) -> ServerConnection:
    server = ServerConnection(offer, asks_connect=False)
    server.receive_data(b"EHLO client.test\r\n")
    assert server.next_event() is NEED_DATA
    server.data_to_send()
    return server


def test_what_follows_auth_waits_for_the_answer() -> None:
    server = ready()
    server.receive_data(f"AUTH PLAIN {PLAIN}\r\nNOOP\r\n".encode())
    assert server.next_event() == Auth("PLAIN", Password("ann", "secret"))
    assert server.data_to_send() == b""
    with pytest.raises(LocalProtocolError, match="Auth is not answered"):
        server.next_event()
    with pytest.raises(LocalProtocolError, match="answer_auth"):
        server.reply(Reply(250, "2.0.0", "OK"))
    server.answer_auth("ann")
    assert server.next_event() is NEED_DATA
    assert server.data_to_send().split(b" ")[0] == b"235"
    assert server.identity == "ann"


def test_an_answer_to_nothing() -> None:
    with pytest.raises(LocalProtocolError, match="no Auth to answer"):
        ready().answer_auth("ann")


@pytest.mark.parametrize("code", [421, 454, 535])
def test_a_refusal(code: int) -> None:
    server = ready()
    server.receive_data(f"AUTH PLAIN {PLAIN}\r\n".encode())
    assert isinstance(server.next_event(), Auth)
    server.reply(Reply(code, None, "No"))
    assert server.data_to_send() == b"%d No\r\n" % code
    assert server.next_event() is (NEED_CLOSE if code == 421 else NEED_DATA)
    assert server.identity is None


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("is_initial", [False, True])
def test_the_longest_response(excess: int, is_initial: bool) -> None:
    server = ready()
    response = b"A" * (MAX_RESPONSE_OCTETS + excess * 200)
    if is_initial:
        server.receive_data(b"AUTH PLAIN " + response + b"\r\nNOOP\r\n")
    else:
        server.receive_data(b"AUTH PLAIN\r\n" + response + b"\r\nNOOP\r\n")
    assert server.next_event() is NEED_DATA
    said = server.data_to_send().removeprefix(b"334 \r\n")
    assert said.startswith(b"500 5.5.6" if excess else b"501 5.5.2 ")
    assert said.endswith(b"250 2.0.0 OK\r\n")
    assert server.state is State.READY


def test_the_end_within_an_exchange() -> None:
    server = ready()
    server.receive_data(b"AUTH PLAIN\r\nAAA")
    assert server.next_event() is NEED_DATA
    server.receive_eof()
    assert server.next_event() is NEED_CLOSE


@pytest.mark.parametrize(
    ("offered", "mechanism", "is_told"),
    [
        ("X-PLUS X", b"X-PLUS", True),
        ("X-PLUS X", b"X", True),
        ("X", b"X", False),
    ],
)
def test_bindings_are_told_where_plus_is_offered(
    offered: str, mechanism: bytes, is_told: bool
) -> None:
    told: list[TlsFacts | None] = []

    def make(facts: TlsFacts | None) -> Mechanism:
        told.append(facts)
        return STANDARD_MECHANISMS["PLAIN"](facts)

    offer = Offer(hostname="mx.test", mechanisms=dict.fromkeys(offered.split(), make))
    server = ServerConnection(
        offer, asks_connect=False, asks_mail=False, asks_rcpt=False, is_tls=True
    )
    server.tls_facts = TlsFacts({"tls-unique": b"x"}, "client.test")
    server.receive_data(b"EHLO x\r\nAUTH " + mechanism + b"\r\n")
    assert server.next_event() is NEED_DATA
    bindings = {"tls-unique": b"x"} if is_told else {}
    assert told == [TlsFacts(bindings, "client.test")]


class Twice:
    """Asks who the user is, and when it knows, for the user's secret."""

    def __init__(self) -> None:
        self.answers: list[object] = []

    def start(self, initial: bytes | None) -> Outcome:
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Outcome:
        return Question(ScramUser(response.decode()))

    def answer(self, answer: object) -> Outcome:
        self.answers.append(answer)
        match self.answers:
            case [_]:
                return Question(Password("ann", "secret"))
            case [_, "more"]:
                return Challenge(b"Once more")
            case [*_, str(identity)]:
                return Success(identity)
        return Failure()


TWICE = Offer(
    hostname="mx.test", mechanisms={"TWICE": lambda _: Twice()}, allows_plaintext_auth=True
)


@pytest.mark.parametrize("octets", [b"AUTH TWICE YW5u\r\n", b"AUTH TWICE\r\nYW5u\r\n"])
@pytest.mark.parametrize(("answer", "code"), [("ann", b"235"), (None, b"535")])
def test_a_mechanism_with_a_second_question(octets: bytes, answer: object, code: bytes) -> None:
    server = ready(offer=TWICE)
    server.receive_data(octets + b"NOOP\r\n")
    assert server.next_event() == Auth("TWICE", ScramUser("ann"))
    server.answer_auth("salt")
    with pytest.raises(LocalProtocolError, match="no Auth to answer"):
        server.answer_auth("salt")
    assert server.next_event() == Auth("TWICE", Password("ann", "secret"))
    server.answer_auth(answer)
    assert server.next_event() is NEED_DATA
    replies = server.data_to_send().removeprefix(b"334 \r\n").split(b"\r\n")
    assert [reply[:3] for reply in replies] == [code, b"250", b""]
    assert server.identity == answer


def test_a_challenge_after_the_second_question() -> None:
    server = ready(offer=TWICE)
    server.receive_data(b"AUTH TWICE YW5u\r\n")
    for answer in ("salt", "more"):
        assert isinstance(server.next_event(), Auth)
        server.answer_auth(answer)
    assert server.next_event() is NEED_DATA
    assert server.data_to_send() == b"334 T25jZSBtb3Jl\r\n"


def test_closed_between_two_questions() -> None:
    server = ready(offer=TWICE)
    server.receive_data(b"AUTH TWICE YW5u\r\n")
    assert isinstance(server.next_event(), Auth)
    server.answer_auth("salt")
    server.close(Reply(421, "4.3.2", "Shutting down"))
    assert server.next_event() is NEED_CLOSE


def test_a_second_question_reaches_the_handler(talk: Talk) -> None:
    class Asked(Users):
        def scram_secret(self, _session: Session, user: ScramUser) -> str:
            return user.username

    talk(f"{HELLO}C: AUTH TWICE YW5u\n{SUCCEEDED}", offer=TWICE, handler=Asked)
