"""What happened to a mailbox, for those who asked to be told (`Mailbox.subscribe`)."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

from pillarbox.catcher.summary import Summary

__all__ = ["Change", "Changes", "Deleted", "New", "Pruned", "Stats", "Truncated", "Updated"]

log = logging.getLogger("pillarbox")


@dataclass(frozen=True, slots=True)
class New:
    """A message arrived."""

    summary: Summary


@dataclass(frozen=True, slots=True)
class Updated:
    """A message was read or unread, or its tags changed."""

    summary: Summary


@dataclass(frozen=True, slots=True)
class Deleted:
    """Somebody deleted a message."""

    id: str


@dataclass(frozen=True, slots=True)
class Truncated:
    """Somebody deleted all messages."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Messages left by a limit, or so many changed at once that a view does best to load anew."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How many messages there are now; follows each of the others."""

    total: int
    unread: int


Change: TypeAlias = New | Updated | Deleted | Truncated | Pruned | Stats
"""What a subscriber is told."""


class Changes:
    """Tells subscribers of changes, one at a time and in their order, in whichever thread.

    A change is noted while the store is locked, and told when it is no more: a subscriber may ask
    the mailbox, and nobody waits for it but who made a change at the same time.
    """

    def __init__(self, counts: Callable[[str | None], Stats]) -> None:
        self._counts = counts
        self._subscribers: dict[object, tuple[str | None, Callable[[Change], object]]] = {}
        self._noted: deque[tuple[Change, Collection[str] | None]] = deque()
        self._telling = threading.RLock()

    def __bool__(self) -> bool:
        """Tell whether anybody listens."""
        return bool(self._subscribers)

    def subscribe(
        self, callback: Callable[[Change], object], scope: str | None
    ) -> Callable[[], None]:
        """Tell a callback of changes, in all or in one named mailbox; give what ends that."""
        key = object()
        self._subscribers = {**self._subscribers, key: (scope, callback)}

        def cancel() -> None:
            self._subscribers = {
                other: value for other, value in self._subscribers.items() if other is not key
            }

        return cancel

    def note(self, change: Change, scopes: Collection[str] | None = None) -> None:
        """Note a change of the whole and of some named mailboxes; `None` is all of them."""
        if self._subscribers:
            self._noted.append((change, scopes))

    def tell(self) -> None:
        """Tell what was noted."""
        if not self._noted:
            return
        with self._telling:
            touched: set[object] = set()
            while self._noted:
                change, scopes = self._noted.popleft()
                for key, (scope, callback) in self._subscribers.items():
                    if scope is None or scopes is None or scope in scopes:
                        touched.add(key)
                        _call(callback, change)
            for key, (scope, callback) in self._subscribers.items():
                if key in touched:
                    _call(callback, self._counts(scope))


def _call(callback: Callable[[Change], object], change: Change) -> None:
    try:
        callback(change)
    except Exception:
        log.exception("a subscriber of the mailbox failed; it is told of the next change again")
