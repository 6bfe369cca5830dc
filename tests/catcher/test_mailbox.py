"""The mailbox: what goes in comes out, who asked is told, and what fails says what to do."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest

from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.change import Change, Deleted, New, Pruned, Stats, Truncated, Updated
from pillarbox.catcher.failure import MailboxError, MailboxFull, MessageNotFound
from pillarbox.catcher.header import Address
from pillarbox.catcher.index import MAX_WAITING
from pillarbox.catcher.limits import Limits
from pillarbox.catcher.mailbox import MAX_TOLD, Mailbox
from pillarbox.catcher.schema import VERSION
from pillarbox.catcher.summary import Counts, Summary
from tests.catcher.mails import MAILS
from tests.catcher.ugly import UGLY

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ALL = Limits(max_messages=0)


def arrival(
    subject: str = "Hello", *mailboxes: str, seconds: float = 0, size: int = 0, to: str = ""
) -> Arrival:
    header = f"From: Ann <ann@example.org>\r\nSubject: {subject}\r\n"
    if to:
        header += f"To: {to}\r\n"
    return Arrival(
        id=new_id(),
        time=NOON + timedelta(seconds=seconds),
        mail_from="ann@example.org",
        rcpt_tos=("bob@example.org",),
        octets=f"{header}\r\nSome text\r\n".encode().ljust(size),
        mailboxes=mailboxes,
    )


@pytest.fixture(params=["memory", "file"])
def mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mailbox]:
    with Mailbox(tmp_path / "mails.db" if request.param == "file" else None) as made:
        yield made


def subjects(mailbox: Mailbox, query: str = "") -> list[str]:
    return [summary.subject for summary in mailbox.find(query)]


# In and out


FULL = Arrival(
    id="full",
    time=NOON + timedelta(microseconds=1),
    mail_from="",
    rcpt_tos=("bob@example.org", "eve@example.org"),
    peer=("127.0.0.1", 40000),
    helo="client.test",
    octets=b"To: bob@example.org\r\n\r\n\xff\x00\r\n",
    identity="ann",
    tls="TLSv1.3",
    session_id="s1",
    local="/run/catch",
    mail_parameters={"SIZE": "10", "SMTPUTF8": None},
    rcpt_parameters=({"NOTIFY": "NEVER"}, {}),
    mailboxes=("a", "b"),
    transcript=("S: 220 mx", "C: QUIT", ""),
    tags=("one", "Two"),
)


@pytest.mark.parametrize("sent", [FULL, *MAILS.values()], ids=["full", *MAILS])
def test_what_goes_in_comes_out(mailbox: Mailbox, sent: Arrival) -> None:
    summary = mailbox.add(sent)
    stored = mailbox.get(sent.id)
    assert stored.arrival == replace(sent, transcript=stored.arrival.transcript)
    assert stored.arrival.transcript in (sent.transcript, sent.transcript[:-1])
    assert stored.summary == summary == mailbox.summary(sent.id)
    assert mailbox.octets(sent.id) == sent.octets
    assert mailbox.list().summaries == (summary,)
    assert mailbox.latest() == summary
    assert stored.parse().size == summary.size == len(sent.octets)


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.name)
def test_what_is_ugly_goes_in_as_well(mailbox: Mailbox, ugly: object) -> None:
    octets: bytes = getattr(ugly, "octets")  # noqa: B009  # the table's type has more
    summary = mailbox.add(replace(arrival(), octets=octets))
    assert mailbox.octets(summary.id) == octets
    assert mailbox.list().summaries == (summary,)


def test_what_a_list_tells(mailbox: Mailbox) -> None:
    octets = (
        b"From: Ann <ann@example.org>, dora@example.org\r\nTo: bob@example.org\r\n"
        b"Cc: C <c@example.org>\r\nReply-To: help@example.org\r\nMessage-ID: <1@example.org>\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n\r\nHello,\r\n  Bob\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <i@x>\r\n\r\n"
        b"--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\n--b--\r\n"
    )
    sent = replace(
        arrival(), octets=octets, rcpt_tos=("bob@example.org", "eve@example.org"), identity="ann"
    )
    assert mailbox.add(sent) == Summary(
        id=sent.id,
        time=NOON,
        message_id="1@example.org",
        is_read=False,
        from_=Address("Ann", "ann@example.org"),
        to=(Address("", "bob@example.org"),),
        cc=(Address("C", "c@example.org"),),
        bcc=(Address("", "eve@example.org"),),
        reply_to=(Address("", "help@example.org"),),
        subject="Grüße",
        snippet="Hello, Bob",
        size=len(octets),
        attachments=1,
        inlines=1,
        identity="ann",
    )


@pytest.mark.parametrize("id_", ["nope", "", "é", "\ud800", "x" * 10_000, "%", "' OR 1"])
def test_an_id_that_is_not_there(mailbox: Mailbox, id_: str) -> None:
    mailbox.add(arrival())
    for ask in (mailbox.get, mailbox.octets, mailbox.summary):
        with pytest.raises(MessageNotFound, match="there is no message "):
            ask(id_)
    assert mailbox.delete([id_]) == mailbox.set_read([id_]) == mailbox.set_tags([id_], ["a"]) == 0
    assert mailbox.counts() == Counts(total=1, unread=1)


def test_ids_are_a_list(mailbox: Mailbox) -> None:
    with pytest.raises(TypeError, match=r"ids are a list; write \['abc'\]"):
        mailbox.delete("abc")


def test_the_newest_comes_first(mailbox: Mailbox) -> None:
    for subject, seconds in (("b", 1), ("a", 0), ("c", 1)):
        mailbox.add(arrival(subject, seconds=seconds))
    assert subjects(mailbox) == ["c", "b", "a"]
    page = mailbox.list(start=1, limit=1)
    assert [summary.subject for summary in page.summaries] == ["b"]
    assert (page.start, page.found, page.mailbox) == (1, Counts(total=3, unread=3), page.found)
    assert mailbox.list(start=7).summaries == ()
    assert mailbox.list(limit=0).summaries == ()
    assert len(mailbox.search("text", start=-1, limit=-1).summaries) == 3


def test_all_of_them_or_none(mailbox: Mailbox) -> None:
    first = arrival()
    with pytest.raises(ValueError, match=f"there is a message {first.id} already"):
        mailbox.add_all([arrival(), first, first])
    assert mailbox.counts().total == 0
    assert subjects(mailbox, "hello") == []
    mailbox.add_all([first, arrival("Second")])
    assert subjects(mailbox) == ["Second", "Hello"]


def test_the_dialogue_may_come_later(mailbox: Mailbox) -> None:
    summary = mailbox.add(arrival())
    mailbox.set_transcript(summary.id, ["C: QUIT", "S: 221 \ud800"])
    mailbox.set_transcript("gone", ["C: QUIT"])
    assert mailbox.get(summary.id).arrival.transcript == ("C: QUIT", "S: 221 \ufffd")


# Read and unread, tags


def test_read_and_unread(mailbox: Mailbox) -> None:
    ids = [mailbox.add(arrival(f"{number}")).id for number in range(4)]
    assert mailbox.set_read(ids[:2]) == 2
    assert mailbox.set_read(ids[:3]) == 1
    assert subjects(mailbox, "is:read") == ["2", "1", "0"]
    assert mailbox.counts() == Counts(total=4, unread=1)
    assert mailbox.set_read_found("subject:1", False) == 1
    assert mailbox.search("is:unread").found == Counts(total=2, unread=2)
    assert mailbox.set_read_found() == 2
    assert mailbox.counts() == Counts(total=4, unread=0)


def test_tags(mailbox: Mailbox) -> None:
    one = mailbox.add(replace(arrival("1", to="bob+Sales+x@example.org"), tags=("news",)))
    two = mailbox.add(replace(arrival("2"), octets=b"X-Tags: a/b , News,,sales\r\n\r\n"))
    assert one.tags == ("news", "Sales", "x")
    assert two.tags == ("a b", "News", "sales")
    assert {tag.lower(): count for tag, count in mailbox.tags().items()} == {
        "a b": 1,
        "news": 2,
        "sales": 2,
        "x": 1,
    }
    assert list(mailbox.tags()) == list(mailbox.list().tags)
    assert subjects(mailbox, "tag:sales") == ["", "1"]
    assert mailbox.rename_tag("SALES", "Shop") == 2
    assert mailbox.rename_tag("none", "other") == 0
    assert mailbox.delete_tag("x") == 1
    assert mailbox.summary(one.id).tags == ("news", "Shop")
    assert mailbox.set_tags([one.id, two.id], ["  b  c ", "B C", "", "Ünï-1_2.3@4"]) == 2
    assert mailbox.summary(two.id).tags == ("b c", "Ünï-1_2.3@4")
    assert mailbox.set_tags([one.id], []) == 1
    assert subjects(mailbox, "-is:tagged") == ["1"]


@pytest.mark.parametrize("tag", ["a/b", "<b>", "a,b", "x" * 101, "\ud800", "a\0b"])
def test_what_no_tag_may_have(mailbox: Mailbox, tag: str) -> None:
    summary = mailbox.add(replace(arrival(), tags=("kept",)))
    with pytest.raises(ValueError, match="cannot be a tag; write letters, digits, blanks"):
        mailbox.set_tags([summary.id], ["fine", tag])
    with pytest.raises(ValueError, match="cannot be a tag; write letters, digits, blanks"):
        mailbox.rename_tag("kept", tag)
    assert mailbox.tags() == {"kept": 1}
    assert mailbox.delete_tag(tag) == 0


def test_a_tag_without_a_name(mailbox: Mailbox) -> None:
    with pytest.raises(ValueError, match="to take it from all messages, delete it"):
        mailbox.rename_tag("a", " ")


# Deleting


def test_deleting(mailbox: Mailbox) -> None:
    ids = [mailbox.add(arrival(f"order {number}")).id for number in range(5)]
    assert mailbox.delete([ids[0], ids[0], "gone"]) == 1
    assert mailbox.delete_found("subject:1") == 1
    assert [mailbox.delete_found(query) for query in ("", " ", '""', "subject:")] == [0] * 4
    assert subjects(mailbox, "order") == ["order 4", "order 3", "order 2"]
    assert mailbox.delete_all() == 3
    assert mailbox.counts() == Counts(total=0, unread=0)
    assert mailbox.add(arrival("order 9")).subject == "order 9"
    assert subjects(mailbox, "order") == ["order 9"]


def test_nothing_of_a_deleted_message_is_left(tmp_path: Path) -> None:
    with Mailbox(tmp_path / "mails.db") as mailbox:
        # Some are in the index and some are not yet.
        added = [
            mailbox.add(replace(arrival("x", "a", "b"), tags=("t",)))
            for _ in range(MAX_WAITING + 5)
        ]
        mailbox.delete([summary.id for summary in added[3:]])
        mailbox.scoped("a").delete_all()
        mailbox.scoped("b").delete_all()
        tables = "message", "content", "mail", "words", "tag", "place", "backlog", "header"
        connection = mailbox._store.database.writer
        for table in tables:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        # It compares the index with the texts, and raises where they differ.
        connection.execute("INSERT INTO found (found, rank) VALUES ('integrity-check', 1)")
        assert connection.execute("SELECT * FROM found('text')").fetchall() == []
        assert connection.execute("SELECT rowid FROM short('te')").fetchall() == []
        assert connection.execute("SELECT * FROM tally").fetchone() == (0, 0, 0)


def test_deleting_all_gives_the_room_back(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with Mailbox(path) as mailbox:
        for _ in range(20):
            mailbox.add(arrival(size=50_000))
        mailbox.delete_all()
    assert path.stat().st_size < 200_000


# Named mailboxes


def test_a_named_mailbox_sees_its_own(mailbox: Mailbox) -> None:
    team = mailbox.scoped("team")
    other = mailbox.scoped("other")
    mailbox.add(arrival("all"))
    team.add(replace(arrival("team"), tags=("t",)))
    both = team.add(arrival("both", "other"))
    assert both.mailboxes == ("other", "team")
    assert mailbox.names() == {"other": 1, "team": 2}
    assert subjects(mailbox) == ["both", "team", "all"]
    assert subjects(team, "text") == ["both", "team"]
    assert team.list().mailbox == Counts(total=2, unread=2)
    assert (team.tags(), other.tags()) == ({"t": 1}, {})
    assert team.search("both").found == team.search("both").found == Counts(total=1, unread=1)
    with pytest.raises(MessageNotFound):
        other.get(mailbox.find("team")[-1].id)
    assert other.delete_found("team") == other.set_read_found("subject:team") == 0
    assert other.rename_tag("t", "u") == 0


def test_deleting_in_a_named_mailbox(mailbox: Mailbox) -> None:
    team, other = mailbox.scoped("team"), mailbox.scoped("other")
    both = mailbox.add(arrival("both", "team", "other"))
    mailbox.add(arrival("mine", "team"))
    mailbox.add(arrival("all"))
    assert team.delete([both.id]) == 1
    assert (subjects(team), subjects(other)) == (["mine"], ["both"])
    assert team.delete_all() == 1
    assert subjects(mailbox) == ["all", "both"]
    assert other.delete_all() == 1
    assert subjects(mailbox) == ["all"]


# Limits


def test_the_oldest_leave_first() -> None:
    with Mailbox(limits=Limits(max_messages=3)) as mailbox:
        told: list[Change] = []
        for subject, seconds in (("b", 1), ("a", 0), ("c", 2)):
            mailbox.add(arrival(subject, seconds=seconds))
        mailbox.subscribe(told.append)
        last = mailbox.add(arrival("d", seconds=3))
        assert subjects(mailbox) == ["d", "c", "b"]
        assert told == [New(last), Pruned(), Stats(3, 3)]


@pytest.mark.parametrize("number", [99, 100, 101, 102, 103])
def test_many_leave_together(number: int) -> None:
    with Mailbox(limits=Limits(max_messages=100)) as mailbox:
        for _ in range(number):
            mailbox.add(arrival())
        assert mailbox.counts().total == (number if number <= 102 else 100)


def test_limit_of_octets() -> None:
    with Mailbox(limits=Limits(max_messages=0, max_octets=3000)) as mailbox:
        for number in range(4):
            mailbox.add(arrival(f"{number}", size=1000))
        assert subjects(mailbox) == ["3", "2", "1"]
        mailbox.add(arrival("large", size=10_000))
        assert subjects(mailbox) == ["large"]  # the newest stays
        mailbox.add(arrival("small", size=10))
        assert subjects(mailbox) == ["small"]


def test_limit_of_age(tmp_path: Path) -> None:
    now = NOON
    limits = Limits(max_age_seconds=60)
    with Mailbox(tmp_path / "mails.db", limits=limits, clock=lambda: now) as mailbox:
        mailbox.add(arrival("old"))
        mailbox.add(arrival("new", seconds=30))
        now = NOON + timedelta(seconds=60)
        assert mailbox.prune() == 0
        now = NOON + timedelta(seconds=61)
        assert mailbox.prune() == 1
        assert subjects(mailbox) == ["new"]
    now = NOON + timedelta(days=1)
    with Mailbox(tmp_path / "mails.db", limits=limits, clock=lambda: now) as mailbox:
        assert subjects(mailbox) == []


def test_without_limits() -> None:
    with Mailbox(limits=ALL) as mailbox:
        mailbox.add_all(arrival() for _ in range(5100))
        assert mailbox.counts().total == 5100


def test_limits_at_the_start(tmp_path: Path) -> None:
    with Mailbox(tmp_path / "mails.db") as mailbox:
        mailbox.add_all(arrival(f"{number}", seconds=number) for number in range(5))
    with Mailbox(tmp_path / "mails.db", limits=Limits(max_messages=2)) as mailbox:
        assert subjects(mailbox) == ["4", "3"]


# Changes


def test_who_asked_is_told(mailbox: Mailbox) -> None:
    told: list[Change] = []
    cancel = mailbox.subscribe(told.append)
    summary = mailbox.add(arrival())
    mailbox.set_read([summary.id])
    read = mailbox.summary(summary.id)
    mailbox.set_tags([summary.id], ["a"])
    tagged = mailbox.summary(summary.id)
    mailbox.delete([summary.id])
    mailbox.delete_all()
    cancel()
    cancel()
    mailbox.add(arrival())
    assert told == [
        *(New(summary), Stats(1, 1)),
        *(Updated(read), Stats(1, 0)),
        *(Updated(tagged), Stats(1, 0)),
        *(Deleted(summary.id), Stats(0, 0)),
        *(Truncated(), Stats(0, 0)),
    ]


def test_what_a_named_mailbox_is_told(mailbox: Mailbox) -> None:
    told: dict[str, list[Change]] = {"": [], "a": [], "b": []}
    mailbox.subscribe(told[""].append)
    for name in ("a", "b"):
        mailbox.scoped(name).subscribe(told[name].append)
    both = mailbox.add(arrival("both", "a", "b"))
    only = mailbox.add(arrival("only", "a"))
    mailbox.scoped("a").delete([both.id])
    mailbox.scoped("a").delete_all()
    assert told["a"] == [
        *(New(both), Stats(1, 1), New(only), Stats(2, 2)),
        *(Deleted(both.id), Stats(1, 1), Truncated(), Stats(0, 0)),
    ]
    assert told["b"] == [New(both), Stats(1, 1)]
    assert told[""] == [
        *(New(both), Stats(1, 1), New(only), Stats(2, 2)),
        # The other one is still in b.
        *(Pruned(), Stats(1, 1)),
    ]


def test_much_at_once_is_told_as_one(mailbox: Mailbox) -> None:
    ids = [one.id for one in mailbox.add_all(arrival() for _ in range(MAX_TOLD + 1))]
    told: list[Change] = []
    mailbox.subscribe(told.append)
    mailbox.set_read(ids)
    mailbox.delete(ids)
    assert told == [Pruned(), Stats(MAX_TOLD + 1, 0), Pruned(), Stats(0, 0)]


def test_a_subscriber_that_fails(mailbox: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Change] = []
    mailbox.subscribe(lambda _: [][0])
    mailbox.subscribe(told.append)
    summary = mailbox.add(arrival())
    assert told == [New(summary), Stats(1, 1)]
    assert "a subscriber of the mailbox failed" in caplog.text


def test_a_subscriber_that_changes_something(mailbox: Mailbox) -> None:
    told: list[Change] = []

    def read(change: Change) -> None:
        told.append(change)
        if isinstance(change, New):
            mailbox.set_read([change.summary.id])

    mailbox.subscribe(read)
    summary = mailbox.add(arrival())
    assert told[0] == New(summary)
    assert mailbox.counts().unread == 0


# Waiting


def test_waiting_for_what_is_there(mailbox: Mailbox) -> None:
    assert mailbox.wait("hello", timeout=0) is None
    summary = mailbox.add(arrival())
    assert mailbox.wait("hello", timeout=0) == summary
    assert mailbox.wait() == summary


def test_waiting_for_what_comes(mailbox: Mailbox) -> None:
    found: SimpleQueue[Summary | None] = SimpleQueue()
    thread = threading.Thread(target=lambda: found.put(mailbox.wait("needle is:read", timeout=30)))
    thread.start()
    mailbox.add(arrival("hay"))
    needle = mailbox.add(arrival("needle"))
    mailbox.set_read([needle.id])
    thread.join()
    assert found.get() == mailbox.summary(needle.id)


def test_waiting_without_a_thread(mailbox: Mailbox) -> None:
    async def wait() -> None:
        assert await mailbox.wait_async("needle", timeout=0) is None
        task = asyncio.create_task(mailbox.wait_async("needle", timeout=30))
        while not mailbox._changes:
            await asyncio.sleep(0)
        await asyncio.to_thread(mailbox.add, arrival("hay"))
        needle = await asyncio.to_thread(mailbox.add, arrival("needle"))
        assert await task == needle
        assert await mailbox.wait_async("needle") == needle

    asyncio.run(wait())
    assert not mailbox._changes


def test_waiting_in_a_named_mailbox(mailbox: Mailbox) -> None:
    mailbox.add(arrival("needle", "other"))
    assert mailbox.scoped("team").wait("needle", timeout=0) is None
    assert mailbox.scoped("other").wait("needle", timeout=0) is not None


# Threads and processes


def test_threads(mailbox: Mailbox) -> None:
    failed: list[BaseException] = []

    def run(work: Callable[[int], object]) -> threading.Thread:
        def turn() -> None:
            try:
                for number in range(40):
                    work(number)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=turn)
        thread.start()
        return thread

    threads = [
        *(run(lambda number: mailbox.add(arrival(f"order {number}"))) for _ in range(3)),
        run(lambda _: mailbox.search("order -39")),
        run(lambda _: mailbox.set_read_found("order")),
        run(lambda _: mailbox.delete_found("subject:7")),
    ]
    for thread in threads:
        thread.join()
    assert failed == []
    mailbox.delete_found("subject:7")
    left = [number for number in range(40) if "7" not in str(number)]
    assert mailbox.counts().total == len(mailbox.find("order")) == 3 * len(left)


def test_a_file_is_there_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    sent = [replace(arrival(f"order {number}"), tags=("t",)) for number in range(MAX_WAITING + 9)]
    with Mailbox(path) as mailbox:
        before = mailbox.add_all(sent)
        mailbox.set_read([sent[0].id])
    with Mailbox(path) as mailbox:
        assert mailbox.find("order")[:-1] == list(reversed(before[1:]))
        assert mailbox.get(sent[0].id).arrival == sent[0]
        assert mailbox.summary(sent[0].id).is_read


def test_two_of_them_on_one_file(tmp_path: Path) -> None:
    with Mailbox(tmp_path / "mails.db") as one, Mailbox(tmp_path / "mails.db") as other:
        told: SimpleQueue[Change] = SimpleQueue()
        other.subscribe(told.put)
        mine = other.add(arrival("mine"))
        theirs = one.add(arrival("theirs"))
        assert [told.get(timeout=30) for _ in range(4)] == [
            *(New(mine), Stats(1, 1)),
            *(New(theirs), Stats(2, 2)),
        ]
        one.set_read([mine.id])
        assert [told.get(timeout=30) for _ in range(2)] == [Pruned(), Stats(2, 1)]
        thread = threading.Thread(target=lambda: one.add(arrival("needle")))
        thread.start()
        assert other.wait("needle", timeout=30) is not None
        thread.join()
        for mailbox in itertools.islice(itertools.cycle([one, other]), MAX_WAITING * 3):
            mailbox.add(arrival("order"))
        assert len(one.find("order")) == len(other.find("order")) == MAX_WAITING * 3


def test_a_subscriber_that_closes_the_mailbox(tmp_path: Path) -> None:
    with Mailbox(tmp_path / "mails.db") as one, Mailbox(tmp_path / "mails.db") as other:
        closed = threading.Event()

        def close(change: Change) -> None:
            if isinstance(change, New):
                other.close()
                closed.set()

        other.subscribe(close)
        one.add(arrival())  # the other hears of it in the thread that watches
        assert closed.wait(30)


def test_what_was_stored_survives_the_end_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    code = f"""
from tests.catcher.test_mailbox import Mailbox, arrival
mailbox = Mailbox({str(path)!r})
while True:
    print(mailbox.add(arrival("order")).id, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    with process:
        assert process.stdout is not None
        ids = [process.stdout.readline().strip() for _ in range(MAX_WAITING * 2)]
        os.kill(process.pid, signal.SIGKILL)
        ids += process.stdout.read().split()
    with Mailbox(path) as mailbox:
        found = mailbox.find("order")
        assert {summary.id for summary in found} >= set(ids)
        assert mailbox.counts().total == len(found)


# What fails


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MailboxError, match=f"has no folder; make {tmp_path / 'none'} first"):
        Mailbox(tmp_path / "none" / "mails.db")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(MailboxError, match="is a folder; name a file in it"):
        Mailbox(tmp_path)


