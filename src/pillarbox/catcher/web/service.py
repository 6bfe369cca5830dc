"""What the API speaks for: the mailbox and what stands around it, as one value."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.tally import Tally

if TYPE_CHECKING:
    from pillarbox.catcher.release import Relay
    from pillarbox.catcher.rules import Rules

__all__ = ["Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a call may ask for.

    Attributes:
        mailbox: All mail.
        tally: What was counted since the start.
        database: The file of the mailbox; empty in memory.
        addresses: Where mail is taken, as `127.0.0.1:1025`; asked for each time.
        relay: Where messages are released to; `None` for nowhere.
        rules: What fails on purpose; `None` where nothing may.
        allows_internal_requests: Whether the link check may ask private addresses.
        max_message_octets: The largest message that `send` takes; 0 is no limit.
        stopping: Set when the server ends, so that nobody waits any longer.
        clock: Tells the time in seconds, monotonically.
    """

    mailbox: Mailbox
    tally: Tally = field(default_factory=Tally)
    database: str = ""
    addresses: Callable[[], Sequence[str]] = tuple
    relay: Relay | None = None
    rules: Rules | None = None
    allows_internal_requests: bool = False
    max_message_octets: int = 33_554_432
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = time.monotonic

    def database_octets(self) -> int:
        """Tell how large the file of the mailbox is."""
        octets = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                octets += os.stat(self.database + suffix).st_size if self.database else 0
        return octets
