"""The client's session: dialogues with scripted servers, and with our own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pillarbox.protocol.address import AddressError
from pillarbox.protocol.client import LOST, NOT_ENDED, ClientConnection
from pillarbox.protocol.client_event import NEED_BODY, Ready, Refused, Sent
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import MAX_LINE_OCTETS, MAX_REPLY_OCTETS
from tests.protocol.client_dialogue import (
    CHUNKING,
    PIPELINING,
    PLAIN,
    TIMEOUTS,
    Action,
    Driver,
    outcome_of,
    play,
    quits,
    sends,
)

# The session


def test_session() -> None:
    events = play(
        """
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250-mx.test greets you
        S: 250-pipelining
        S: 250 SIZE 1000
        C: QUIT
        S: 221 2.0.0 Goodbye
        C: [closed]
        """,
        quits,
    )
    assert events == [Ready(Reply(250, None, "mx.test greets you\npipelining\nSIZE 1000"))]


def test_what_is_known_of_the_server() -> None:
    driver = Driver(iter([quits]))
    connection = driver.connection
    assert connection.greeting is None
    driver.hear(b"220 mx.test ESMTP\r\n")
    assert connection.greeting == Reply(220, None, "mx.test ESMTP")
    assert not connection.is_open
    driver.actions = iter(())
    driver.hear(b"250-mx.test\r\n250-SIZE 1000\r\n250 8BITMIME\r\n")
    assert connection.extensions == {"SIZE": ("1000",), "8BITMIME": ()}
    assert connection.is_extended
    assert connection.is_open
    assert connection.closing_reply is None
    assert connection.is_silent
    connection.receive_data(b"4")
    assert not connection.is_silent
    connection.receive_data(b"21 2.0.0 Later\r\n")
    assert not connection.is_silent
    connection.next_event()
    assert connection.closing_reply is not None


def test_goodbye() -> None:
    driver = Driver(iter(()))
    connection = driver.connection
    driver.hear(b"220 mx.test ESMTP\r\n")
    driver.hear(b"250 mx.test\r\n")
    connection.quit()
    assert not connection.is_open
    assert connection.is_silent
    driver.hear(b"221 Bye\r\n")
    assert connection.closing_reply == Reply(221, None, "Bye")


def test_server_of_the_old_days() -> None:
    events = play(
        r"""
        S: 220 mx.test
        C: EHLO client.test
        S: 502 Not implemented
        C: HELO client.test
        S: 250 mx.test
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        C: DATA
        S: 354 Go on
        C! "Subject: hi\r\n\r\n..text\r\n.\r\n"
        S: 250 Taken
        """,
        sends(),
    )
    assert events[0] == Ready(Reply(250, None, "mx.test"))
    assert outcome_of(events[1]) == ["bob, end of data: 250 Taken"]


def test_helo_knows_no_extensions() -> None:
    driver = Driver()
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"500 What?\r\n")
    driver.hear(b"250-mx.test\r\n250 PIPELINING\r\n")
    assert driver.connection.extensions == {}
    assert not driver.connection.is_extended


@pytest.mark.parametrize("code", [450, 521, 554])
def test_refused_by_the_greeting(code: int) -> None:
    events = play(f"S: {code} Not here\nC: QUIT\nS: 221 Bye\nC: [closed]")
    assert events == [Refused(Reply(code, None, "Not here"))]


@pytest.mark.parametrize(
    "script",
    [
        "S: 450 Later\nC: QUIT\nS: 221 Bye\nC: [closed]",
        "S: 500 What?\nC: HELO client.test\nS: 550 No\nC: QUIT\nS: 221 Bye\nC: [closed]",
        "S: 500 What?\nC: HELO client.test\nS: 450 No\nC: QUIT\nS: 421 Bye\nC: [closed]",
        "S: 500 What?\nC: HELO client.test\nS: 450 No\nC: QUIT\nS: [closed]\nC: [closed]",
        "S: 500 What?\nC: HELO client.test\nS: 421 Going down\nC: [closed]",
        "S: 421 Going down\nC: [closed]",
    ],
)
def test_refused_by_the_hello(script: str) -> None:
    [event] = play(f"S: 220 mx.test\nC: EHLO client.test\n{script}")
    assert isinstance(event, Refused)


def test_refused_by_a_421() -> None:
    assert play("S: 421 Too many\nC: [closed]") == [Refused(Reply(421, None, "Too many"))]


def test_hostname() -> None:
    assert ClientConnection("[192.0.2.1]").hostname == "[192.0.2.1]"


@pytest.mark.parametrize("hostname", ["", "a b", "x\r\nRSET", "é.example", "[192.0.2]", "a..b"])
def test_hostname_that_is_none(hostname: str) -> None:
    with pytest.raises(AddressError, match="hostname"):
        ClientConnection(hostname)


# One message after the other


def test_session_is_used_again() -> None:
    events = play(
        PIPELINING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S! "250 OK\r\n250 OK\r\n354 Go\r\n"
        C! "one\r\n.\r\n"
        S: 250 Taken
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S! "250 OK\r\n250 OK\r\n354 Go\r\n"
        C! "two\r\n.\r\n"
        S: 250 Taken
        C: QUIT
        """,
        sends(data=b"one"),
        sends("ben@example.org", data=b"two\r\n"),
        quits,
    )
    assert [outcome_of(event) for event in events[1:]] == [
        ["bob, end of data: 250 Taken"],
        ["ben, end of data: 250 Taken"],
    ]


