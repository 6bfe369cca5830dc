"""Watching a mailbox in a file for what other processes do to it.

SQLite tells nobody; it is asked ten times a second, for as long as somebody wants to know, whether
another connection has written. That costs some ten microseconds.
"""

from __future__ import annotations

import logging
import threading

from pillarbox.catcher.change import Changes, New, Pruned
from pillarbox.catcher.failure import MailboxError
from pillarbox.catcher.store import Store

__all__ = ["Watch"]

log = logging.getLogger("pillarbox")

PERIOD_SECONDS = 0.1


class Watch:
    """Notes the changes of others, in a thread of its own."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._version = 0
        self._last = 0
        self._own: set[str] = set()

    def start(self) -> None:
        """Begin, if there is a file and nobody does so already."""
        if self._store.path is None:
            return
        with self._changes.noting():
            if self._thread is not None or self._stopped.is_set():
                return
            self._version = self._store.version()
            self._last, _ = self._store.since(0)
            self._own.clear()
            self._thread = threading.Thread(target=self._run, name="mailbox watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, for good."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def is_own(self, id_: str) -> None:
        """Take note of a message that came in here."""
        if self._thread is not None:
            self._own.add(id_)

    def look(self) -> None:
        """Note what others have done since the last time."""
        with self._changes.noting():
            version = self._store.version()
            if version == self._version:
                return
            self._version = version
            self._last, found = self._store.since(self._last)
            others = [summary for summary in found if summary.id not in self._own]
            self._own.clear()
            for summary in others:
                self._changes.note(New(summary), summary.mailboxes)
            if not others:
                self._changes.note(Pruned())

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            with self._changes.noting():
                if not self._changes:
                    self._thread = None  # the next who asks begins anew
                    return
            try:
                self.look()
            except MailboxError as error:
                log.warning("%s; what other programs do to it is not seen", error)
