"""What happened to a mailbox, for those who asked to be told (`Mailbox.subscribe`)."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
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

    A change is made and noted under one lock, and told when nothing is locked any more: a
    subscriber may ask the mailbox, and nobody waits for it but who made a change at the same time.

    Args:
        stats: Counts the messages of all, or of one named mailbox.
    """

    def __init__(self, stats: Callable[[str | None], Stats]) -> None:
        self._stats = stats
        self._subscribers: dict[object, tuple[str | None, Callable[[Change], object]]] = {}
        self._noted: deque[tuple[Change, Collection[str] | None, bool]] = deque()
        self._noting = threading.RLock()
        self._telling = threading.RLock()

    def __bool__(self) -> bool:
        """Tell whether anybody listens."""
        return bool(self._subscribers)

    def subscribe(
        self, callback: Callable[[Change], object], scope: str | None
    ) -> Callable[[], None]:
        """Tell a callback of changes, in all or in one named mailbox; give what ends that."""
        key = object()
        with self._noting:
            self._subscribers = {**self._subscribers, key: (scope, callback)}

        def cancel() -> None:
            with self._noting:
                left = dict(self._subscribers)
                left.pop(key, None)
                self._subscribers = left

        return cancel

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Make a change and note it; it is told behind."""
        with self._noting:
            yield
        if self._noted:
            self._tell()

    def note(
        self, change: Change, scopes: Collection[str] | None = None, *, is_for_whole: bool = True
    ) -> None:
        """Note a change of some named mailboxes, `None` for each of them, and of the whole."""
        if self._subscribers:
            self._noted.append((change, scopes, is_for_whole))

    def _tell(self) -> None:
        with self._telling:
            subscribers = self._subscribers
            touched: dict[object, None] = {}
            while self._noted:
                change, scopes, is_for_whole = self._noted.popleft()
                for key, (scope, callback) in subscribers.items():
                    is_concerned = scopes is None or scope in scopes
                    if is_for_whole if scope is None else is_concerned:
                        touched[key] = None
                        _call(callback, change)
            stats: dict[str | None, Stats] = {}
            for key in touched:
                scope, callback = subscribers[key]
                if scope not in stats:
                    stats[scope] = self._stats(scope)
                _call(callback, stats[scope])


def _call(callback: Callable[[Change], object], change: Change) -> None:
    try:
        callback(change)
    except Exception:
        log.exception("a subscriber of the mailbox failed; it is told of the next change again")
