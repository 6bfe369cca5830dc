"""XCLIENT: what its argument says, and what it does to a session (Postfix's XCLIENT_README)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.envelope import Session
from pillarbox.handler import Reject
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, Connect, Mail
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import STANDARD_MECHANISMS
from pillarbox.protocol.server import ServerConnection
from pillarbox.protocol.state import State
from pillarbox.protocol.xclient import ATTRIBUTES, XClient, parse_xclient
from pillarbox.testing import Recorder
from tests.conftest import Talk
from tests.grammar import split_answers

FRONT = Offer(hostname="mx.test", offers_xclient=True)
ORDINARY = Offer(hostname="mx.test")

# The argument.

ARGUMENTS = {
    "NAME=spike.example.org ADDR=192.0.2.9": XClient(name="spike.example.org", address="192.0.2.9"),
    "name=x Addr=192.0.2.9  pOrT=1": XClient(name="x", address="192.0.2.9", port=1),
    "NAME=[UNAVAILABLE] ADDR=[unavailable]": XClient(address="::"),
    "NAME=[TempUnavail]": XClient(),
    "ADDR=IPV6:2001:DB8::9": XClient(address="2001:db8::9"),
    "ADDR=ipv6:::1 PORT=65535": XClient(address="::1", port=65535),
    "PORT=[UNAVAILABLE]": XClient(port=0),
    "PROTO=SMTP": XClient(protocol="SMTP"),
    "PROTO=esmtp": XClient(protocol="ESMTP"),
    "HELO=[192.0.2.1]": XClient(helo="[192.0.2.1]"),
    "HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]": XClient(),
    "LOGIN=ann+2Bx+3D+20y@example.org": XClient(login="ann+x= y@example.org"),
    "DESTADDR=192.0.2.25 DESTPORT=25": XClient(
        destination_address="192.0.2.25", destination_port=25
    ),
    "DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]": XClient(
        destination_address="::", destination_port=0
    ),
    "NAME=" + "x" * 255: XClient(name="x" * 255),
}


@pytest.mark.parametrize(("argument", "xclient"), ARGUMENTS.items())
def test_argument(argument: str, xclient: XClient) -> None:
    assert parse_xclient(argument.encode()) == xclient


WRONG = [
    *(b"", b"NAME", b"NAME=", b"=x", b"NAME x", b"NAME=x,ADDR=192.0.2.9", b"NAME=x\tPORT=1"),
    *(b"COLOR=red", b"NAME=x NAME=y", b"name=x NAME=x", b"NAME=" + b"x" * 256, b"NAME=x+20y"),
    *(b"ADDR=192.0.2", b"ADDR=192.0.2.256", b"ADDR=[192.0.2.1]", b"ADDR=2001:db8::1"),
    *(b"ADDR=IPV6:192.0.2.1", b"ADDR=IPV6:fe80::1%eth0", b"ADDR=IPV6:", b"ADDR=example.org"),
    *(b"PORT=-1", b"PORT=65536", b"PORT=99999999", b"PORT=2+35x", b"PORT=\xef\xbc\x91", b"PORT=x"),
    *(b"PROTO=HTTP", b"HELO=<script>", b"HELO=a+20b", b"LOGIN=" + b"x" * 256, b"LOGIN=\xc3\xa9"),
    # What a line may not have cannot hide behind a plus sign either.
    *(b"HELO=a+0D+0AMAIL", b"NAME=a+0A", b"LOGIN=ann+0D", b"LOGIN=ann+00", b"LOGIN=+1B[2J"),
    *(
        b"LOGIN=ann+85",
        b"LOGIN=ann+7F",
        b"NAME=a\0",
        b"NAME=a\rb",
        b"NAME=a+",
        b"NAME=a+2",
        b"NAME=+2b",
    ),
    *(b"DESTADDR=x", b"DESTPORT=x", b"[UNAVAILABLE]"),
]


@pytest.mark.parametrize("argument", WRONG)
def test_no_argument(argument: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_xclient(argument)
    assert (refused.value.reply.code, refused.value.reply.enhanced) == (501, "5.5.4")


def test_a_second_one_changes_what_it_names() -> None:
    first = parse_xclient(b"NAME=x ADDR=192.0.2.9 LOGIN=ann")
    second = parse_xclient(b"NAME=[UNAVAILABLE] PORT=7", first)
    assert second == XClient(address="192.0.2.9", port=7, login="ann")
    assert first == XClient(name="x", address="192.0.2.9", login="ann")


BEFORE = ("192.0.2.1", 4711)


@pytest.mark.parametrize(
    ("argument", "before", "after"),
    [
        (b"NAME=x", BEFORE, BEFORE),
        (b"ADDR=192.0.2.9 DESTADDR=192.0.2.9", BEFORE, ("192.0.2.9", 0)),
        (b"ADDR=192.0.2.9 PORT=7 DESTADDR=192.0.2.9 DESTPORT=7", BEFORE, ("192.0.2.9", 7)),
        (b"PORT=7 DESTPORT=7", BEFORE, ("192.0.2.1", 7)),
        (b"PORT=7 DESTPORT=7", "/run/socket", "/run/socket"),
        (b"ADDR=192.0.2.9 DESTADDR=192.0.2.9", "/run/socket", ("192.0.2.9", 0)),
        (b"ADDR=[UNAVAILABLE] DESTADDR=[UNAVAILABLE]", BEFORE, ("::", 0)),
    ],
)
def test_addresses(argument: bytes, before: Any, after: object) -> None:
    xclient = parse_xclient(argument)
    assert xclient.peer(before) == after
    assert xclient.local(before) == after


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.builds(
                lambda name, value: name + b"=" + value,
                st.sampled_from([name.encode() for name in ATTRIBUTES]),
                st.one_of(
                    st.binary(max_size=12),
                    st.text("0123456789ABCDEFabx:.+[]%-", max_size=20).map(str.encode),
                ),
            ),
            max_size=4,
        ).map(b" ".join),
    )
)
def test_any_argument_is_read_or_refused(argument: bytes) -> None:
    try:
        xclient = parse_xclient(argument)
    except RemoteProtocolError:
        return
    for name, (field, _, _) in ATTRIBUTES.items():
        value = getattr(xclient, field)
        assert value is None or str(value).isprintable(), name


# The session.


class Peers(Recorder):
    """Takes down who connects, and refuses some."""

    def connect(self, session: Session) -> None:
        super().connect(session)
        assert isinstance(session.peer, tuple)
        if session.peer[0] == "192.0.2.66":
            raise Reject(554, "5.7.1", "Not from there")
        if session.peer[0] == "192.0.2.67":
            raise Reject(421, "4.7.0", "Not now")


BEGIN = """
    S: 220 mx.test ESMTP
    C: EHLO front.test
    S: 250 mx.test ...
