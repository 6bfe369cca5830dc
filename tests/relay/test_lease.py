"""Leases in our hands, with a clock that stands still."""

from __future__ import annotations

import pytest

from pillarbox.relay.lease import DOT_MARGIN_SECONDS, Held, Leases
from pillarbox.relay.spool import Lease, NewMessage, NewRecipient, Selection, SpoolError
from tests.relay.memory_spool import MemorySpool
from tests.relay.network import NOW, Network, StillClock, turns

pytestmark = pytest.mark.usefixtures("new_loop")

SECONDS = 300.0


class Hands:
    """A spool with one message, leased to us."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.spool = MemorySpool()
        self.leases = Leases(self.spool, self.clock, SECONDS)

    async def lease(self) -> Lease:
        to = NewRecipient(address="bob@example.org", destination="example.org")
        message = NewMessage(
            mail_from="ann@example.org", recipients=(to,), created=NOW, expires=NOW + 1000
        )
        [lease] = (await self.spool.put(message, b"", lease_seconds=SECONDS)).leases
        return lease

    async def held(self) -> Held:
        held = await self.leases.hold(await self.lease())
        assert held is not None
        return held


async def test_a_fresh_lease_is_held_as_it_is() -> None:
    hands = Hands()
    held = await hands.held()
    assert held in hands.leases
    assert len(hands.leases) == 1
    assert hands.spool.calls == ["put"]
    assert held.may_end()
    hands.leases.drop(held)
    assert len(hands.leases) == 0


async def test_a_lease_that_waited_long_is_renewed_first() -> None:
    hands = Hands()
    lease = await hands.lease()
    await hands.clock.advance(SECONDS / 2)
    held = await hands.leases.hold(lease)
    assert held is not None
    assert held.lease.expires == NOW + 1.5 * SECONDS


async def test_a_lease_that_was_lost_while_it_waited() -> None:
    hands = Hands()
    lease = await hands.lease()
    await hands.clock.advance(SECONDS / 2)
    await hands.spool.delete(Selection())
    assert await hands.leases.hold(lease) is None
    assert len(hands.leases) == 0


async def test_what_takes_long_is_renewed_in_time() -> None:
    hands = Hands()
    held = await hands.held()
    hands.leases.watch()
    await turns()
    assert "renew" not in hands.spool.calls
    await hands.clock.advance(SECONDS / 2 + 1)
    hands.leases.watch()
    hands.leases.watch()
    await turns()
    assert hands.spool.calls.count("renew") == 1
    assert held.lease.expires == hands.clock.now() + SECONDS


@pytest.mark.parametrize(("left", "may_end"), [(DOT_MARGIN_SECONDS, True), (29.0, False)])
async def test_when_a_message_may_end(left: float, may_end: bool) -> None:
    hands = Hands()
    held = await hands.held()
    hands.spool.failures["renew"] = SpoolError("the disk is broken")
    await hands.clock.advance(SECONDS - left)
    hands.leases.watch()
    await turns()
    assert held.may_end() is may_end


async def test_nothing_may_end_with_a_lease_that_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hands = Hands()
    held = await hands.held()
    held.client = Network().connector_to_nobody()
    await hands.spool.delete(Selection())
    await hands.clock.advance(SECONDS / 2 + 1)
    hands.leases.watch()
    await turns()
    assert not held.may_end()
    assert held.client.protocol.closing_reply is not None
    assert "broken off in the middle" in caplog.text


async def test_who_was_stopped_breaks_off_before_anything_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hands = Hands()
    held = await hands.held()
    held.client = Network().connector_to_nobody()
    await hands.clock.advance(10 * SECONDS)  # as a machine that slept
    hands.leases.watch()
    await turns(1)
    assert held.client.protocol.closing_reply is not None


async def test_given_back() -> None:
    hands = Hands()
    leases = [await hands.lease() for _ in range(250)]
    await hands.leases.give_back(leases, "451 the next hop is down")
    queued = await hands.spool.list(limit=300)
    assert {one.recipients[0].last_reply for one in queued} == {"451 the next hop is down"}
    assert {one.recipients[0].attempts for one in queued} == {0}


async def test_a_spool_that_takes_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    hands = Hands()
    leases = [await hands.lease()]
    hands.spool.failures["give_back"] = SpoolError("the disk is broken")
    await hands.leases.give_back(leases)
    assert "the spool: the disk is broken; messages wait for their lease to end" in caplog.text
