"""Asks Mailman whether it knows an address, by RCPT over LMTP, and delivers nothing.

One session is kept open and asked one question after the other: Mailman works on one at a time
anyway. What it said holds for a while (lists.py). Whatever happens, a question ends in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pillarbox.asyncio.client import Client, ClientOptions, connect
from pillarbox.asyncio.client_error import SessionError, SessionLost
from pillarbox.lists import MailmanSilent, Verdicts, list_key, verdict
from pillarbox.protocol.address import Path
from pillarbox.protocol.client_event import RecipientOutcome
from pillarbox.protocol.client_state import Timeouts
from pillarbox.relay.route import NextHop

__all__ = ["Lookup", "mailman_client"]


def mailman_client(
    mailman: NextHop, *, hostname: str | None, seconds: float
) -> Callable[[], Client]:
    """Give what makes clients of Mailman that wait so long for anything."""
    options = ClientOptions(hostname=hostname, is_lmtp=True, timeouts=Timeouts.all(seconds))
    return lambda: connect(mailman.host, mailman.port, **options)


class Lookup:
    """Tells whether Mailman knows an address; `close()` it in the end.

    Args:
        client: Makes a client of Mailman, not connected yet.
        verdicts: What it said before.
        seconds: How long a question may take.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        *,
        verdicts: Verdicts | None = None,
        seconds: float = 10.0,
    ) -> None:
        self._make = client
        self._verdicts = verdicts or Verdicts()
        self._seconds = seconds
        self._client: Client | None = None
        self._turn = asyncio.Lock()
        self._asking: dict[str, asyncio.Task[bool]] = {}

    async def knows(self, path: Path) -> bool:
        """Tell whether it knows an address.

        Raises:
            MailmanSilent: It does not say, or cannot be reached.
        """
        key = list_key(path)
        found = self._verdicts.get(key)
        if found is not None:
            return found
        # Who asks the same meanwhile waits for the same answer. One of them may go away.
        task = self._asking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._find(key, path))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Say goodbye."""
        for task in tuple(self._asking.values()):
            task.cancel()
        if self._client is not None:
            await self._client.quit()

    def _answered(self, key: str, task: asyncio.Task[bool]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # whoever waited for it has it, if anybody still did

    async def _find(self, key: str, path: Path) -> bool:
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                found = verdict(await self._ask(path))
        except TimeoutError:
            raise MailmanSilent(f"no answer within {self._seconds:g} seconds") from None
        except (OSError, SessionError) as error:
            raise MailmanSilent(str(error)) from None
        self._verdicts.put(key, is_known=found)
        return found

    async def _ask(self, path: Path) -> RecipientOutcome:
        client = self._client
        if client is not None and client.is_open:
            try:
                answer = (await client.ask("", [path])).recipients[0]
            except SessionLost:
                pass  # Mailman closes what is idle for minutes; that says nothing of now
            else:
                if client.is_open:
                    return answer
        if client is not None:
            await client.abort()
        client = self._client = self._make()
        await client.open()
        return (await client.ask("", [path])).recipients[0]
