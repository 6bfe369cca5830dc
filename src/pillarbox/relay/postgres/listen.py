"""How nodes hear of each other: NOTIFY where something is due, or people have changed something.

What people change is told in the transaction that changes it. Of mail that is put others are told
afterwards, and seldom: PostgreSQL lets transactions that notify commit one after the other, and a
node that has room asks for what is due by itself now and then.

A connection that was lost may have missed something, so a new one begins with news of both kinds.
"""

from __future__ import annotations

import asyncio
from typing import Final

import psycopg

from pillarbox.relay.postgres.link import Connection, Database, Link
from pillarbox.relay.spool import Change, SpoolError

__all__ = ["Channel", "Listener"]

NAME: Final = "pillarbox"

_WORDS: Final = {"mail": Change.MAIL, "word": Change.WORD}

# Others are told of mail so often at the most.
MAIL_SECONDS: Final = 0.1


class Channel:
    """Tells the other nodes.

    Args:
        key: Who tells: what one has told itself is no news.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    async def tell(self, connection: Connection, change: Change) -> None:
        """Tell of a change, when the transaction is committed."""
        for word, what in _WORDS.items():
            if what in change:
                await connection.execute("SELECT pg_notify(%s, %s)", [NAME, f"{self.key} {word}"])

    def hear(self, payload: str) -> Change:
        """Read what was told; nothing where that was us."""
        key, _, word = payload.partition(" ")
        return Change.NOTHING if key == self.key else _WORDS.get(word, Change.NOTHING)


class Listener:
    """Listens to what the other nodes tell.

    Args:
        database: Where.
        channel: What they tell it by.
    """

    def __init__(self, database: Database, channel: Channel) -> None:
        self._database = database
        self._channel = channel
        self._link = Link(database, f"LISTEN {NAME}")
        self._news = Change.NOTHING
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_listened = False

    async def wait(self, seconds: float) -> Change:
        """Wait for news, or so long; give what there is.

        Raises:
            SpoolError: Nothing can be heard.
        """
        await self._listen()
        if not self._woken.is_set() and seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
        self._woken.clear()
        news, self._news = self._news, Change.NOTHING
        if self._task is not None and self._task.done():
            await self._end()
            raise SpoolError(f"the connection to {self._database.place} was lost")
        return news

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
        await self._end()

    async def _listen(self) -> None:
        if self._task is not None:
            return
        connection = await self._link.get()
        if self._has_listened:
            self._news |= Change.MAIL | Change.WORD
            self._woken.set()
        self._has_listened = True
        self._task = asyncio.get_running_loop().create_task(self._hear(connection))

    async def _hear(self, connection: Connection) -> None:
        try:
            async for notification in connection.notifies():
                if news := self._channel.hear(notification.payload):
                    self._news |= news
                    self._woken.set()
        except psycopg.Error:
            pass
        finally:
            self._woken.set()

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait((task,))
        await self._link.drop()
