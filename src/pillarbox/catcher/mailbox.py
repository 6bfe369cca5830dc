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
store cannot do it (`MailboxFull` for want of room): its text tells an operator what to do, and
nothing was changed.

A named mailbox is a part of the whole: an arrival tells in `mailboxes` which ones it goes to, and
may be in several. Without a name one sees all. What is deleted in a named mailbox stays in the
others; what is in no named mailbox any more is gone. Read and unread and tags belong to the
message, the same in each.

The query language is in search.py, the SQL in store.py and condition.py, the tables in schema.py;
files of mail are read by archive.py and written by export.py.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from pillarbox.catcher.failure import MailboxError, MailboxFull, MessageNotFound
from pillarbox.catcher.limits import Limits
from pillarbox.catcher.search import Query, parse_query
from pillarbox.catcher.store import Chosen, Selection, Store
from pillarbox.catcher.summary import Counts, Page, Stored, Summary
from pillarbox.catcher.wanted import Wanted
from pillarbox.catcher.watch import Watch
from pillarbox.catcher.words import storable

__all__ = ["Limits", "Mailbox", "MailboxError", "MailboxFull", "MessageNotFound"]

log = logging.getLogger("pillarbox")

# So many changes are told one by one; of more a subscriber hears that it should look anew.
MAX_TOLD = 100


