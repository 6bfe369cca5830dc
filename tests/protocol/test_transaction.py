"""One message on its way: dialogues with scripted servers, each way that there is."""

from __future__ import annotations

import pytest

from pillarbox.protocol.client import GOODBYE, LOST, NOT_ENDED, ClientConnection
from pillarbox.protocol.client_event import Ready, Sent
from pillarbox.protocol.event import NEED_DATA, NEED_SEND
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.transaction import END_OCTETS, SLICE_OCTETS
from pillarbox.testing import MemoryServer, Recorder
from tests.protocol.client_dialogue import (
    CHUNKING,
    CHUNKING_ALONE,
    LMTP,
    PIPELINING,
    PLAIN,
    TEXT,
    TIMEOUTS,
    Action,
    Driver,
    asks,
    outcome_of,
    play,
    quits,
    sends,
)

# One message, in each of the ways


def test_lock_step() -> None:
    events = play(
        PLAIN
        + r"""
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        C: RCPT TO:<ben@example.org>
        S: 550 5.1.1 Unknown
        C: DATA
        S: 354 Go on
        C! "Subject: hi\r\n\r\n..text\r\n.\r\n"
        S: 250 2.6.0 Taken
        C: QUIT
        S: 221 Bye
        C: [closed]
        """,
        sends("bob@example.org", "ben@example.org"),
        quits,
    )
    assert outcome_of(events[1]) == [
        "bob, end of data: 250 2.6.0 Taken",
        "ben, RCPT: 550 5.1.1 Unknown",
    ]


def test_pipelining() -> None:
    events = play(
        PIPELINING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 550 5.1.1 Unknown
        S: 250 OK
        S: 354 Go on
        C! "Subject: hi\r\n\r\n..text\r\n.\r\n"
        S: 250 2.6.0 Taken
        """,
        sends("bob@example.org", "ben@example.org"),
    )
    assert outcome_of(events[1]) == [
        "bob, RCPT: 550 5.1.1 Unknown",
        "ben, end of data: 250 2.6.0 Taken",
    ]


def test_data_in_parts() -> None:
    events = play(
        PIPELINING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 354 Go on
        C! "..a\r\n..\r\n\r\n.\r\n"
        S: 250 2.6.0 Taken
        """,
        sends(data=None),
        parts=[b".a\r", b"", b"\n", b".", b"\r\n\r\n"],
    )
    assert outcome_of(events[1]) == ["bob, end of data: 250 2.6.0 Taken"]


def test_chunking() -> None:
    events = play(
        CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 250 OK
        C! "BDAT 22 LAST\r\nSubject: hi\r\n\r\n.text\r\n"
        S: 250 2.6.0 Taken
        """,
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, BDAT LAST: 250 2.6.0 Taken"]


def test_chunking_in_lock_step() -> None:
    events = play(
        CHUNKING_ALONE
        + r"""
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        C! "BDAT 2\r\nab"
        S: 250 OK
        C! "BDAT 2\r\n\rc"
        S: 250 OK
        C! "BDAT 0 LAST\r\n"
        S: 250 2.6.0 Taken
        """,
        sends(data=None),
        parts=[b"ab", b"", b"\rc", b""],
    )
    assert outcome_of(events[1]) == ["bob, BDAT LAST: 250 2.6.0 Taken"]


def test_chunks_go_out_together_up_to_a_number() -> None:
    events = play(
        CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org> BODY=8BITMIME
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 250 OK
        C! "BDAT 1\r\na" * 8
        S: 250 OK
        C! "BDAT 1\r\na"
        S: 250 OK
        S: 250 OK
        C! "BDAT 1\r\naBDAT 1 LAST\r\na"
        S! "250 OK\r\n" * 8
        """,
        sends(data=None),
        parts=[b"a"] * 11,
    )
    assert outcome_of(events[1]) == ["bob, BDAT LAST: 250 OK"]


# It may end, or not


def test_end_is_asked_for_once() -> None:
    asked: list[int] = []

    def may_end() -> bool:
        asked.append(len(driver.said))
        return True

    driver = Driver(iter([sends(may_end=may_end)]))
    for reply in ("220 mx.test", "250 mx.test", "250 OK", "250 OK", "354 Go on"):
        driver.take_said()
        driver.hear(f"{reply}\r\n".encode())
    assert driver.take_said().endswith(b"\r\n.\r\n")
    driver.hear(b"250 OK\r\n")
    assert isinstance(driver.events[-1], Sent)
    assert asked == [0]


