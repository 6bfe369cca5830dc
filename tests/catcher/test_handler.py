"""What is accepted: what was shown or kept, and nothing else."""

from __future__ import annotations

import errno
import logging
import smtplib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pillarbox import ThreadServer
from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.handler import Catcher
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.printer import Printer
from pillarbox.envelope import Envelope, Session

CONTENT = b"Subject: x\r\n\r\ntext\r\n"


class Screen:
    """A stream that can break."""

    def __init__(self, *failures: int) -> None:
        self.shown = ""
        self._failures = [OSError(number, "broken") for number in failures]

    def write(self, octets: memoryview, /) -> int:
        if self._failures:
            raise self._failures.pop(0)
        self.shown += bytes(octets).decode()
        return len(octets)

    def fileno(self) -> int:
        raise NotImplementedError


class IdView:
    """Shows ids and recipients."""

    def render(self, arrival: Arrival) -> str:
        return f"{arrival.id} {arrival.time:%Y} {' '.join(arrival.rcpt_tos)}\n"

    def fallback(self, arrival: Arrival) -> str:
        raise NotImplementedError


class BrokenView:
    """Cannot show anything."""

    def render(self, arrival: Arrival) -> str:
        raise RecursionError

    def fallback(self, arrival: Arrival) -> str:
        return f"{arrival.octets!r}\n"


class Folder:
    """Keeps messages in memory."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def keep(self, _session: Session, _envelope: Envelope, octets: bytes) -> str:
        self.kept.append(octets)
        return f"file-{len(self.kept)}"


def printer(screen: Screen) -> Printer:
    """Give one that writes what is kept when `send()` is done."""
    return Printer(screen, gather_seconds=60)


def new_year() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def send(catcher: Catcher, *contents: bytes) -> list[int]:
    """Send messages, and have them printed; give the codes of the replies."""
    codes = []
    with ThreadServer(catcher) as server, smtplib.SMTP("127.0.0.1", server.port) as client:
        for content in contents:
            try:
                client.sendmail("ann@example.org", ["ben@example.org", "c@x.org"], content)
                codes.append(250)
            except smtplib.SMTPDataError as error:
                codes.append(error.smtp_code)
    if catcher._printer is not None:
        catcher._printer.finish(20)
    return codes


def test_shows_messages() -> None:
    screen = Screen()
    catcher = Catcher(IdView(), printer(screen), clock=new_year)
    assert send(catcher, CONTENT, b"large\r\n" * 100_000) == [250, 250]
    ids = {line.split(" ", 1)[0] for line in screen.shown.splitlines()}
    assert [len(id_) for id_ in ids] == [22, 22]
    assert screen.shown.splitlines()[0].endswith(" 2026 ben@example.org c@x.org")


def test_ids_are_those_of_the_files() -> None:
    screen, folder = Screen(), Folder()
    catcher = Catcher(IdView(), printer(screen), keep=folder.keep, clock=new_year)
    assert send(catcher, CONTENT) == [250]
    assert screen.shown == "file-1 2026 ben@example.org c@x.org\n"
    assert folder.kept == [CONTENT]


def test_quiet() -> None:
    folder = Folder()
    assert send(Catcher(None, None, keep=folder.keep), CONTENT) == [250]
    assert folder.kept == [CONTENT]


def test_what_cannot_be_rendered_is_shown_plainly(caplog: pytest.LogCaptureFixture) -> None:
    screen = Screen()
    assert send(Catcher(BrokenView(), printer(screen)), CONTENT) == [250]
    assert screen.shown == f"{CONTENT!r}\n"
    assert "cannot be shown as it should be" in caplog.text
    assert "RecursionError" in caplog.text


def test_what_is_not_shown_is_not_accepted(caplog: pytest.LogCaptureFixture) -> None:
    screen = Screen(errno.ENOSPC)
    catcher = Catcher(IdView(), printer(screen))
    assert send(catcher, CONTENT, CONTENT) == [451, 250]
    assert screen.shown.count("ben@example.org") == 1
    assert "could not be printed: broken; see where standard output goes" in caplog.text


def test_what_is_kept_is_accepted_though_not_shown() -> None:
    screen, folder = Screen(errno.ENOSPC), Folder()
    catcher = Catcher(IdView(), printer(screen), keep=folder.keep)
    assert send(catcher, CONTENT) == send(catcher, CONTENT) == [250]
    assert len(folder.kept) == 2
    assert screen.shown.startswith("file-2 ")


def test_view_that_fails_altogether_costs_nothing_but_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class NoView(BrokenView):
        def fallback(self, arrival: Arrival) -> str:
            raise ValueError("nor that")

    folder = Folder()
    assert send(Catcher(NoView(), printer(Screen()), keep=folder.keep), CONTENT) == [250]
    assert len(folder.kept) == 1
    assert "a message could not be printed" in caplog.text
    assert "nor that" in caplog.text


def test_reader_that_went_away_is_told_of_once() -> None:
    closed: list[bool] = []
    catcher = Catcher(
        IdView(), printer(Screen(errno.EPIPE, errno.EPIPE)), on_closed=lambda: closed.append(True)
    )
    assert send(catcher, CONTENT, CONTENT) == [451, 451]
    assert closed == [True]


def test_reader_that_went_away_while_messages_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    folder = Folder()
    screen = Screen(errno.EPIPE)
    catcher = Catcher(IdView(), printer(screen), keep=folder.keep, on_closed=pytest.fail)
    with caplog.at_level(logging.WARNING):
        assert send(catcher, CONTENT, CONTENT) == send(catcher, CONTENT, CONTENT) == [250, 250]
    assert len(folder.kept) == 4
    assert screen.shown == ""
    assert caplog.text.count("messages are kept, and shown no more") == 1


def test_the_mailbox_has_what_was_accepted() -> None:
    with Mailbox() as mailbox:
        catcher = Catcher(None, None, mailbox=mailbox, clock=new_year)
        assert send(catcher, CONTENT, CONTENT) == [250, 250]
        stored = mailbox.get(mailbox.ids()[0]).arrival
        assert stored.octets == CONTENT
        assert (stored.mail_from, stored.rcpt_tos) == (
            "ann@example.org",
            ("ben@example.org", "c@x.org"),
        )
        assert len(mailbox.ids()) == 2


def test_what_there_is_no_room_for_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mailbox(tmp_path / "mails.db") as mailbox:
        writer = mailbox._store.database.writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 3}")
        catcher = Catcher(None, None, mailbox=mailbox)
        assert send(catcher, b"large\r\n" * 10_000, CONTENT) == [452, 250]
        assert len(mailbox.ids()) == 1
    assert "a message was not accepted: the mailbox " in caplog.text
    assert "has no room left; make room on its file system" in caplog.text


def test_what_cannot_be_stored_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Mailbox(tmp_path / "mails.db", busy_seconds=0) as mailbox:
        other = sqlite3.connect(tmp_path / "mails.db")
        other.execute("BEGIN IMMEDIATE")
        assert send(Catcher(None, None, mailbox=mailbox), CONTENT) == [451]
        other.close()
        assert send(Catcher(None, None, mailbox=mailbox), CONTENT) == [250]
        assert len(mailbox.ids()) == 1
    assert "is locked by another program" in caplog.text


def test_ids_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
