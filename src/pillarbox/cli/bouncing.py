"""`pillarbox queue bounce`: messages are given up, and their senders told, in one step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from pillarbox.cli.errors import Failure
from pillarbox.config import machine_hostname
from pillarbox.mailman.route import is_mailman
from pillarbox.protocol.address import AddressError, Path, parse_domain
from pillarbox.protocol.reply import Reply
from pillarbox.relay.dsn import Reporter
from pillarbox.relay.notice import Action, Report
from pillarbox.relay.route import is_next_hop
from pillarbox.relay.spool import Outcome, Result, Selection

if TYPE_CHECKING:
    from pillarbox.relay.spool import Lease, Spool

__all__ = ["bounce"]

GIVEN_UP = Reply(554, "5.0.0", "The administrator of this server has given the message up")

# It takes some milliseconds; if we are stopped meanwhile, it is tried again after this time.
LEASE_SECONDS = 60.0
PAGE = 500


async def bounce(spool: Spool, selection: Selection, *, hostname: str | None) -> tuple[int, int]:
    """Give messages up; tell how many, and how many are being tried at this moment.

    Those are left alone: they may be delivered.

    Args:
        spool: Where they are.
        selection: Which of them.
        hostname: Who tells their senders; the machine's name where it is not given.

    Raises:
        Failure: The host name is none.
    """
    name = machine_hostname() if hostname is None else hostname
    try:
        parse_domain(name.encode())
    except AddressError:
        raise Failure(
            f"--hostname {name!r} is no host name; write one such as relay.example.org"
        ) from None
    # By their ids: the notifications that come of it may meet the selection as well.
    ids: list[str] = []
    while page := await spool.list(selection, start=len(ids), limit=PAGE):
        ids += [message.id for message in page]
    bounced: set[str] = set()
    left = 0
    for start in range(0, len(ids), PAGE):
        these = Selection(ids=tuple(ids[start : start + PAGE]))
        while leases := await spool.lease_all(these, spool.clock.now(), seconds=LEASE_SECONDS):
            for lease in leases:
                if await _give_up(spool, lease, name):
                    bounced.add(lease.id)
        left += len(await spool.list(these, limit=PAGE))
    return len(bounced), left


async def _give_up(spool: Spool, lease: Lease, hostname: str) -> bool:
    now = spool.clock.now()
    reporter = Reporter(hostname, _destination_like(lease.destination))
    reports = [
        Report(recipient=recipient, action=Action.FAILED, reply=GIVEN_UP, tried=now)
        for recipient in lease.recipients
    ]

    def octets() -> AsyncIterator[bytes]:
        return spool.read(lease)

    notices = await reporter.write(lease, reports, octets=octets)
    outcome = Outcome(result=Result.FAILED, reply=str(GIVEN_UP))
    outcomes = {recipient.number: outcome for recipient in lease.recipients}
    return await spool.finish(lease, outcomes, notices=notices)


def _destination_like(destination: str) -> Callable[[str], str]:
    """Route a sender's address as the message itself was: by its next server, or by DNS."""
    # Mailman takes nobody's mail but its lists'. The relay finds the way for a domain.
    if is_next_hop(destination) and not is_mailman(destination):
        return lambda _address: destination
    return lambda address: Path(address.encode()).domain.lower()