GIVEN_UP = f"bob, None: {NOT_ENDED}"


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("data", [b"", TEXT, b"x" * END_OCTETS], ids=len)
def test_small_message_that_may_not_end(data: bytes, *, chunking: bool) -> None:
    script = CHUNKING + "C: MAIL FROM:<ann@example.org>\nC: RCPT TO:<bob@example.org>\n"
    script += "S: 250 OK\nS: 250 OK\n" if chunking else "C: DATA\nS: 250 OK\nS: 250 OK\nS: 354 Go\n"
    events = play(
        script + "C: [closed]", sends(data=data, chunking=chunking, may_end=lambda: False)
    )
    assert outcome_of(events[1]) == [GIVEN_UP]


@pytest.mark.parametrize(
    "more", [1, 2, SLICE_OCTETS - 1, SLICE_OCTETS, SLICE_OCTETS + 1, 2 * SLICE_OCTETS]
)
@pytest.mark.parametrize("chunking", [True, False])
def test_large_message_that_may_not_end(more: int, *, chunking: bool) -> None:
    driver = Driver()
    asked: list[int] = []

    def may_end() -> bool:
        asked.append(len(driver.said))
        return False

    data = b"z" * (more + END_OCTETS)
    driver.actions = iter([sends(data=data, chunking=chunking, may_end=may_end)])
    offered = b"250-mx.test\r\n250 CHUNKING\r\n" if chunking else b"250 mx.test\r\n"
    for reply in (b"220 mx.test\r\n", offered, b"250 OK\r\n", b"250 OK\r\n"):
        driver.hear(reply)
    while not driver.is_closed:
        driver.hear(b"250 OK\r\n" if chunking else b"354 Go\r\n")
    said = driver.take_said()
    assert said.count(b"z") == more
    assert b"LAST" not in said
    assert said.endswith(b"z")
    assert len(asked) == 1
    assert outcome_of(driver.events[1]) == [GIVEN_UP]


def test_parts_that_may_not_end() -> None:
    events = play(
        PIPELINING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 550 Unknown
        S: 354 Go on
        C! "a\r\nb"
        C: [closed]
        """,
        sends("bob@example.org", "ben@example.org", data=None, may_end=lambda: False),
        parts=[b"a\r\n", b"b", b"\r\n"],
    )
    assert outcome_of(events[1]) == [GIVEN_UP, "ben, RCPT: 550 Unknown"]


def test_chunking_may_be_declined() -> None:
    play(
        CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 354 Go on
        C! ".\r\n"
        """,
        sends(data=b"", chunking=False),
    )


def test_parameters() -> None:
    play(
        """
        S: 220 mx.test
        C: EHLO client.test
        S: 250-mx.test
        S: 250-SIZE
        S: 250-SMTPUTF8
        S: 250 8BITMIME
        C: MAIL FROM:<> SIZE=2 BODY=8BITMIME SMTPUTF8
        S: 250 OK
        C: RCPT TO:<é@example.org>
        """,
        sends("é@example.org", mail_from="", data="é".encode()),
    )


# The server lacks something


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (sends("é@x"), "é, None: 553 5.6.7 An address beyond ASCII needs SMTPUTF8,"),
        (sends(smtputf8=True), "bob, None: 554 5.6.9 The message needs SMTPUTF8,"),
        (sends(data=b"\xff"), "bob, None: 554 5.6.3 The message has octets beyond ASCII;"),
        (sends(body="BINARYMIME"), "bob, None: 554 5.6.3 A binary message needs BINARYMIME"),
    ],
)
def test_nothing_is_sent_that_the_server_cannot_take(action: Action, outcome: str) -> None:
    events = play(PLAIN + "C: QUIT", action, quits)
    [recipient] = outcome_of(events[1])
    assert recipient.startswith(outcome)


# Refusals