def test_no_name() -> None:
    with pytest.raises(MailboxError, match=r"is empty; write such as mails\.db"):
        Mailbox("")


def test_a_file_that_is_no_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    path.write_text("From: ann\n" * 1000)
    with pytest.raises(MailboxError, match="is no mailbox; name another file"):
        Mailbox(path)
    assert path.read_text() == "From: ann\n" * 1000


def database(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("statement", ["CREATE TABLE t (a)", "PRAGMA application_id = 7"])
def test_the_database_of_another_program(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "mails.db"
    database(path, statement)
    with pytest.raises(MailboxError, match="is a database of another program; name another file"):
        Mailbox(path)


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    Mailbox(path).close()
    database(path, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(MailboxError, match="was written by a newer version of pillarbox; install"):
        Mailbox(path)


def test_a_file_of_an_older_version(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with Mailbox(path) as mailbox:
        mailbox.add_all(arrival(f"order {number}") for number in range(MAX_WAITING + 5))
        found = [mailbox.find(query) for query in QUERIES]
    database(
        path,
        "DROP INDEX message_read",
        "DROP TABLE short",
        "DROP TABLE header",
        "PRAGMA user_version = 1",
    )
    with Mailbox(path) as mailbox:
        assert [mailbox.find(query) for query in QUERIES] == found
        mailbox.delete_found("order")
        assert mailbox.find("or") == []


QUERIES = ("order", "or", "7", "header:subject=7", "subject:7 order header:from=ann", "-7")


def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with Mailbox(path) as mailbox:
        mailbox.add_all(arrival() for _ in range(100))
    octets = bytearray(path.read_bytes())
    octets[4096:] = b"\xff" * len(octets[4096:])
    path.write_bytes(octets)
    with pytest.raises(MailboxError, match=r"is damaged; move it away|failed: "):  # noqa: SIM117
        with Mailbox(path) as mailbox:
            mailbox.list()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    Mailbox(path).close()
    with Mailbox(path) as mailbox:
        # For root every file can be written, and this is what the others hear of SQLite.
        mailbox._store.database.writer.execute("PRAGMA query_only = ON")
        with pytest.raises(MailboxError, match="cannot be written; allow that for the file and"):
            mailbox.add(arrival())


def test_a_file_that_another_program_has_locked(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with Mailbox(path, busy_seconds=0) as mailbox:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MailboxError, match="is locked by another program; end that one, or"):
            mailbox.add(arrival())
        assert mailbox.counts().total == 0
        other.execute("COMMIT")
        other.close()
        mailbox.add(arrival())
        assert mailbox.counts().total == 1


@pytest.mark.parametrize("before", [0, MAX_WAITING - 1], ids=["alone", "with the batch"])
def test_no_room(tmp_path: Path, before: int) -> None:
    with Mailbox(tmp_path / "mails.db") as mailbox:
        mailbox.add_all(arrival("order") for _ in range(before))
        connection = mailbox._store.database.writer
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        told: list[Change] = []
        mailbox.subscribe(told.append)
        with pytest.raises(MailboxFull, match="has no room left; make room on its file system"):
            mailbox.add(arrival("order", size=50_000))
        assert mailbox.counts().total == len(mailbox.find("order")) == before
        assert told == []
        connection.execute("PRAGMA max_page_count = 1000000")
        mailbox.add(arrival("order", size=50_000))
        assert mailbox.counts().total == len(mailbox.find("order")) == before + 1


def test_what_is_stored_stays_so_when_nothing_can_be_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mailbox(tmp_path / "mails.db", limits=Limits(max_messages=1)) as mailbox:
        mailbox.add(arrival("first"))
        mailbox._store.database.writer.execute(
            "CREATE TEMP TRIGGER stuck BEFORE DELETE ON main.message"
            " BEGIN SELECT raise(ABORT, 'stuck'); END"
        )
        mailbox.add(arrival("second"))
        assert subjects(mailbox) == ["second", "first"]
        assert "stuck; nothing older was deleted to make room" in caplog.text


def test_a_mailbox_that_is_closed(mailbox: Mailbox) -> None:
    mailbox.close()
    mailbox.close()
    for ask in (mailbox.list, mailbox.delete_all, lambda: mailbox.add(arrival())):
        with pytest.raises(MailboxError, match="is closed; open it again"):
            ask()