# 421, at any time

AT_ANY_TIME = {
    "while nothing goes on": ("", [], []),
    "to MAIL": (
        """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        """,
        ["bob, MAIL: 421 Bye", "ben, MAIL: 421 Bye"],
        ["bob, None: {lost}", "ben, None: {lost}"],
    ),
    "to RCPT": (
        """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        """,
        ["bob, RCPT: 550 Unknown", "ben, RCPT: 421 Bye"],
        ["bob, RCPT: 550 Unknown", "ben, None: {lost}"],
    ),
    "to DATA": (
        """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        S: 250 OK
        """,
        ["bob, RCPT: 550 Unknown", "ben, DATA: 421 Bye"],
        ["bob, RCPT: 550 Unknown", "ben, None: {lost}"],
    ),
    "to the end of data": (
        r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        S: 250 OK
        S: 354 Go
        C! "Subject: hi\r\n\r\n..text\r\n.\r\n"
        """,
        ["bob, RCPT: 550 Unknown", "ben, end of data: 421 Bye"],
        ["bob, RCPT: 550 Unknown", "ben, None: {lost}", "in doubt"],
    ),
    "to the lone dot": (
        """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        S: 550 Unknown
        S: 354 Go
        C: .
        """,
        ["bob, RCPT: 550 Unknown", "ben, RCPT: 550 Unknown"],
        ["bob, RCPT: 550 Unknown", "ben, RCPT: 550 Unknown"],
    ),
}


@pytest.mark.parametrize(
    ("script", "outcome"),
    [(script, outcome) for script, outcome, _ in AT_ANY_TIME.values()],
    ids=AT_ANY_TIME,
)
def test_421(script: str, outcome: list[str]) -> None:
    actions = [sends("bob@example.org", "ben@example.org")] if script else []
    events = play(f"{PIPELINING}{script}S: 421 Bye\nC: [closed]", *actions)
    assert [outcome_of(event) for event in events[1:]] == ([outcome] if outcome else [])


@pytest.mark.parametrize(
    ("script", "outcome"),
    [(script, outcome) for script, _, outcome in AT_ANY_TIME.values()],
    ids=AT_ANY_TIME,
)
@pytest.mark.parametrize("half", ["", 'S! "250-O"'], ids=["between replies", "in a reply"])
def test_server_that_closes(script: str, outcome: list[str], half: str) -> None:
    actions = [sends("bob@example.org", "ben@example.org")] if script else []
    events = play(f"{PIPELINING}{script}\n{half}\nS: [closed]\nC: [closed]", *actions)
    assert events[1] == "the server closed the connection"
    expected = [line.format(lost=LOST) for line in outcome]
    assert [outcome_of(event) for event in events[2:]] == ([expected] if outcome else [])


def waiting_for_a_part(
    *, chunking: bool = False, may_end: Callable[[], bool] | None = None
) -> ClientConnection:
    """Make a connection that wants octets of a message."""
    connection = ClientConnection("client.test", timeouts=TIMEOUTS)
    extension = b"CHUNKING" if chunking else b"X-NOTHING"
    event = None
    for reply in (b"220 mx.test", b"250-mx.test\r\n250 " + extension):
        connection.receive_data(reply + b"\r\n")
        event = connection.next_event()
    assert isinstance(event, Ready)
    connection.send_message("ann@example.org", ["bob@example.org"], None, may_end=may_end)
    connection.receive_data(b"250 OK\r\n")
    assert connection.next_event() is NEED_DATA
    connection.receive_data(b"250 OK\r\n")
    if not chunking:
        assert connection.next_event() is NEED_DATA
        connection.receive_data(b"354 Go\r\n")
    assert connection.next_event() is NEED_BODY
    connection.data_to_send()
    return connection


@pytest.mark.parametrize("reply", ["421 Bye", "552 Too large"])
@pytest.mark.parametrize(("command", "chunking"), [("DATA", False), ("BDAT", True)])
def test_refusal_before_the_end(reply: str, command: str, *, chunking: bool) -> None:
    connection = waiting_for_a_part(chunking=chunking)
    connection.receive_data(f"{reply}\r\n".encode())
    event = connection.next_event()
    assert isinstance(event, Sent)
    assert outcome_of(event) == [f"bob, {command}: {reply}"]
    assert connection.next_event() is NEED_CLOSE
    assert connection.data_to_send() == b""
    assert str(connection.closing_reply) == reply


# A server that breaks the protocol


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("S: 354 Go on", "the connection was answered by 354 Go on"),
        ("S: SSH-2.0-OpenSSH_9.2", "'SSH-2.0-OpenSSH_9.2\\r\\n' is no reply"),
        ('S! "220 mx.test\\n"', "'220 mx.test\\n' is no reply"),
        (f"{PLAIN}S: 250 OK", "nothing was asked, and 250 OK came"),
        (f"{PLAIN}S: 550 No", "nothing was asked, and 550 No came"),
        ("S: 220 a\nC: EHLO client.test\nS: 334 ?", "EHLO was answered by 334 ?"),
    ],
)
def test_broken_session(script: str, error: str) -> None:
    events = play(f"{script}\nC: [closed]")
    assert events[-1] == error


BROKEN = "None: 451 4.5.0 The server broke the protocol"


@pytest.mark.parametrize(
    ("script", "error", "outcome"),
    [
        ("S: 354 Go", "MAIL was answered by 354 Go", [f"bob, {BROKEN}"]),
        ("S: 250 OK\nS: 354 Go", "RCPT was answered by 354 Go", [f"bob, {BROKEN}"]),
        (
            "S: 250 OK\nS: 250 OK\nS: 250 OK",
            "DATA was answered by 250 OK",
            [f"bob, {BROKEN}"],
        ),
        ("S: 250-OK\nS: 550 OK", "a 250 reply goes on with 550", [f"bob, {BROKEN}"]),
        ("S: 250 OK\nS: 550 No\nS: yes", "'yes\\r\\n' is no reply", ["bob, RCPT: 550 No"]),
    ],
)
def test_broken_transaction(script: str, error: str, outcome: list[str]) -> None:
    events = play(
        f"""{PIPELINING}
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        {script}
        C: [closed]
        """,
        sends(),
    )
    assert events[1] == error
    assert outcome_of(events[2]) == outcome


def test_two_answers_to_one_message() -> None:
    events = play(
        CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 250 OK
        C! "BDAT 1 LAST\r\na"
        S: 250 OK
        S: 250 OK
        C: [closed]
        """,
        sends(data=b"a"),
    )
    assert outcome_of(events[1]) == ["bob, BDAT LAST: 250 OK"]
    assert events[2] == "nothing was asked, and 250 OK came"


def test_error_tells_what_to_think_of_the_recipients() -> None:
    connection = ClientConnection("client.test")
    connection.receive_data(b"what?\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.reply.is_transient
    assert connection.closing_reply == caught.value.reply


@pytest.mark.parametrize(
    "endless",
    [b"2", b"250-and on\r\n", b"250-" + b"x" * 2000 + b"\r\n"],
    ids=["line", "reply", "lines"],
)
def test_server_that_never_ends(endless: bytes) -> None:
    connection = ClientConnection("client.test")
    for _ in range(100_000):
        connection.receive_data(endless)
        try:
            assert connection.next_event() is NEED_DATA
        except RemoteProtocolError:
            break
        assert connection.buffered_octets <= MAX_REPLY_OCTETS + MAX_LINE_OCTETS
    else:
        pytest.fail("it was listened to for ever")
    connection.receive_data(endless * 1000)
    assert connection.buffered_octets == 0
    assert connection.next_event() is NEED_CLOSE


# Calls out of turn


def opening() -> ClientConnection:
    return ClientConnection("client.test", timeouts=TIMEOUTS)


def ready() -> ClientConnection:
    connection = unlooked()
    connection.next_event()
    return connection


def unlooked() -> ClientConnection:
    driver = Driver()
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"250 mx.test\r\n")
    sends("é@example.org")(driver.connection)
    return driver.connection


def in_the_envelope() -> ClientConnection:
    connection = ready()
    sends()(connection)
    return connection


def waiting_for_the_end() -> ClientConnection:
    connection = waiting_for_a_part()
    connection.send_part(b"", is_last=True)
    return connection


def waiting_for_a_chunk() -> ClientConnection:
    connection = waiting_for_a_part(chunking=True)
    connection.send_part(b"a")
    return connection


def withheld() -> ClientConnection:
    connection = waiting_for_a_part(may_end=lambda: False)
    connection.send_part(b"a", is_last=True)
    return connection


def leaving() -> ClientConnection:
    connection = ready()
    connection.quit()
    return connection


def closed() -> ClientConnection:
    connection = ready()
    connection.abandon(LOST)
    return connection


@pytest.mark.parametrize("say", [sends(), quits], ids=["send_message", "quit"])
@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (opening, "call next_event() until it gives Ready"),
        (unlooked, "call next_event() first"),
        (in_the_envelope, "call next_event() until it gives NEED_BODY or Sent"),
        (waiting_for_a_part, "call send_part()"),
        (waiting_for_the_end, "call next_event() until it gives Sent"),
        (withheld, "call next_event() until it gives Sent"),
        (leaving, "call next_event() until it gives NEED_CLOSE"),
        (closed, "make another connection"),
    ],
)
def test_said_out_of_turn(make: Callable[[], ClientConnection], remedy: str, say: Action) -> None:
    connection = make()
    said = connection.data_to_send()
    with pytest.raises(LocalProtocolError, match=re.escape(remedy)):
        say(connection)
    assert connection.data_to_send() in (b"", said)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (opening, "next_event() until it gives Ready"),
        (ready, "call send_message() first"),
        (in_the_envelope, "until it gives NEED_BODY or Sent"),
        (waiting_for_a_chunk, "each time next_event() gives NEED_BODY"),
        (waiting_for_the_end, "until it gives Sent"),
        (leaving, "until it gives NEED_CLOSE"),
        (closed, "make another connection"),
    ],
)
def test_part_out_of_turn(make: Callable[[], ClientConnection], remedy: str) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(remedy)):
        make().send_part(b"a")