def test_sender_refused_in_lock_step() -> None:
    events = play(
        PLAIN
        + """
        C: MAIL FROM:<ann@example.org>
        S: 451 4.3.0 Busy
        C: MAIL FROM:<ann@example.org>
        """,
        sends("bob@example.org", "ben@example.org"),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, MAIL: 451 4.3.0 Busy", "ben, MAIL: 451 4.3.0 Busy"]


def test_sender_refused_pipelined() -> None:
    events = play(
        PIPELINING
        + """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 550 5.7.1 Not from you
        S: 503 5.5.1 RCPT needs MAIL
        S: 503 5.5.1 DATA needs MAIL
        C: QUIT
        """,
        sends(),
        quits,
    )
    assert outcome_of(events[1]) == ["bob, MAIL: 550 5.7.1 Not from you"]


def test_all_recipients_refused_in_lock_step() -> None:
    events = play(
        PLAIN
        + """
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 550 Unknown
        C: RSET
        S: 250 OK
        C: MAIL FROM:<ann@example.org>
        """,
        sends(),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, RCPT: 550 Unknown"]


def test_all_recipients_refused_and_data_too() -> None:
    events = play(
        PIPELINING
        + """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        S: 554 No recipients
        C: RSET
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        """,
        sends(),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, RCPT: 550 Unknown"]


@pytest.mark.parametrize("last", ["250 An empty message", "554 No recipients"])
def test_all_recipients_refused_and_354_all_the_same(last: str) -> None:
    events = play(
        PIPELINING
        + f"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        S: 452 Too many
        S: 354 Go on
        C: .
        S: {last}
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        """,
        sends("bob@example.org", "ben@example.org", data=None),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, RCPT: 550 Unknown", "ben, RCPT: 452 Too many"]


def test_sender_refused_and_354_all_the_same() -> None:
    events = play(
        PIPELINING
        + """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 550 Not from you
        S: 250 OK
        S: 354 Go on
        C: .
        S: 554 No
        """,
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, MAIL: 550 Not from you"]


def test_chunks_wait_for_a_recipient() -> None:
    events = play(
        CHUNKING
        + """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 550 Unknown
        C: RSET
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        """,
        sends(data=b"QUIT\r\n"),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, RCPT: 550 Unknown"]


def test_data_refused() -> None:
    events = play(
        PIPELINING
        + """
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 550 Unknown
        S: 452 No room
        C: QUIT
        """,
        sends("bob@example.org", "ben@example.org"),
        quits,
    )
    assert outcome_of(events[1]) == ["bob, DATA: 452 No room", "ben, RCPT: 550 Unknown"]


def test_message_refused() -> None:
    events = play(
        PLAIN
        + r"""
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        C: DATA
        S: 354 Go on
        C! "Subject: hi\r\n\r\n..text\r\n.\r\n"
        S: 554 5.7.1 Spam
        C: MAIL FROM:<ann@example.org>
        """,
        sends(),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, end of data: 554 5.7.1 Spam"]


def test_last_chunk_refused() -> None:
    events = play(
        CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 250 OK
        C! "BDAT 1 LAST\r\na"
        S: 554 5.7.1 Spam
        C: RSET
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        """,
        sends(data=b"a"),
        sends(),
    )
    assert outcome_of(events[1]) == ["bob, BDAT LAST: 554 5.7.1 Spam"]


def test_first_chunk_refused_and_so_are_those_on_their_way() -> None:
    events = play(
        CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org> BODY=8BITMIME
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 250 OK
        C! "BDAT 1\r\na" * 8
        S: 552 Too large
        S! "503 What?\r\n" * 7
        C: RSET
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        S: 250 OK
        S: 250 OK
        C! "BDAT 22 LAST\r\nSubject: hi\r\n\r\n.text\r\n"
        """,
        sends(data=None),
        sends(),
        parts=[b"a"] * 100,
    )
    assert outcome_of(events[1]) == ["bob, BDAT: 552 Too large"]


def test_chunk_refused_in_lock_step() -> None:
    events = play(
        CHUNKING_ALONE
        + r"""
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        C! "BDAT 1\r\na"
        S: 552 Too large
        C: RSET
        S: 500 What?
        C: MAIL FROM:<ann@example.org>
        """,
        sends(data=None),
        sends(),
        parts=[b"a"] * 100,
    )
    assert outcome_of(events[1]) == ["bob, BDAT: 552 Too large"]


# LMTP: an answer for each recipient


def test_lmtp_by_data() -> None:
    events = play(
        LMTP
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: RCPT TO:<bea@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 550 5.1.1 Unknown
        S: 250 OK
        S: 354 Go
        C! "hi\r\n.\r\n"
        S: 250 2.0.0 Taken
        S: 452 4.2.2 Full
        C: QUIT
        """,
        sends("bob@example.org", "ben@example.org", "bea@example.org", data=b"hi\r\n"),
        quits,
        is_lmtp=True,
    )
    assert outcome_of(events[1]) == [
        "bob, end of data: 250 2.0.0 Taken",
        "ben, RCPT: 550 5.1.1 Unknown",
        "bea, end of data: 452 4.2.2 Full",
    ]


LMTP_CHUNKING = LMTP.replace("PIPELINING", "CHUNKING").replace(
    "250-mx.test", "250-mx.test\n    S: 250-PIPELINING"
)


def test_lmtp_by_chunks() -> None:
    events = play(
        LMTP_CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        S: 250 OK
        S: 250 OK
        S: 250 OK
        C! "BDAT 1\r\na"
        S: 250 OK
        C! "BDAT 1 LAST\r\nb"
        S: 250 Taken
        S: 452 Full
        C: QUIT
        """,
        sends("bob@example.org", "ben@example.org", data=None),
        quits,
        parts=[b"a", b"b"],
        is_lmtp=True,
    )
    assert outcome_of(events[1]) == ["bob, BDAT LAST: 250 Taken", "ben, BDAT LAST: 452 Full"]


def test_lmtp_chunk_refused() -> None:
    events = play(
        LMTP_CHUNKING
        + r"""
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        S! "250 OK\r\n250 OK\r\n250 OK\r\n"
        C! "BDAT 1\r\na"
        S: 552 Too large
        C: RSET
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        """,
        sends("bob@example.org", "ben@example.org", data=None),
        sends(data=b""),
        parts=[b"a", b"b"],
        is_lmtp=True,
    )
    assert outcome_of(events[1]) == ["bob, BDAT: 552 Too large", "ben, BDAT: 552 Too large"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("S: 421 Bye", ["bob, end of data: 250 Taken", "ben, end of data: 421 Bye"]),
        ("S: [closed]", ["bob, end of data: 250 Taken", f"ben, None: {LOST}", "in doubt"]),
    ],
)
def test_lmtp_session_that_ends_between_the_answers(end: str, outcome: list[str]) -> None:
    events = play(
        f"""{LMTP}
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 250 OK
        S: 354 Go
        C: hi
        C: .
        S: 250 Taken
        {end}
        C: [closed]
        """,
        sends("bob@example.org", "ben@example.org", data=b"hi\r\n"),
        is_lmtp=True,
    )
    assert outcome_of(events[-1]) == outcome


def test_lmtp_354_though_every_recipient_was_refused() -> None:
    events = play(
        f"""{LMTP}
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 250 OK
        S: 550 Unknown
        S: 354 Go
        C: [closed]
        """,
        sends(),
        is_lmtp=True,
    )
    assert events[1] == "DATA was answered by 354 after every recipient was refused"
    assert outcome_of(events[2]) == ["bob, RCPT: 550 Unknown"]


# One refusal for all, as GNU Mailman gives it

TWO_IN_LMTP = f"""{LMTP}
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: RCPT TO:<ben@example.org>
        C: DATA
        S: 250 OK
        S: 250 OK
        S: 250 OK
        S: 354 Go
        C: hi
        C: .
"""
SENDS_TO_TWO = sends("bob@example.org", "ben@example.org", data=b"hi\r\n")


def test_one_refusal_for_all() -> None:
    events = play(
        f"""{TWO_IN_LMTP}
        S: 501 Message has defects
        S: [closed]
        C: [closed]
        """,
        SENDS_TO_TWO,
        is_lmtp=True,
        lone_refusal_seconds=1.5,
    )
    assert outcome_of(events[-1]) == [
        "bob, end of data: 501 Message has defects",
        "ben, end of data: 501 Message has defects",
    ]


def test_one_refusal_and_then_silence() -> None:
    connection = ClientConnection(
        "client.test", is_lmtp=True, timeouts=TIMEOUTS, lone_refusal_seconds=1.5
    )
    driver = Driver(iter([SENDS_TO_TWO]), connection=connection)
    driver.pump()
    driver.hear(b"220 mx.test\r\n250-mx.test\r\n250 PIPELINING\r\n")
    driver.hear(b"250 OK\r\n" * 3 + b"354 Go\r\n")
    assert (connection.has_lone_refusal, connection.timeout_seconds) == (False, TIMEOUTS.end)
    driver.hear(b"552 Too large\r\n")
    assert (connection.has_lone_refusal, connection.timeout_seconds) == (True, 1.5)
    connection.abandon(LOST)
    driver.pump()
    assert outcome_of(driver.events[-1]) == [
        "bob, end of data: 552 Too large",
        "ben, end of data: 552 Too large",
    ]
    assert driver.is_closed
    assert connection.closing_reply == GOODBYE


@pytest.mark.parametrize("seconds", [None, 1.5])
def test_a_refusal_for_each(seconds: float | None) -> None:
    events = play(
        f"""{TWO_IN_LMTP}
        S: 550 Unknown
        S: 250 Taken
        C: QUIT
        """,
        SENDS_TO_TWO,
        quits,
        is_lmtp=True,
        lone_refusal_seconds=seconds,
    )
    assert outcome_of(events[-1]) == [
        "bob, end of data: 550 Unknown",
        "ben, end of data: 250 Taken",
    ]


@pytest.mark.parametrize(
    ("reply", "seconds", "outcome"),
    [
        ("501 Defects", None, ["bob, end of data: 501 Defects", f"ben, None: {LOST}", "in doubt"]),
        ("250 Taken", 1.5, ["bob, end of data: 250 Taken", f"ben, None: {LOST}", "in doubt"]),
    ],
)
def test_what_does_not_go_for_all(reply: str, seconds: float | None, outcome: list[str]) -> None:
    events = play(
        f"""{TWO_IN_LMTP}
        S: {reply}
        S: [closed]
        C: [closed]
        """,
        SENDS_TO_TWO,
        is_lmtp=True,
        lone_refusal_seconds=seconds,
    )
    assert outcome_of(events[-1]) == outcome


# Questions


def test_who_is_known() -> None:
    events = play(
        """
        S: 220 mx.test LMTP
        C: LHLO client.test
        S: 250 mx.test
        C: MAIL FROM:<>
        S: 250 OK
        C: RCPT TO:<list@example.org>
        S: 250 OK
        C: RCPT TO:<nobody@example.org>
        S: 550 5.1.1 Unknown
        C: RSET
        S: 250 OK
        C: MAIL FROM:<>
        S: 250 OK
        C: RCPT TO:<list@example.org>
        S: 451 4.3.0 Later
        C: QUIT
        """,
        asks("list@example.org", "nobody@example.org"),
        asks("list@example.org"),
        quits,
        is_lmtp=True,
    )
    assert [outcome_of(event) for event in events[1:]] == [
        ["list, RCPT: 250 OK", "nobody, RCPT: 550 5.1.1 Unknown"],
        ["list, RCPT: 451 4.3.0 Later"],
    ]


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ("S: 250 OK\nS: 250 OK", ["list, RCPT: 250 OK"]),
        ("S: 451 4.3.0 Later\nS: 503 No sender", ["list, MAIL: 451 4.3.0 Later"]),
    ],
)
def test_a_pipelined_question(replies: str, outcome: list[str]) -> None:
    events = play(
        f"{PIPELINING}C: MAIL FROM:<>\nC: RCPT TO:<list@example.org>\n{replies}\nC: QUIT",
        asks("list@example.org"),
        quits,
    )
    assert outcome_of(events[1]) == outcome


def test_a_question_that_the_server_would_not_understand() -> None:
    events = play(f"{PLAIN}C: QUIT", asks("listé@example.org"), quits)
    assert outcome_of(events[1]) == [
        "listé, None: 553 5.6.7 An address beyond ASCII needs SMTPUTF8, which the server does not"
        " offer"
    ]


# Limits (RFC 9422)

LIMITS = PIPELINING.replace("S: 250 PIPELINING", "S: 250 LIMITS MAILMAX=1 RCPTMAX=1")


def test_so_many_recipients_and_messages() -> None:
    events = play(
        LIMITS
        + """
        C: MAIL FROM:<ann@example.org>
        S: 250 OK
        C: RCPT TO:<bob@example.org>
        S: 250 OK
        C: DATA
        S: 354 Go
        C: .
        S: 250 Taken
        C: QUIT
        """,
        sends("bob@example.org", "ben@example.org", data=b""),
        sends(),
        quits,
    )
    assert [outcome_of(event) for event in events[1:]] == [
        [
            "bob, end of data: 250 Taken",
            "ben, None: 452 4.5.3 The server takes fewer recipients of one message",
        ],
        ["bob, None: 452 4.5.3 The server takes no more messages in this session"],
    ]


# Large messages


@pytest.mark.parametrize("more", [-1, 0, 1, SLICE_OCTETS + 1])
def test_large_message_goes_out_in_slices(more: int) -> None:
    data = b"x" * (SLICE_OCTETS + more)
    server = MemoryServer(Recorder(), offer=Offer(hostname="mx.test", max_message_bytes=0))
    largest = 0
    connection = ClientConnection("client.test")
    connection.receive_data(server.recv())
    sent = False
    while True:
        event = connection.next_event()
        octets = connection.data_to_send()
        largest = max(largest, len(octets))
        if octets:
            server.sendall(octets)
        if isinstance(event, Ready):
            connection.send_message("ann@example.org", ["bob@example.org"], data)
        elif isinstance(event, Sent):
            assert event.outcome.is_accepted
            break
        elif event is NEED_DATA:
            connection.receive_data(server.recv())
        else:
            assert event is NEED_SEND
            sent = True
    assert sent is (more > 0)
    assert largest < SLICE_OCTETS + 100
