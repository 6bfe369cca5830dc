"""The mailbox: what goes in comes out, and who asked is told."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.change import Change, Deleted, New, Stats, Truncated, Updated
from pillarbox.catcher.mailbox import Mailbox, MessageNotFound

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def arrival(
    subject: str = "Hello", *, seconds: float = 0, mailboxes: tuple[str, ...] = ()
) -> Arrival:
    octets = f"From: Ann <ann@example.org>\r\nSubject: {subject}\r\n\r\nSome text\r\n".encode()
    return Arrival(
        id=new_id(),
        time=NOON + timedelta(seconds=seconds),
        mail_from="ann@example.org",
        rcpt_tos=("bob@example.org",),
        peer=("127.0.0.1", 25),
        octets=octets,
        mailboxes=mailboxes,
        transcript=("S: 220 mx", "C: QUIT"),
    )


def subjects(mailbox: Mailbox, query: str = "") -> list[str]:
    return [summary.subject for summary in mailbox.find(query)]


def test_what_goes_in_comes_out() -> None:
    with Mailbox() as mailbox:
        sent = arrival()
        summary = mailbox.add(sent)
        stored = mailbox.get(summary.id)
        assert stored.summary == summary
        assert stored.arrival == sent
        assert mailbox.octets(summary.id) == sent.octets
        assert mailbox.list().summaries == (summary,)


def test_an_id_that_is_not_there() -> None:
    with Mailbox() as mailbox, pytest.raises(MessageNotFound, match="there is no message nope"):
        mailbox.get("nope")


def test_the_newest_comes_first() -> None:
    with Mailbox() as mailbox:
        for subject, seconds in (("b", 1), ("a", 0), ("c", 1)):
            mailbox.add(arrival(subject, seconds=seconds))
        assert subjects(mailbox) == ["c", "b", "a"]


def test_a_named_mailbox_sees_its_own() -> None:
    with Mailbox() as mailbox:
        team = mailbox.scoped("team")
        mailbox.add(arrival("all"))
        team.add(arrival("team"))
        both = mailbox.add(arrival("both", mailboxes=("team", "other")))
        assert subjects(team) == ["both", "team"]
        assert subjects(mailbox) == ["both", "team", "all"]
        team.delete([both.id])
        assert subjects(team) == ["team"]
        assert subjects(mailbox.scoped("other")) == ["both"]


def test_who_asked_is_told() -> None:
    with Mailbox() as mailbox:
        told: list[Change] = []
        cancel = mailbox.subscribe(told.append)
        summary = mailbox.add(arrival())
        mailbox.set_read([summary.id])
        read = mailbox.summary(summary.id)
        mailbox.delete([summary.id])
        mailbox.delete_all()
        cancel()
        mailbox.add(arrival())
        assert told == [
            *(New(summary), Stats(1, 1)),
            *(Updated(read), Stats(1, 0)),
            *(Deleted(summary.id), Stats(0, 0)),
            *(Truncated(), Stats(0, 0)),
        ]


def test_waiting_for_a_message() -> None:
    with Mailbox() as mailbox:
        assert mailbox.wait("hello", timeout=0) is None
        thread = threading.Thread(target=lambda: mailbox.add(arrival()))
        thread.start()
        found = mailbox.wait("hello", timeout=10)
        thread.join()
        assert found is not None
        assert found.subject == "Hello"
