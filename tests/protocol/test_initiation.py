"""What comes before messages: STARTTLS and AUTH, with scripted servers."""

from __future__ import annotations

import pytest

from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import LoggedIn, LoginRefused, Ready, Refused, TlsRefused
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, NEED_TLS
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Password, TlsFacts, Token
from tests.protocol.client_dialogue import (
    ANN,
    PIPELINING,
    PLAIN,
    TIMEOUTS,
    Action,
    Driver,
    encrypts,
    logs_in,
    play,
    quits,
    sends,
)

STARTTLS = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-AUTH PLAIN LOGIN
    S: 250 STARTTLS
"""
TLS = f"""{STARTTLS}
    C: STARTTLS
    S: 220 Go on
    C: [tls]
"""
AUTH = """
    C: [tls]
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250-mx.test
    S: 250 AUTH PLAIN
"""
PLAIN_COMMAND = "AUTH PLAIN AGFubgBzZWNyZXQ="

# The greeting and EHLO over LMTP


def test_lmtp_says_lhlo() -> None:
    events = play(
        "S: 220 mx.test\nC: LHLO client.test\nS: 250-mx.test\nS: 250 SIZE\nC: QUIT",
        quits,
        is_lmtp=True,
    )
    assert events == [Ready(Reply(250, None, "mx.test\nSIZE"))]


def test_lmtp_falls_back_to_nothing() -> None:
    events = play(
        "S: 220 mx.test\nC: LHLO client.test\nS: 500 What?\nC: QUIT\nS: 221\nC: [closed]",
        is_lmtp=True,
    )
    assert events == [Refused(Reply(500, None, "What?"))]


def test_goodbye_while_nothing_goes_on() -> None:
    events = play(f"{PLAIN}S: 421 Bye\nC: [closed]")
    assert len(events) == 1


def test_a_server_of_the_old_days() -> None:
    play(
        "S: 220 a\nC: EHLO client.test\nS: 500 ?\nC: HELO client.test\nS: 550 No\nC: QUIT\nS: 221\n"
        "C: [closed]"
    )
    play(
        "S: 220 a\nC: EHLO client.test\nS: 500 ?\nC: HELO client.test\nS: 250 a\nC: QUIT\nS: 221\n"
        "C: [closed]",
        quits,
    )
    assert play("S: 450 Later\nC: QUIT\nS: 221\nC: [closed]") == [
        Refused(Reply(450, None, "Later"))
    ]


# STARTTLS


def test_all_is_forgotten_and_asked_again() -> None:
    events = play(
        f"""{TLS}
        C: EHLO client.test
        S: 250-mx.test
        S: 250 8BITMIME
        C: MAIL FROM:<ann@example.org>
        """,
        encrypts,
        sends(),
    )
    assert events == [
        Ready(Reply(250, None, "mx.test\nPIPELINING\nSIZE 1000\nAUTH PLAIN LOGIN\nSTARTTLS")),
        Ready(Reply(250, None, "mx.test\n8BITMIME")),
    ]


def test_what_is_known_after_the_handshake_and_before_the_answer() -> None:
    driver = Driver(iter([encrypts]), facts=TlsFacts({"tls-unique": b"x"}))
    connection = driver.connection
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
    assert connection.is_extended
    assert connection.tls_facts is None
    driver.hear(b"220 Go\r\n")
    assert connection.extensions == {}
    assert not connection.is_extended
    assert not connection.is_open
    assert connection.greeting == Reply(220, None, "mx.test")
    assert connection.tls_facts == TlsFacts({"tls-unique": b"x"})


def test_tls_from_the_first_octet() -> None:
    events = play(f"{AUTH}C: QUIT", quits, is_tls=True)
    assert events == [Ready(Reply(250, None, "mx.test\nAUTH PLAIN"))]


def test_starttls_is_not_offered() -> None:
    events = play(f"{PIPELINING}C: QUIT", encrypts, quits)
    assert events[1] == TlsRefused(Reply(454, "4.7.4", "The server offers no STARTTLS"))


@pytest.mark.parametrize("reply", ["454 4.7.0 Not now", "502 5.5.1 What?"])
def test_starttls_is_refused(reply: str) -> None:
    events = play(f"{STARTTLS}C: STARTTLS\nS: {reply}\nC: QUIT", encrypts, quits)
    [_, refused] = events
    assert isinstance(refused, TlsRefused)
    assert str(refused.reply) == reply


@pytest.mark.parametrize(
    ("script", "event"),
    [
        ("C: STARTTLS\nS: 421 Bye\nC: [closed]", TlsRefused(Reply(421, None, "Bye"))),
        (
            "C: STARTTLS\nS: 220 Go\nC: [tls]\nC: EHLO client.test\nS: 421 Bye\nC: [closed]",
            Refused(Reply(421, None, "Bye")),
        ),
        (
            "C: STARTTLS\nS: 220 Go\nC: [tls]\nC: EHLO client.test\nS: 450 No\nC: QUIT",
            Refused(Reply(450, None, "No")),
        ),
        ("C: STARTTLS\nS: 354 Go\nC: [closed]", "STARTTLS was answered by 354 Go"),
        ("C: STARTTLS\nS: [closed]\nC: [closed]", "the server closed the connection"),
    ],
)
def test_starttls_goes_wrong(script: str, event: object) -> None:
    assert play(f"{STARTTLS}{script}", encrypts)[1:] == [event]


def encrypting() -> ClientConnection:
    """Make a connection that has said STARTTLS."""
    driver = Driver(iter([encrypts]))
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"250-mx.test\r\n250 STARTTLS\r\n")
    assert driver.take_said() == b"EHLO client.test\r\nSTARTTLS\r\n"
    return driver.connection


@pytest.mark.parametrize("octets", [b"2", b"250 mx.test\r\n", b"\r\n", b"250-evil\r\n250 AUTH"])
def test_words_put_in_before_the_handshake(octets: bytes) -> None:
    """The client's side of CVE-2011-0411: what came in the clear is no answer within TLS."""
    connection = encrypting()
    connection.receive_data(b"220 Go\r\n" + octets)
    with pytest.raises(RemoteProtocolError, match="octets in the clear came where the TLS"):
        connection.next_event()
    assert connection.next_event() is NEED_CLOSE
    # In a packet of its own, when the driver has begun the handshake.
    connection = encrypting()
    connection.receive_data(b"220 Go\r\n")
    assert connection.next_event() is NEED_TLS
    connection.receive_data(octets)
    with pytest.raises(RemoteProtocolError, match="octets in the clear came where the TLS"):
        connection.next_event()
    with pytest.raises(LocalProtocolError, match="make another connection"):
        connection.tls_started()