@pytest.mark.parametrize(
    "action",
    [
        sends("bob@example.org\r\nDATA"),
        sends(mail_from="ann@example.org> SIZE=1"),
        sends(data=b"a\nb"),
        sends(data=b"a\r"),
    ],
)
def test_what_cannot_be_sent_changes_nothing(action: Action) -> None:
    connection = ready()
    with pytest.raises(ValueError, match=r"."):
        action(connection)
    assert connection.is_open
    assert connection.data_to_send() == b""
    sends()(connection)
    assert connection.data_to_send() == b"MAIL FROM:<ann@example.org>\r\n"


def test_when_the_whole_message_is_out() -> None:
    connection = waiting_for_a_part()
    assert not connection.is_ending
    connection.send_part(b"a\r\n")
    assert not connection.is_ending
    connection.send_part(b"b\r\n", is_last=True)
    assert connection.is_ending
    connection.receive_data(b"250 OK\r\n")
    assert isinstance(connection.next_event(), Sent)
    assert not connection.is_ending


def test_what_may_not_end_ends_the_session() -> None:
    connection = withheld()
    assert connection.data_to_send() == b""
    assert not connection.is_ending
    connection.receive_data(b"250 OK\r\n")
    event = connection.next_event()
    assert isinstance(event, Sent)
    assert outcome_of(event) == [f"bob, None: {NOT_ENDED}"]
    assert connection.closing_reply == NOT_ENDED
    assert connection.next_event() is NEED_CLOSE


