"""Mailman as one more next hop: a destination with a queue of its own, so that its outage holds up
nobody else's mail.

A destination is `mailman://HOST:PORT`. What waits for Mailman in the spool goes to the Mailman that
is configured now, and never to the next server of other mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pillarbox.config import ConfigError
from pillarbox.lists import LONE_REFUSAL_SECONDS
from pillarbox.relay.route import Hop, NextHop, Resolves, Route, Routes

__all__ = ["MAILMAN_PORT", "MailmanRoutes", "is_mailman", "mailman_destination", "parse_mailman"]

MAILMAN_PORT = 8024
_SCHEME = "mailman://"


def parse_mailman(text: str) -> NextHop:
    """Read where Mailman is, such as `127.0.0.1:8024`.

    Raises:
        ConfigError: It is nothing of the kind.
    """
    place = text.removeprefix("lmtp://")
    if "://" in place or "@" in place or place.startswith("unix:"):
        raise ConfigError(f"{text!r} is no host and port; write '127.0.0.1:{MAILMAN_PORT}'")
    if not place.rpartition("]")[2].rpartition(":")[1]:
        place = f"{place}:{MAILMAN_PORT}"
    return NextHop.parse(f"lmtp://{place}")


def mailman_destination(mailman: NextHop) -> str:
    """Name Mailman's queue."""
    return str(mailman).replace("lmtp://", _SCHEME, 1)


def is_mailman(destination: str) -> bool:
    """Tell whether a queue is Mailman's."""
    return destination.startswith(_SCHEME)


class MailmanRoutes:
    """Routes to Mailman, and to everybody else.

    Args:
        mailman: Where it is.
        others: The routes of all other mail.
        resolver: Finds its address.
    """

    def __init__(self, mailman: NextHop, others: Route, *, resolver: Resolves) -> None:
        self._name = str(mailman)
        self._mailman = Routes(mailman, resolver=resolver)
        self._others = others

    def destination(self, address: str) -> str:
        """Name the queue of an address that is not Mailman's; whose is, intake.py knows.

        Raises:
            NoRoute: There is none for it.
        """
        return self._others.destination(address)

    async def hops(self, destination: str) -> Sequence[Hop]:
        """Tell the servers of a destination, in the order in which they are to be tried.

        Raises:
            NoRoute: There is none, for now or for good.
        """
        if not is_mailman(destination):
            return await self._others.hops(destination)
        hops = await self._mailman.hops(self._name)
        return [replace(hop, lone_refusal_seconds=LONE_REFUSAL_SECONDS) for hop in hops]