def test_tls_out_of_turn() -> None:
    connection = encrypting()
    with pytest.raises(LocalProtocolError, match="until it gives NEED_TLS or TlsRefused"):
        connection.tls_started()
    connection.receive_data(b"220 Go\r\n")
    assert connection.next_event() is NEED_TLS
    with pytest.raises(LocalProtocolError, match=r"call tls_started\(\) when it is done"):
        connection.quit()
    connection.tls_started()
    connection.receive_data(b"250-mx.test\r\n250 STARTTLS\r\n")
    assert isinstance(connection.next_event(), Ready)
    with pytest.raises(LocalProtocolError, match="is encrypted already"):
        connection.start_tls()


def test_the_handshake_has_a_time_of_its_own() -> None:
    connection = encrypting()
    assert connection.timeout_seconds == TIMEOUTS.command
    connection.receive_data(b"220 Go\r\n")
    assert connection.next_event() is NEED_TLS
    steps = connection.steps
    assert connection.timeout_seconds == TIMEOUTS.tls
    connection.tls_started()
    assert connection.steps > steps
    assert connection.timeout_seconds == TIMEOUTS.command
    connection = ClientConnection("client.test", is_tls=True, timeouts=TIMEOUTS)
    assert connection.next_event() is NEED_TLS
    assert connection.timeout_seconds == TIMEOUTS.tls
    steps = connection.steps
    connection.tls_started()
    assert connection.next_event() is NEED_DATA
    assert connection.steps > steps
    assert connection.timeout_seconds == TIMEOUTS.greeting


# AUTH


def test_login() -> None:
    events = play(
        f"""{AUTH}
        C: {PLAIN_COMMAND}
        S: 235 2.7.0 Welcome
        C: QUIT
        """,
        logs_in(),
        quits,
        is_tls=True,
    )
    assert events[1] == LoggedIn("PLAIN", Reply(235, "2.7.0", "Welcome"))


def test_login_and_a_message() -> None:
    play(
        f"""{AUTH}
        C: {PLAIN_COMMAND}
        S: 235 2.7.0 Welcome
        C: MAIL FROM:<ann@example.org>
        """,
        logs_in(),
        sends(),
        is_tls=True,
    )


def test_login_by_questions() -> None:
    events = play(
        """
        C: [tls]
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250-mx.test
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: YW5u
        S: 334 UGFzc3dvcmQ6
        C: c2VjcmV0
        S: 235 OK
        """,
        logs_in(),
        is_tls=True,
    )
    assert events[1] == LoggedIn("LOGIN", Reply(235, None, "OK"))


def test_login_is_refused_and_may_be_tried_again() -> None:
    events = play(
        f"""{AUTH}
        C: {PLAIN_COMMAND}
        S: 535 5.7.8 Wrong
        C: {PLAIN_COMMAND}
        S: 454 4.7.0 Later
        C: QUIT
        """,
        logs_in(),
        logs_in(),
        quits,
        is_tls=True,
    )
    assert events[1:] == [
        LoginRefused("PLAIN", Reply(535, "5.7.8", "Wrong")),
        LoginRefused("PLAIN", Reply(454, "4.7.0", "Later")),
    ]


