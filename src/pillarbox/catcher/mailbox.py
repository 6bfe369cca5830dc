"""The mailbox: where caught mail is kept, found and deleted. The one door to the store.

    mailbox = Mailbox()                     # in memory; Mailbox("mails.db") keeps it in a file
    summary = mailbox.add(arrival)
    page = mailbox.search("from:ann subject:\"your order\" is:unread", limit=10)
    stored = mailbox.get(page.summaries[0].id)
    stored.arrival.octets, stored.arrival.rcpt_tos, stored.parse().html
    cancel = mailbox.subscribe(print)       # New(...), Updated(...), Deleted(...), Stats(...)
    summary = mailbox.wait("to:bob@example.org", timeout=5)
    team = mailbox.scoped("team-a")         # the same methods, for the mail of one named mailbox

Every method may be called from every thread, and blocks as long as SQLite does: about a fifth of a
millisecond for `add()` of a small message. What it gives are frozen values (summary.py, change.py).
What fails raises `MessageNotFound` where there is no such message, and `MailboxError` when the
store cannot do it: its text tells an operator what to do, and nothing was changed.

A named mailbox is a part of the whole: an arrival tells in `mailboxes` which ones it goes to, and
may be in several. Without a name one sees all. What is deleted in a named mailbox stays in the
others; what is in no named mailbox any more is gone. Read and unread and tags belong to the
message, the same in each.

The SQL is in store.py, the query language in search.py, files of mail in archive.py.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Self

from pillarbox.catcher.arrival import Arrival, utc_now
from pillarbox.catcher.change import (
    Change,
    Changes,
    Deleted,
    New,
    Pruned,
    Stats,
    Truncated,
    Updated,
)
from pillarbox.catcher.search import condition_of
from pillarbox.catcher.store import Limits, MailboxError, MessageNotFound, Store
from pillarbox.catcher.summary import Counts, Page, Stored, Summary

__all__ = ["Limits", "Mailbox", "MailboxError", "MessageNotFound"]

log = logging.getLogger("pillarbox")

# So many changes are told one by one; of more a view hears that it should load anew.
MAX_TOLD = 100


class Mailbox:
    """Mail that was caught.

    Args:
        path: A file for SQLite, made if there is none; `None` keeps the mail in memory.
        limits: How much to keep.
        clock: Tells the time in UTC.

    Raises:
        MailboxError: The file cannot be opened; the text tells what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008  # a frozen value
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name: str | None = None
        self.limits = limits
        self._clock = clock
        self._store = Store(None if path is None else os.fspath(path))
        self._changes = Changes(self._stats)

    def scoped(self, name: str) -> Mailbox:
        """Give the same for the mail of one named mailbox; what is added goes there."""
        scoped = object.__new__(Mailbox)
        scoped.__dict__.update(self.__dict__)
        scoped.name = name
        return scoped

    def close(self) -> None:
        """Close the store. Mail in memory is gone then."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # In

    def add(self, arrival: Arrival) -> Summary:
        """Keep a message; it is stored once this returns.

        Raises:
            MailboxError: It could not be stored; nothing of it was.
        """
        return self.add_all([arrival])[0]

    def add_all(self, arrivals: Iterable[Arrival]) -> list[Summary]:
        """Keep several messages in one transaction: all of them or none.

        Raises:
            MailboxError: They could not be stored; nothing of them was.
        """
        if self.name is not None:
            arrivals = [
                replace(arrival, mailboxes=(*arrival.mailboxes, self.name)) for arrival in arrivals
            ]
        with self._store.lock:
            summaries = self._store.add(arrivals)
            for summary in summaries:
                self._changes.note(New(summary), summary.mailboxes)
        self._changes.tell()
        return summaries

    def set_transcript(self, id: str, lines: Sequence[str]) -> None:  # noqa: A002
        """Keep the SMTP dialogue of a message; without effect if it has gone."""
        self._store.set_transcript(id, lines)

    # Out

    def summary(self, id: str) -> Summary:  # noqa: A002
        """Give a message as it stands in a list.

        Raises:
            MessageNotFound: There is no such message.
        """
        return self._store.summary(id, self.name)

    def get(self, id: str) -> Stored:  # noqa: A002
        """Give a message with all that is known of it. It stays unread.

        Raises:
            MessageNotFound: There is no such message.
        """
        return self._store.get(id, self.name)

    def octets(self, id: str) -> bytes:  # noqa: A002
        """Give a message as it came.

        Raises:
            MessageNotFound: There is no such message.
        """
        return self._store.octets(id, self.name)

    def latest(self, query: str = "", *, zone: tzinfo = UTC) -> Summary | None:
        """Give the newest message, or the newest that a query finds; `None` without one."""
        found = self._store.summaries(condition_of(query, zone=zone), self.name, limit=1)
        return found[0] if found else None

    def list(self, *, start: int = 0, limit: int = 50) -> Page:
        """List messages, newest first."""
        return self.search("", start=start, limit=limit)

    def search(self, query: str, *, start: int = 0, limit: int = 50, zone: tzinfo = UTC) -> Page:
        """Find messages, newest first. No query is wrong; an empty one finds all.

        Args:
            query: What to look for: see search.py.
            start: How many to leave out.
            limit: How many to give.
            zone: Where the dates in the query are.
        """
        condition = condition_of(query, zone=zone)
        with self._store.lock:
            return Page(
                summaries=tuple(
                    self._store.summaries(condition, self.name, start=start, limit=limit)
                ),
                start=start,
                found=self._store.counts(condition, self.name),
                mailbox=self.counts(),
                tags=tuple(self.tags()),
            )

    def find(self, query: str = "", *, zone: tzinfo = UTC) -> Sequence[Summary]:
        """Give all messages that a query finds, newest first."""
        return self._store.summaries(condition_of(query, zone=zone), self.name)

    def counts(self) -> Counts:
        """Tell how many messages there are, and how many of them are unread."""
        return self._store.counts(condition_of(""), self.name)

    def tags(self) -> dict[str, int]:
        """Give all tags in their order, with how many messages have each."""
        return self._store.tags(self.name)

    def names(self) -> dict[str, int]:
        """Give the named mailboxes in their order, with how many messages are in each."""
        return self._store.names()

    # Changes. Ids that are not there are passed over, as an API's clients expect it.

    def set_read(self, ids: Iterable[str], is_read: bool = True) -> int:
        """Set messages read or unread; tell how many were not so."""
        with self._store.lock:
            changed = self._store.set_read(self._existing(ids), is_read, self.name)
            self._note_updates(changed)
        self._changes.tell()
        return len(changed)

    def set_read_found(self, query: str = "", is_read: bool = True, *, zone: tzinfo = UTC) -> int:
        """Set all that a query finds read or unread; an empty query finds all."""
        return self.set_read([found.id for found in self.find(query, zone=zone)], is_read)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete messages; tell how many."""
        with self._store.lock:
            gone = self._store.delete(self._existing(ids), self.name)
            for summary in gone[:MAX_TOLD]:
                self._changes.note(Deleted(summary.id), summary.mailboxes)
            if len(gone) > MAX_TOLD:
                self._changes.note(Pruned())
        self._changes.tell()
        return len(gone)

    def delete_found(self, query: str, *, zone: tzinfo = UTC) -> int:
        """Delete all that a query finds; tell how many. An empty query finds all."""
        return self.delete([found.id for found in self.find(query, zone=zone)])

    def delete_all(self) -> int:
        """Delete every message; tell how many."""
        with self._store.lock:
            gone = self._store.delete([found.id for found in self.find()], self.name)
            self._changes.note(Truncated(), None if self.name is None else [self.name])
        self._changes.tell()
        return len(gone)

    def set_tags(self, ids: Iterable[str], tags: Iterable[str]) -> None:
        """Replace the tags of messages; none takes all away.

        Raises:
            ValueError: A tag has characters that no tag may have.
        """
        with self._store.lock:
            self._note_updates(self._store.set_tags(self._existing(ids), list(tags), self.name))
        self._changes.tell()

    def rename_tag(self, tag: str, name: str) -> int:
        """Give a tag another name, on all messages that have it; tell how many.

        Raises:
            ValueError: The name has characters that no tag may have.
        """
        return self._retag(tag, [name])

    def delete_tag(self, tag: str) -> int:
        """Take a tag from all messages that have it; tell how many."""
        return self._retag(tag, [])

    def _retag(self, tag: str, names: Sequence[str]) -> int:
        with self._store.lock:
            found = [
                summary
                for summary in self.find()
                if tag.lower() in (one.lower() for one in summary.tags)
            ]
            for summary in found:
                others = [one for one in summary.tags if one.lower() != tag.lower()]
                self.set_tags([summary.id], [*others, *names])
        return len(found)

    def prune(self) -> int:
        """Let the oldest messages go that are beyond the limits; tell how many."""
        return 0

    # Waiting

    def subscribe(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Have a callback told of every change from now on; give what ends that.

        It is called in the thread that made the change, and must neither wait nor fail: an event
        loop is told by `loop.call_soon_threadsafe`.
        """
        return self._changes.subscribe(callback, self.name)

    def wait(
        self, query: str = "", *, timeout: float | None = None, zone: tzinfo = UTC
    ) -> Summary | None:
        """Wait for a message that a query finds; one that is there already will do.

        Args:
            query: What to wait for.
            timeout: For how many seconds; `None` waits for ever.
            zone: Where the dates in the query are.

        Returns:
            The newest one, or `None` when the time is over.
        """
        arrived = threading.Event()
        deadline = None if timeout is None else time.monotonic() + timeout
        cancel = self.subscribe(lambda _: arrived.set())
        try:
            while (found := self.latest(query, zone=zone)) is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                arrived.wait(left)
                arrived.clear()
            return found
        finally:
            cancel()

    def _existing(self, ids: Iterable[str]) -> Iterator[str]:
        for id_ in dict.fromkeys(ids):
            try:
                self.summary(id_)
            except MessageNotFound:
                continue
            yield id_

    def _note_updates(self, changed: Sequence[Summary]) -> None:
        for summary in changed[:MAX_TOLD]:
            self._changes.note(Updated(summary), summary.mailboxes)
        if len(changed) > MAX_TOLD:
            self._changes.note(Pruned())

    def _stats(self, scope: str | None) -> Stats:
        counts = self._store.counts(condition_of(""), scope)
        return Stats(counts.total, counts.unread)
