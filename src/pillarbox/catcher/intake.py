"""Messages on their way into a mailbox in a file: those that wait share a transaction.

They are stored in a thread of its own. While it is at the disk, or waits for another program that
has locked the file, the event loop goes on: clients talk, and the messages that they end meanwhile
gather, and are stored together. A commit costs as much for a hundred messages as for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TypeAlias

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.failure import MailboxError, MailboxFull
from pillarbox.catcher.mailbox import Mailbox

__all__ = ["Intake"]

# So many are stored together at the most: the first of them waits for the last.
MAX_TOGETHER = 100

_Waiting: TypeAlias = tuple[Arrival, asyncio.Future[None]]


class Intake:
    """Stores messages in a mailbox.

    Args:
        mailbox: Where to store them.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def add(self, arrival: Arrival) -> None:
        """Store a message, and return when it is stored.

        Raises:
            MailboxError: It could not be stored; nothing of it was.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pillarbox-store", daemon=True)
            self._thread.start()
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((arrival, stored))
        await stored

    # In the thread

    def _run(self) -> None:
        while True:
            together = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(together) < MAX_TOGETHER:
                    together.append(self._waiting.get_nowait())
            self._store(together)

    def _store(self, together: list[_Waiting]) -> None:
        try:
            self._mailbox.add_all([arrival for arrival, _ in together])
        except Exception as error:
            if len(together) > 1 and not _is_of_all(error):
                for one in together:  # what one of them lacks is no reason to refuse the others
                    self._store([one])
                return
            failure: Exception | None = error
        else:
            failure = None
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            together[0][1].get_loop().call_soon_threadsafe(_tell, together, failure)


def _is_of_all(error: Exception) -> bool:
    """Tell whether it is the mailbox that fails, and not a message that it cannot take."""
    return isinstance(error, MailboxError) and not isinstance(error, MailboxFull)


def _tell(together: list[_Waiting], failure: Exception | None) -> None:
    for _, stored in together:
        if stored.done():  # cancelled
            continue
        if failure is None:
            stored.set_result(None)
        else:
            stored.set_exception(failure)