@pytest.mark.parametrize(
    ("opening", "action", "reply"),
    [
        (PLAIN, logs_in(), "503 5.5.1 The server offers no AUTH"),
        (STARTTLS, logs_in(), "538 5.7.11 The server offers no mechanism that keeps a secret"),
        (STARTTLS, logs_in(Token("ann", "x")), "504 5.5.4 The server offers no mechanism that"),
    ],
)
def test_no_login_is_possible(opening: str, action: Action, reply: str) -> None:
    [_, refused] = play(f"{opening}C: QUIT", action, quits)
    assert isinstance(refused, LoginRefused)
    assert refused.mechanism is None
    assert str(refused.reply).startswith(reply)


def test_password_in_the_clear_only_where_that_is_allowed() -> None:
    play(f"{STARTTLS}C: {PLAIN_COMMAND}", logs_in(allow_plaintext=True))


@pytest.mark.parametrize(
    ("challenge", "why"),
    [
        ("334 ?", "the server's challenge is not base64"),
        ("334 A", "the server's challenge is not base64"),
        ("334 é", "the server's challenge is not base64"),
        ("334-QQ==\nS: 334 QQ==", "the server's challenge is not base64"),
        ("334 QQ==", "a challenge came where all had been said"),
        ("334", "a challenge came where all had been said"),
    ],
)
def test_a_challenge_that_makes_no_sense_is_cancelled(challenge: str, why: str) -> None:
    events = play(
        f"""{AUTH}
        C: {PLAIN_COMMAND}
        S: {challenge}
        C: *
        S: 501 5.7.0 Cancelled
        C: QUIT
        """,
        logs_in(),
        quits,
        is_tls=True,
    )
    assert events[1:] == [LoginRefused("PLAIN", Reply(535, "5.7.8", f"PLAIN was given up: {why}"))]


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        ("S: 354 Go", "AUTH was answered by 354 Go"),
        ("S: 334 ?\nC: *\nS: 235 OK", "'*' was answered by 235 OK"),
        ("S: 334 ?\nC: *\nS: 334 QQ==", "'*' was answered by 334 QQ=="),
        ("S: [closed]", "the server closed the connection"),
        ("S: 421 Bye", LoginRefused("PLAIN", Reply(421, None, "Bye"))),
        ("S: 334 ?\nC: *\nS: 421 Bye", LoginRefused("PLAIN", Reply(421, None, "Bye"))),
    ],
)
def test_login_goes_wrong(answer: str, event: object) -> None:
    script = f"{AUTH}\nC: {PLAIN_COMMAND}\n{answer}\nC: [closed]"
    assert play(script, logs_in(), is_tls=True)[1:] == [event]


def test_success_that_nobody_has_earned() -> None:
    events = play(
        """
        C: [tls]
        S: 220 mx.test ESMTP
        C: EHLO client.test
        S: 250-mx.test
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 235 OK
        C: [closed]
        """,
        logs_in(),
        is_tls=True,
    )
    assert events[1:] == ["LOGIN: success came before the password was asked for"]


def test_login_out_of_turn() -> None:
    driver = Driver(iter([logs_in(allow_plaintext=True)]))
    connection = driver.connection
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"250-mx.test\r\n250 AUTH PLAIN\r\n")
    with pytest.raises(LocalProtocolError, match="until it gives LoggedIn or LoginRefused"):
        connection.login(ANN)
    assert connection.timeout_seconds == TIMEOUTS.command
    assert not connection.is_logged_in
    driver.hear(b"235 OK\r\n")
    assert connection.is_logged_in
    with pytest.raises(LocalProtocolError, match="is logged in already"):
        connection.login(ANN)


def test_credentials_that_cannot_be_sent_change_nothing() -> None:
    driver = Driver()
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"250-mx.test\r\n250 AUTH PLAIN\r\n")
    driver.take_said()
    with pytest.raises(ValueError, match="a character that SASL cannot carry"):
        driver.connection.login(Password("ann", "sec\0ret"), allow_plaintext=True)
    assert driver.connection.is_open
    assert driver.connection.data_to_send() == b""


def test_the_dialogue_shows_no_secret() -> None:
    lines: list[str] = []
    connection = ClientConnection("client.test", trace=lines.append)
    driver = Driver(iter([logs_in(allow_plaintext=True)] * 2), connection=connection)
    for reply in (
        b"220 mx.test",
        b"250-mx.test\r\n250 AUTH PLAIN",
        b"535 No",
        b"334 ?",
        b"501 Cancelled",
    ):
        driver.hear(reply + b"\r\n")
    assert lines[4:] == [
        "C: AUTH PLAIN ****",
        "S: 535 No",
        "C: AUTH PLAIN ****",
        "S: 334 (challenge)",
        "C: *",
        "S: 501 Cancelled",
    ]
    driver = Driver(connection=ClientConnection("client.test", trace=lines.append))
    driver.hear(b"220 mx.test\r\n")
    driver.hear(b"250-mx.test\r\n250 AUTH LOGIN\r\n")
    lines.clear()
    logs_in(allow_plaintext=True)(driver.connection)
    driver.hear(b"334 VXNlcm5hbWU6\r\n")
    driver.hear(b"334 UGFzc3dvcmQ6\r\n")
    assert [line for line in lines if line.startswith("C")] == [
        "C: AUTH LOGIN",
        "C: (credentials)",
        "C: (credentials)",
    ]