class Mailbox:
    """Mail that was caught.

    Args:
        path: A file for SQLite, made if there is none; `None` keeps the mail in memory.
        limits: How much to keep.
        busy_seconds: How long to wait for other programs that use the file.
        clock: Tells the time in UTC.

    Attributes:
        name: That of a named mailbox; `None` for the whole.
        path: The file, if there is one.

    Raises:
        MailboxError: The file cannot be opened; the text tells what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008  # a frozen value
        busy_seconds: float = 5.0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name: str | None = None
        self.path = None if path is None else os.fspath(path)
        self._limits = limits
        self._clock = clock
        self._store = Store(self.path, max_told=MAX_TOLD, busy_seconds=busy_seconds)
        self._changes = Changes(self._stats)
        self._watch = Watch(self._store, self._changes)
        try:
            self.prune()
        except BaseException:
            self._store.close()
            raise

    def scoped(self, name: str) -> Mailbox:
        """Give the same for the mail of one named mailbox; what is added goes there."""
        scoped = object.__new__(type(self))
        scoped.__dict__.update(self.__dict__)
        scoped.name = storable(name)
        return scoped

    def close(self) -> None:
        """Close the store; what comes after raises. Mail in memory is gone then."""
        self._watch.stop()
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
            ValueError: There is a message of that id.
        """
        return self.add_all([arrival])[0]

    def add_all(self, arrivals: Iterable[Arrival]) -> Sequence[Summary]:
        """Keep several messages, all of them or none; cheaper than one by one.

        Raises:
            MailboxError: They could not be stored; nothing of them was.
            ValueError: There is a message of one's id.
        """
        if self.name is not None:
            name = self.name
            arrivals = [replace(one, mailboxes=(*one.mailboxes, name)) for one in arrivals]
        with self._changes.noting():
            summaries = self._store.add(arrivals)
            for summary in summaries:
                self._watch.is_own(summary.id)
                self._changes.note(New(summary), summary.mailboxes)
            try:
                self._prune()
            except MailboxError as error:  # the message is stored all the same
                log.error("%s; nothing older was deleted to make room", error)
        return summaries

    def set_transcript(self, id: str, lines: Sequence[str]) -> None:  # noqa: A002  # as everywhere
        """Keep the SMTP dialogue of a message; without effect if it has gone."""
        self._store.set_transcript(id, lines)

    # Out

    def summary(self, id: str) -> Summary:  # noqa: A002
        """Give a message as it stands in a list.

        Raises:
            MessageNotFound: There is no such message.
        """
        return self._store.summary(id, self.name)

    def has(self, id: str) -> bool:  # noqa: A002
        """Tell whether there is a message."""
        return self._store.is_found(id, Query(), self.name)

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
        found = self._store.summaries(parse_query(query, zone=zone), self.name, limit=1)
        return found[0] if found else None

    def list(self, *, start: int = 0, limit: int = 50) -> Page:
        """List messages, newest first; the later one first of those that came at one time."""
        return self.search("", start=start, limit=limit)

    def search(self, query: str, *, start: int = 0, limit: int = 50, zone: tzinfo = UTC) -> Page:
        """Find messages, newest first. No query is wrong; an empty one finds all.

        Args:
            query: What to look for: see search.py.
            start: How many to leave out.
            limit: How many to give.
            zone: Where the dates in the query are.
        """
        return self._store.page(parse_query(query, zone=zone), self.name, start=start, limit=limit)

    def find(self, query: str = "", *, zone: tzinfo = UTC) -> Sequence[Summary]:
        """Give all messages that a query finds, newest first."""
        return self._store.summaries(parse_query(query, zone=zone), self.name)

    def ids(self, query: str = "", *, zone: tzinfo = UTC) -> Sequence[str]:
        """Give the ids of all messages that a query finds, newest first."""
        return self._store.ids(parse_query(query, zone=zone), self.name)

    def counts(self) -> Counts:
        """Tell how many messages there are, and how many of them are unread."""
        return self._store.counts(Query(), self.name)

    def tags(self) -> dict[str, int]:
        """Give all tags in their order, with how many messages have each."""
        return self._store.tags(self.name)

    def names(self) -> dict[str, int]:
        """Give the named mailboxes in their order, with how many messages are in each."""
        return self._store.names()

    # Changes. Ids that are not there are passed over: somebody else was faster.

    def set_read(self, ids: Iterable[str], is_read: bool = True) -> int:
        """Set messages read or unread; tell how many were not so."""
        return self._set_read(_chosen(ids), is_read)

    def set_read_found(self, query: str = "", is_read: bool = True, *, zone: tzinfo = UTC) -> int:
        """Set all that a query finds read or unread; an empty query finds all."""
        return self._set_read(parse_query(query, zone=zone), is_read)

    def _set_read(self, selection: Selection, is_read: bool) -> int:
        return self._updated(lambda: self._store.set_read(selection, is_read, self.name))

    def set_tags(self, ids: Iterable[str], tags: Iterable[str]) -> int:
        """Replace the tags of messages; none takes all away. Tells of how many.

        Raises:
            ValueError: A tag has characters that no tag may have.
        """
        selection = _chosen(ids)
        return self._updated(lambda: self._store.set_tags(selection, tags, self.name))

    def rename_tag(self, tag: str, name: str) -> int:
        """Give a tag another name, on all messages that have it; tell how many.

        Raises:
            ValueError: The name has characters that no tag may have.
        """
        if not name.strip():
            raise ValueError("a tag needs a name; to take it from all messages, delete it")
        return self._updated(lambda: self._store.rename_tag(tag, [name], self.name))

    def delete_tag(self, tag: str) -> int:
        """Take a tag from all messages that have it; tell how many."""
        return self._updated(lambda: self._store.rename_tag(tag, [], self.name))

    def _updated(self, change: Callable[[], Chosen]) -> int:
        with self._changes.noting():
            chosen = change()
            for summary in chosen.summaries:
                self._changes.note(Updated(summary), summary.mailboxes)
            if chosen.count > len(chosen.summaries):
                self._changes.note(Pruned())
        return chosen.count

    def delete(self, ids: Iterable[str]) -> int:
        """Delete messages; tell how many."""
        return self._delete(_chosen(ids))

    def delete_found(self, query: str, *, zone: tzinfo = UTC) -> int:
        """Delete all that a query finds; tell how many.

        A query that asks for nothing deletes nothing: see `delete_all()`.
        """
        found = parse_query(query, zone=zone)
        return self._delete(found) if found.terms else 0

    def _delete(self, selection: Selection) -> int:
        with self._changes.noting():
            chosen = self._store.delete(selection, self.name)
            for summary in chosen.summaries:
                is_gone = self.name is None or len(summary.mailboxes) == 1
                scopes = summary.mailboxes if self.name is None else [self.name]
                self._changes.note(Deleted(summary.id), scopes, is_for_whole=is_gone)
            if chosen.count > len(chosen.summaries):
                self._changes.note(Pruned())
        return chosen.count

    def delete_all(self) -> int:
        """Delete every message; tell how many."""
        with self._changes.noting():
            count = self._store.delete_all(self.name)
            if self.name is None:
                self._changes.note(Truncated())
            else:
                self._changes.note(Truncated(), [self.name], is_for_whole=False)
                self._changes.note(Pruned(), [])
        return count

    def prune(self) -> int:
        """Let the oldest messages go that are beyond the limits; tell how many.

        `add()` does it as well; a limit of age wants it from time to time.
        """
        with self._changes.noting():
            return self._prune()

    def _prune(self) -> int:
        count = self._store.prune(self._limits, self._clock())
        if count:
            self._changes.note(Pruned())
        return count

    # Waiting

    def subscribe(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Have a callback told of every change from now on; give what ends that.

        It is called in the thread that made the change, and must neither wait nor fail: an event
        loop is told by `loop.call_soon_threadsafe`. Where the mail is in a file, new messages of
        other processes are told within a tenth of a second, and `Pruned` stands for whatever else
        they do.
        """
        cancel = self._changes.subscribe(callback, self.name)
        self._watch.start()
        return cancel

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
        happened = threading.Event()
        with self._wanted(query, zone, happened.set) as wanted:
            deadline = None if timeout is None else time.monotonic() + timeout
            while (found := wanted.look()) is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                happened.wait(left)
                happened.clear()
            return found

    async def wait_async(
        self, query: str = "", *, timeout: float | None = None, zone: tzinfo = UTC
    ) -> Summary | None:
        """Wait as `wait()` does, without a thread."""
        loop = asyncio.get_running_loop()
        happened = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and who waited with it
                loop.call_soon_threadsafe(happened.set)

        with self._wanted(query, zone, wake) as wanted:
            deadline = None if timeout is None else loop.time() + timeout
            while (found := await asyncio.to_thread(wanted.look)) is None:
                try:
                    async with asyncio.timeout_at(deadline):
                        await happened.wait()
                except TimeoutError:
                    return wanted.look()
                happened.clear()
            return found

    @contextlib.contextmanager
    def _wanted(self, query: str, zone: tzinfo, wake: Callable[[], object]) -> Iterator[Wanted]:
        wanted = Wanted(self._store, parse_query(query, zone=zone), self.name, wake)
        cancel = self.subscribe(wanted.take)
        try:
            yield wanted
        finally:
            cancel()

    def _stats(self, scope: str | None) -> Stats:
        counts = self._store.counts(Query(), scope)
        return Stats(counts.total, counts.unread)


def _chosen(ids: Iterable[str]) -> Sequence[str]:
    if isinstance(ids, str):
        raise TypeError(f"ids are a list; write [{ids!r}]")
    return list(ids)