def test_nothing_is_given_while_the_driver_cannot_send() -> None:
    connection = waiting_for_a_part()
    connection.is_paused = True
    assert connection.next_event() is NEED_DATA
    connection.is_paused = False
    assert connection.next_event() is NEED_BODY
    connection.is_paused = True
    connection.receive_data(b"552 Too large\r\n")
    assert isinstance(connection.next_event(), Sent)


def test_part_that_cannot_be_sent_ends_the_session_without_a_message() -> None:
    connection = waiting_for_a_part()
    connection.send_part(b"a\r\n")
    with pytest.raises(ValueError, match="CR or LF"):
        connection.send_part(b"b\nc\r\n")
    with pytest.raises(ValueError, match="CR or LF"):
        connection.send_part(b"", is_last=True)
    assert connection.data_to_send() == b"a\r\n"
    connection.abandon(LOST)
    event = connection.next_event()
    assert isinstance(event, Sent)
    assert outcome_of(event) == [f"bob, None: {LOST}"]
    assert connection.next_event() is NEED_CLOSE


def test_abandon_twice() -> None:
    connection = closed()
    connection.abandon(Reply(451, "4.4.2", "Again"))
    assert connection.closing_reply == LOST


def test_abandon_leaves_the_last_event() -> None:
    connection = unlooked()
    connection.abandon(LOST)
    assert isinstance(connection.next_event(), Sent)
    assert connection.next_event() is NEED_CLOSE


# Time


@pytest.mark.parametrize(
    ("make", "seconds"),
    [
        (opening, TIMEOUTS.greeting),
        (ready, TIMEOUTS.block),
        (in_the_envelope, TIMEOUTS.command),
        (waiting_for_a_part, TIMEOUTS.block),
        (waiting_for_a_chunk, TIMEOUTS.block),
        (waiting_for_the_end, TIMEOUTS.end),
        (leaving, TIMEOUTS.quit),
    ],
)
def test_how_long_to_wait(make: Callable[[], ClientConnection], seconds: float) -> None:
    assert make().timeout_seconds == seconds


def test_deadline_is_not_put_off_by_octets() -> None:
    connection = in_the_envelope()
    steps = connection.steps
    for octet in (b"2", b"5", b"0", b"-", b"\r", b"\n"):
        connection.receive_data(octet)
        connection.next_event()
        assert connection.steps == steps
    connection.receive_data(b"250 OK\r\n")
    connection.next_event()
    assert connection.steps > steps
