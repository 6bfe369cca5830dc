"""The program with a fault: to see that the crash test of a cluster sees it.

`python -m tests.crash.careless FAULT relay ...`, with one of `FAULTS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pillarbox.cli import main
from pillarbox.relay.lease import Held, Leases
from pillarbox.relay.postgres.link import Database

__all__ = ["FAULTS", "careless"]


def without_sync() -> None:
    """Take any database, also one that confirms what it may lose."""

    def trust(*_: object) -> None: ...

    setattr(Database, "_check", trust)  # noqa: B010  # the fault


def without_lease() -> None:
    """Deliver what was leased, however long ago."""

    async def hold(leases: Leases, lease: Any) -> Held:
        held = Held(lease, lambda: 0.0)
        leases._held.add(held)
        return held

    def watch(_: Leases) -> None: ...

    setattr(Leases, "hold", hold)  # noqa: B010  # the fault
    setattr(Leases, "watch", watch)  # noqa: B010  # and nothing is broken off


FAULTS: dict[str, Callable[[], None]] = {"sync": without_sync, "lease": without_lease}


def careless(fault: str) -> tuple[str, ...]:
    """Give what runs the program with a fault."""
    return (sys.executable, "-m", "tests.crash.careless", fault)


if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