"""
MESSAGE = """
    C: MAIL FROM:<ann@example.org>
    S: 250 2.1.0 Sender OK
    C: RCPT TO:<ben@example.org>
    S: 250 2.1.5 Recipient OK
    C: DATA
    S: 354 ...
    C: x
    C: .
    S: 250 2.0.0 Message accepted
"""


def test_for_whom_a_server_stands(talk: Talk) -> None:
    messages = talk(
        f"""{BEGIN}
        C: XCLIENT NAME=spike.example.org ADDR=192.0.2.9 PORT=4711 HELO=spike DESTADDR=192.0.2.25
        S: 220 mx.test ESMTP
        C: MAIL FROM:<>
        S: 503 5.5.1 Say EHLO first
        C: EHLO front.test
        S: 250 mx.test ...
        {MESSAGE}
        C: XCLIENT LOGIN=ann ADDR=IPV6:2001:db8::9
        S: 220 mx.test ESMTP
        C: HELO front.test
        S: 250 mx.test
        {MESSAGE}
        """,
        offer=FRONT,
    )
    assert len(messages) == 2
    session = messages[1].session
    assert (session.peer, session.local) == (("2001:db8::9", 4711), ("192.0.2.25", 0))
    assert (session.domain, session.identity, session.is_extended) == ("spike", "ann", False)
    assert session.xclient is not None
    assert session.xclient.name == "spike.example.org"


def test_before_ehlo_and_pipelined(talk: Talk) -> None:
    (message,) = talk(
        f"""
        S: 220 mx.test ESMTP
        C: XCLIENT ADDR=192.0.2.9
        S: 220 mx.test ESMTP
        C: xclient helo=[UNAVAILABLE]
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250 mx.test ...
        {MESSAGE}
        """,
        offer=FRONT,
    )
    assert message.session.peer == ("192.0.2.9", 0)
    assert message.session.domain == "client.test"


def test_the_handler_greets_the_new_client(talk: Talk) -> None:
    talk(
        f"""{BEGIN}
        C: XCLIENT ADDR=192.0.2.66
        S: 554 5.7.1 Not from there
        C: EHLO client.test
        S: 503 5.5.1 No service here; QUIT is all that is left
        C: XCLIENT ADDR=192.0.2.9
        S: 503 5.5.1 No service here; QUIT is all that is left
        C: QUIT
        S: 221 2.0.0 Goodbye
        S: [closed]
        """,
        offer=FRONT,
        handler=Peers,
    )


def test_the_handler_sends_the_new_client_away(talk: Talk) -> None:
    talk(
        f"""{BEGIN}
        C: XCLIENT ADDR=192.0.2.67
        S: 421 4.7.0 Not now
        S: [closed]
        """,
        offer=FRONT,
        handler=Peers,
    )


def test_not_in_a_transaction(talk: Talk) -> None:
    talk(
        f"""{BEGIN}
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender OK
        C: XCLIENT ADDR=192.0.2.9
        S: 503 5.5.1 XCLIENT has no place in a transaction; RSET ends it
        C: RSET
        S: 250 2.0.0 OK
        C: XCLIENT ADDR=192.0.2.9
        S: 220 mx.test ESMTP
        """,
        offer=FRONT,
    )


@pytest.mark.parametrize("argument", ["ADDR=192.0.2.9", "", "nonsense", "LOGIN=ann"])
def test_a_stranger(talk: Talk, argument: str) -> None:
    talk(
        f"""{BEGIN}
        C: XCLIENT {argument}
        S: 550 5.7.0 XCLIENT is not for you
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender OK
        """,
        offer=ORDINARY,
    )


def test_bad_values(talk: Talk) -> None:
    talk(
        rf"""{BEGIN}
        C: XCLIENT
        S: 501 5.5.4 Syntax: XCLIENT ATTRIBUTE=xtext ...
        C: XCLIENT ADDR=x
        S: 501 5.5.4 Not a value of ADDR
        C: XCLIENT HELO=a+0D+0AMAIL
        S: 501 5.5.4 Not a value of HELO
        C: XCLIENT COLOR=red
        S: 501 5.5.4 XCLIENT knows NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
        C: XCLIENT ADDR=192.0.2.9 ADDR=192.0.2.9
        S: 501 5.5.4 ADDR given twice
        C! "XCLIENT LOGIN=a\rb\r\n"
        S: 500 5.5.2 Only CRLF ends a line
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender OK
        """,
        offer=FRONT,
    )


def test_lmtp(talk: Talk) -> None:
    talk(
        """
        S: 220 mx.test LMTP
        C: XCLIENT ADDR=192.0.2.9 PROTO=LMTP
        S: 220 mx.test LMTP
        C: LHLO client.test
        S: 250 ...
        """,
        offer=Offer(hostname="mx.test", is_lmtp=True, offers_xclient=True),
    )


# The core by itself.


def connection(octets: bytes = b"", **values: Any) -> ServerConnection:
    """Begin a session that asks about nothing."""
    offer = Offer(hostname="mx.test", offers_xclient=True, **values)
    made = ServerConnection(offer, asks_connect=False, asks_mail=False, asks_rcpt=False)
    made.data_to_send()
    made.receive_data(octets)
    return made


def test_the_event_comes_though_nobody_asked_to_greet() -> None:
    made = connection(b"EHLO front.test\r\nXCLIENT ADDR=192.0.2.9\r\nEHLO client.test\r\n")
    assert made.next_event() == Connect(XClient(address="192.0.2.9"))
    assert made.state is State.GREETING
    assert (made.domain, made.is_extended) == (None, False)
    made.reply(made.offer.greeting)
    assert made.next_event() is NEED_DATA
    assert made.domain == "client.test"


def test_logins() -> None:
    required = {
        "mechanisms": STANDARD_MECHANISMS,
        "requires_auth": True,
        "allows_plaintext_auth": True,
    }
    made = connection(b"EHLO x\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n", **required)
    made.next_event()
    made.answer_auth("front")
    made.receive_data(b"XCLIENT NAME=x\r\n")
    for login in (None, "ann", None):
        # Whoever logged in before was the front server, or another client of it.
        assert made.next_event() == Connect(XClient(name="x", login=login))
        assert made.identity == login
        made.reply(made.offer.greeting)
        made.data_to_send()
        made.receive_data(b"EHLO x\r\nMAIL FROM:<>\r\n")
        assert made.next_event() is NEED_DATA
        said = split_answers(made.data_to_send())
        assert [answer.code for answer in said] == [250, 250 if login else 530]
        made.receive_data(
            b"RSET\r\nXCLIENT LOGIN=" + (b"[UNAVAILABLE]" if login else b"ann") + b"\r\n"
        )


def test_starttls_keeps_it() -> None:
    made = connection(b"XCLIENT ADDR=192.0.2.9 HELO=spike LOGIN=ann\r\n", offers_tls=True)
    made.next_event()
    made.reply(made.offer.greeting)
    made.receive_data(b"EHLO x\r\nSTARTTLS\r\n")
    made.next_event()
    made.tls_started()
    assert made.xclient == XClient(address="192.0.2.9", helo="spike", login="ann")
    assert (made.domain, made.identity) == ("spike", "ann")
    made.receive_data(b"EHLO x\r\nXCLIENT LOGIN=[UNAVAILABLE]\r\n")
    made.data_to_send()
    assert isinstance(made.next_event(), Connect)
    made.reply(made.offer.greeting)
    assert b"250-XCLIENT NAME " in made.data_to_send()
    assert made.is_tls
    assert (made.domain, made.identity) == ("spike", None)


def test_it_brings_no_message_nearer() -> None:
    made = connection(b"XCLIENT NAME=x\r\n" * 4, max_idle_commands=3)
    for _ in range(3):
        assert isinstance(made.next_event(), Connect)
        made.reply(made.offer.greeting)
    assert made.next_event() is NEED_CLOSE


def test_strangers_count_as_errors() -> None:
    made = ServerConnection(
        Offer(hostname="mx.test", max_errors=2), asks_connect=False, asks_mail=True
    )
    made.receive_data(b"XCLIENT LOGIN=a\r\n" * 2)
    assert made.next_event() is NEED_CLOSE
    assert [answer.code for answer in split_answers(made.data_to_send())] == [220, 550, 550, 421]


@given(st.binary(max_size=40), st.booleans(), st.booleans())
def test_whatever_it_says_there_is_one_reply(argument: bytes, may: bool, is_extended: bool) -> None:
    made = ServerConnection(FRONT if may else ORDINARY, asks_connect=False)
    argument = argument.replace(b"\r\n", b"")
    made.receive_data(b"EHLO x\r\n" if is_extended else b"HELO x\r\n")
    made.next_event()
    made.data_to_send()
    made.receive_data(b"XCLIENT " + argument + b"\r\n")
    event = made.next_event()
    if isinstance(event, Connect):
        assert may
        made.reply(Reply(220, None, "mx.test ESMTP"))
    (answer,) = split_answers(made.data_to_send())
    assert answer.code in ((220, 501, 500) if may else (550, 500))
    made.receive_data(b"EHLO x\r\nMAIL FROM:<>\r\n")
    assert isinstance(made.next_event(), Mail)
