"""`--workers N`: processes that share the port, and a parent that starts again what dies."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from pillarbox.cli.errors import Failure
from pillarbox.cli.fork import Child, Ended, Parent

__all__ = ["fork_workers"]

log = logging.getLogger("pillarbox")

# A worker that dies at once whenever it is started must not take a whole core.
RESTART_SECONDS = 1.0


def fork_workers(
    parent: Parent, *, announce: Callable[[], None], drain_seconds: float
) -> Child | None:
    """Start the workers and look after them; in a worker give what it serves.

    In the parent this returns when all is over.

    Raises:
        Failure: A worker could not start.
    """
    # The first alone: what keeps one from starting keeps all, and is to be told once.
    for batch in ([0], range(1, len(parent.per_child))):
        for number in batch:
            if not parent.signals and (child := parent.fork(number)) is not None:
                return child
        _wait_until_ready(parent, drain_seconds)
    if not parent.signals:
        announce()
    due: dict[int, float] = {}
    while not parent.signals:
        now = time.monotonic()
        for ended in parent.wait(max(0.0, min(due.values()) - now) if due else None):
            due[ended.number] = _restart_at(ended)
        for number in [n for n, at in due.items() if at <= time.monotonic()]:
            del due[number]
            if (child := parent.fork(number)) is not None:
                return child
    return None


def _wait_until_ready(parent: Parent, drain_seconds: float) -> None:
    while not parent.are_ready and not parent.signals:
        for ended in parent.wait():
            parent.stop(drain_seconds)
            if ended.status > 0:
                sys.exit(ended.status)  # it has told why
            raise Failure(f"a worker did not start: {ended}; try without --workers")


def _restart_at(ended: Ended) -> float:
    log.warning("worker %d: %s; starting it again", ended.number + 1, ended)
    return time.monotonic() + max(0.0, RESTART_SECONDS - ended.after_seconds)
