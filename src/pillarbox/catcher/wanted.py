"""A message that somebody waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pillarbox.catcher.change import Change, New, Pruned, Updated
from pillarbox.catcher.failure import MessageNotFound
from pillarbox.catcher.search import Query
from pillarbox.catcher.store import Store
from pillarbox.catcher.summary import Summary

__all__ = ["Wanted"]


class Wanted:
    """Looks for a message once in the whole mailbox, and then at what has changed.

    Args:
        store: Where to look.
        query: What finds it.
        scope: The named mailbox, or `None`.
        wake: Is called when it is worth to look again, in whichever thread.
    """

    def __init__(
        self, store: Store, query: Query, scope: str | None, wake: Callable[[], object]
    ) -> None:
        self._store = store
        self._query = query
        self._scope = scope
        self._wake = wake
        self._changes: deque[Change] = deque([Pruned()])

    def take(self, change: Change) -> None:
        """Take note of a change."""
        if isinstance(change, New | Updated | Pruned):
            self._changes.append(change)
            self._wake()

    def look(self) -> Summary | None:
        """Give the message, or `None` as long as there is none."""
        while self._changes:
            change = self._changes.popleft()
            if not isinstance(change, New | Updated):
                found = self._store.summaries(self._query, self._scope, limit=1)
                if found:
                    return found[0]
            elif self._store.is_found(change.summary.id, self._query, self._scope):
                try:
                    return self._store.summary(change.summary.id, self._scope)
                except MessageNotFound:
                    continue  # it has gone in between
        return None
