"""What every spool has to pass, as it stands.

A module of tests for a spool has a fixture `open_spool`, which opens the same spool again and
again, `visit`, which opens it as another process does while it is in use, and these lines:

    pytestmark = pytest.mark.usefixtures("new_loop")

    class TestConformance(SpoolConformance):
        pass

Both close what they opened when the test is over. The time is whatever a test says: a spool has no
clock of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import pytest

from pillarbox.protocol.dsn import MailDsn, Notify, RcptDsn, Return
from pillarbox.relay.rate import Rate, Turns
from pillarbox.relay.spool import (
    Backoff,
    Draft,
    Lease,
    NewMessage,
    NewRecipient,
    Outcome,
    RecipientState,
    Result,
    Selection,
    Spool,
    SpoolError,
)

__all__ = [
    "BODY",
    "DELIVERED",
    "FAILED",
    "LARGE",
    "NOW",
    "STEADY",
    "OpenSpool",
    "SpoolConformance",
    "deferred",
    "drafted",
    "message",
    "most_within",
    "octets_of",
    "taken",
]

NOW = 1_700_000_000.0
BODY = b"Subject: Hello\r\n\r\nHello, Ben!\r\n"

STEADY = Backoff(first_seconds=300, factor=2, most_seconds=14_400, jitter=0)

DELIVERED = Outcome(result=Result.DELIVERED, reply="250 2.0.0 OK")
FAILED = Outcome(result=Result.FAILED, reply="550 5.1.1 No such mailbox")


class OpenSpool(Protocol):
    """Opens the spool of this test."""

    def __call__(
        self, *, backoff: Backoff = STEADY, chance: Callable[[], float] = ...
    ) -> Awaitable[Spool]: ...


def deferred(reply: str = "451 4.3.0 Later", **values: Any) -> Outcome:
    return Outcome(result=Result.DEFERRED, reply=reply, **values)


def message(
    *to: str, mail_from: str = "ann@example.org", created: float = NOW, **values: Any
) -> NewMessage:
    """Make a message; its destinations are the domains of its recipients."""
    return NewMessage(
        mail_from=mail_from,
        recipients=tuple(
            NewRecipient(address=address, destination=address.rpartition("@")[2])
            for address in to or ("ben@b.test",)
        ),
        created=created,
        expires=values.pop("expires", created + 432_000),
        **values,
    )


async def octets_of(spool: Spool, lease: Lease) -> bytes:
    return b"".join([part async for part in spool.read(lease)])


async def drafted(spool: Spool, *parts: bytes) -> Draft:
    draft = spool.draft()
    for part in parts:
        await draft.write(part)
    return draft


async def take(spool: Spool, destination: str = "b.test", now: float = NOW, **values: Any) -> Lease:
    """Lease the one message that is due."""
    values = {"limit": 10, "seconds": 60} | values
    (lease,) = await spool.lease(destination, now, **values)
    return lease


def addresses(leases: Sequence[Lease]) -> list[list[str]]:
    return [[to.address for to in lease.recipients] for lease in leases]


async def taken(
    spools: Sequence[Spool], rate: Rate, *, seconds: float, wanted: int = 1000, now: float = NOW
) -> list[float]:
    """Have spools take all turns that they get for so long, in turns; tell when each was taken."""
    times: list[float] = []
    end = now + seconds
    while now < end:
        turns = [await one.take_turns("b.test", rate, now, wanted=wanted) for one in spools]
        times += [now] * sum(one.count for one in turns)
        if not any(one.count for one in turns):
            assert min(one.until for one in turns) > now
            now = min(one.until for one in turns)
    return times


def most_within(times: Sequence[float], seconds: float) -> int:
    """Count what comes within so many seconds, where most does."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


async def states(spool: Spool) -> dict[str, RecipientState]:
    return {to.address: to.state for queued in await spool.list() for to in queued.recipients}


ALL = Selection()

LARGE = bytes(range(256)) * 1024  # 256 KiB
SIZES = [0, 1, 65_535, 65_536, 65_537, 262_144, 1_000_000]


class SpoolConformance:
    """The tests; `open_spool` and `visit` are the module's."""

    # In

    async def test_what_is_put_is_there(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message("ben@b.test", "cy@c.test", origin="192.0.2.1"), BODY)
        assert stored.leases == ()
        (queued,) = await spool.list()
        assert (queued.id, queued.mail_from, queued.size) == (
            stored.id,
            "ann@example.org",
            len(BODY),
        )
        assert (queued.created, queued.expires) == (NOW, NOW + 432_000)
        assert (queued.is_held, queued.origin) == (False, "192.0.2.1")
        assert [
            (to.address, to.destination, to.state, to.attempts, to.next_attempt, to.last_reply)
            for to in queued.recipients
        ] == [
            ("ben@b.test", "b.test", RecipientState.QUEUED, 0, NOW, ""),
            ("cy@c.test", "c.test", RecipientState.QUEUED, 0, NOW, ""),
        ]
        assert await spool.octets(stored.id) == BODY
        assert sorted(await spool.due(NOW)) == ["b.test", "c.test"]

    async def test_an_empty_spool(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        assert await spool.list() == []
        assert await spool.due(NOW) == []
        assert await spool.next_due() is None
        assert await spool.lease("b.test", NOW, limit=1, seconds=60) == []
        assert await spool.lease_all(ALL, NOW, seconds=60) == []
        assert await spool.lease_late(NOW, created_before=NOW, limit=1, seconds=60) == []
        assert await spool.delete(ALL) == 0
        statistics = await spool.statistics()
        assert (statistics.messages, statistics.octets, statistics.held) == (0, 0, 0)
        assert statistics.oldest is None
        assert statistics.destinations == {}

    async def test_a_message_has_a_recipient(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        nobody = NewMessage(mail_from="", recipients=(), created=NOW, expires=NOW)
        with pytest.raises(ValueError, match="one recipient"):
            await spool.put(nobody, BODY)
        assert await spool.list() == []

    async def test_everything_about_a_message_survives(self, open_spool: OpenSpool) -> None:
        everything = NewMessage(
            mail_from="änn+tag=x@exämple.org",
            recipients=(
                NewRecipient(address='"b e n"@b.test', destination="b.test"),
                NewRecipient(
                    address="cÿ@b.test",
                    destination="b.test",
                    dsn=RcptDsn(Notify.SUCCESS | Notify.DELAY, "utf-8", "cÿ@b.test"),
                ),
                NewRecipient(address="di@d.test", destination="d.test", dsn=RcptDsn(Notify.NEVER)),
                NewRecipient(
                    address="ed@d.test",
                    destination="d.test",
                    dsn=RcptDsn(None, "rfc822", "ed@e.test"),
                ),
            ),
            created=NOW + 0.123456,
            expires=NOW + 100.5,
            is_smtputf8=True,
            body_type="BINARYMIME",
            requires_tls=True,
            dsn=MailDsn(Return.HDRS, "QQ314159"),
            origin="[2001:db8::1] client.test, ann",
        )
        plain = message(mail_from="", dsn=MailDsn(Return.FULL))
        binary = b"\x00\xff\r\n.\r\n" + bytes(range(256))
        spool = await open_spool()
        await spool.put(everything, binary)
        await spool.put(plain, BODY)
        await spool.close()
        spool = await open_spool()
        given = await spool.lease("b.test", NOW + 1, limit=10, seconds=60)
        found = {lease.message.mail_from: lease for lease in given}
        assert found[everything.mail_from].message == everything
        assert found[everything.mail_from].size == len(binary)
        assert await octets_of(spool, found[everything.mail_from]) == binary
        assert [(to.address, to.dsn) for to in found[everything.mail_from].recipients] == [
            (to.address, to.dsn) for to in everything.recipients[:2]
        ]
        assert found[""].message == plain

    @pytest.mark.parametrize("size", SIZES)
    async def test_bodies_of_any_size(self, open_spool: OpenSpool, size: int) -> None:
        body = (LARGE * 4)[:size]
        spool = await open_spool()
        stored = await spool.put(message(), body)
        drafts = await spool.put(message("cy@c.test"), await drafted(spool, body))
        await spool.close()
        spool = await open_spool()
        for destination, id_ in (("b.test", stored.id), ("c.test", drafts.id)):
            lease = await take(spool, destination)
            assert lease.size == size
            assert await octets_of(spool, lease) == body
            assert await spool.octets(id_) == body

    async def test_a_draft_comes_in_parts(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        draft = await drafted(spool, b"", LARGE, b"1", LARGE, LARGE, b"2")
        assert draft.size == 3 * len(LARGE) + 2
        stored = await spool.put(message(), draft, lease_seconds=60)
        assert await spool.octets(stored.id) == LARGE + b"1" + LARGE + LARGE + b"2"
        assert await octets_of(spool, stored.leases[0]) == LARGE + b"1" + LARGE + LARGE + b"2"

    @pytest.mark.parametrize("octets", [BODY, LARGE], ids=["small", "large"])
    async def test_a_draft_that_is_over(self, open_spool: OpenSpool, octets: bytes) -> None:
        spool = await open_spool()
        discarded = await drafted(spool, octets)
        await discarded.discard()
        await discarded.discard()
        put = await drafted(spool, octets)
        await spool.put(message(), put)
        for draft in (discarded, put):
            with pytest.raises(SpoolError, match="begin a new one"):
                await draft.write(b"more")
            with pytest.raises(SpoolError, match="begin a new one"):
                await spool.put(message(), draft)
            await draft.discard()
        (queued,) = await spool.list()
        assert await spool.octets(queued.id) == octets

    async def test_a_draft_of_somebody_else(self, open_spool: OpenSpool) -> None:
        class Strange:
            size = 0

            async def write(self, octets: bytes) -> None: ...

            async def discard(self) -> None: ...

        spool = await open_spool()
        with pytest.raises(TypeError, match="draft"):
            await spool.put(message(), Strange())

    async def test_many_at_once(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        puts = [spool.put(message(created=NOW + turn), b"%d" % turn) for turn in range(700)]
        stored = await asyncio.gather(*puts)
        assert len({one.id for one in stored}) == 700
        for turn in (0, 1, 350, 699):
            assert await spool.octets(stored[turn].id) == b"%d" % turn
        assert (await spool.statistics()).messages == 700

    async def test_one_that_cannot_be_written_spoils_no_other(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        surrogate = message(mail_from="\udce9@example.org")
        done = await asyncio.gather(
            *(spool.put(message(), BODY) for _ in range(5)),
            spool.put(surrogate, BODY),
            *(spool.put(message(), BODY) for _ in range(5)),
            return_exceptions=True,
        )
        assert [isinstance(one, Exception) for one in done] == [False] * 5 + [True] + [False] * 5
        assert (await spool.statistics()).messages == 10

    async def test_an_id_never_comes_again(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        first = await spool.put(message(), BODY)
        await spool.delete(ALL)
        second = await spool.put(message(), BODY)
        assert first.id != second.id
        assert await spool.octets(first.id) is None

    async def test_the_clock_jumps_back(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        first = await spool.put(message(), BODY)
        second = await spool.put(message(created=NOW - 86_400), BODY)
        assert [queued.id for queued in await spool.list()] == [first.id, second.id]

    # Leases that come with the message

    async def test_a_message_is_leased_as_it_is_put(self, open_spool: OpenSpool) -> None:
        spool = await open_spool(backoff=Backoff(jitter=0.5), chance=lambda: 1.0)
        new = message("ben@b.test", "cy@c.test", "bea@b.test")
        stored = await spool.put(new, BODY, lease_seconds=60)
        at_b, at_c = sorted(stored.leases, key=lambda lease: lease.destination)
        assert addresses([at_b, at_c]) == [["ben@b.test", "bea@b.test"], ["cy@c.test"]]
        for lease in (at_b, at_c):
            assert lease.id == stored.id
            assert lease.message == new
            assert lease.size == len(BODY)
            assert lease.expires == NOW + 60
            assert await octets_of(spool, lease) == BODY
            assert {(to.attempts, to.next_attempt) for to in lease.recipients} == {(1, NOW + 450)}
        assert await spool.due(NOW) == []
        assert await spool.lease("b.test", NOW, limit=10, seconds=60) == []
        assert set((await states(spool)).values()) == {RecipientState.ACTIVE}
        assert await spool.next_due() == NOW + 60

    async def test_a_message_that_is_put_to_be_held(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(is_held=True), BODY, lease_seconds=60)
        assert stored.leases == ()
        assert await spool.due(NOW + 10**6) == []
        assert await spool.next_due() is None
        assert await spool.release(ALL) == 1
        assert await spool.due(NOW) == ["b.test"]

    async def test_a_suspended_destination_gets_no_lease(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.suspend("b.test")
        new = message("ben@b.test", "cy@c.test")
        stored = await spool.put(new, BODY, lease_seconds=60)
        assert addresses(stored.leases) == [["cy@c.test"]]
        assert (await spool.list())[0].recipients[0].attempts == 0

    async def test_it_is_read_again_when_nobody_finished_it(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        first = await spool.put(message(), BODY, lease_seconds=60)
        # It is not known how its attempt ended: nobody waits for the time of the next one.
        assert await spool.due(NOW + 59) == []
        assert await spool.due(NOW + 60) == ["b.test"]
        lease = await take(spool, now=NOW + 60)
        assert lease.id == first.id
        assert [(to.attempts, to.next_attempt) for to in lease.recipients] == [(2, NOW + 660)]
        assert await octets_of(spool, lease) == BODY

    async def test_a_lease_of_a_late_attempt_is_over_when_it_says(
        self, open_spool: OpenSpool
    ) -> None:
        spool = await open_spool()
        await spool.put(message("ben@b.test", "bea@b.test"), BODY)
        now = NOW
        for _ in range(6):
            lease = await take(spool, now=now)
            now = lease.recipients[0].next_attempt
            outcomes = {to.number: deferred() for to in lease.recipients}
            assert await spool.finish(lease, outcomes)
        lease = await take(spool, now=now)
        assert await spool.next_due() == now + 60
        renewed = await spool.renew(lease, now + 30, seconds=60)
        assert renewed is not None
        assert await spool.next_due() == now + 90
        assert await spool.hold(ALL) == 1
        assert await spool.release(ALL) == 1
        assert await spool.next_due() == now + 90
        assert addresses([await take(spool, now=now + 90)]) == [["ben@b.test", "bea@b.test"]]

    async def test_a_notice_puts_off_no_attempt_of_a_dead_node(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message(), BODY)
        await take(spool)  # by one that dies
        (late,) = await spool.lease_late(NOW + 60, created_before=NOW + 60, limit=10, seconds=60)
        assert await spool.finish(late, {0: deferred(is_delay_told=True)})
        assert await spool.next_due() == NOW + 60

    async def test_a_lease_for_something_else_brings_no_attempt_forward(
        self, open_spool: OpenSpool
    ) -> None:
        spool = await open_spool()
        await spool.put(message(), BODY)
        lease = await take(spool)
        assert await spool.finish(lease, {0: deferred(next_attempt=NOW + 5000)})
        (late,) = await spool.lease_late(NOW + 1000, created_before=NOW + 500, limit=10, seconds=60)
        assert await spool.next_due() == NOW + 5000
        assert await spool.renew(late, NOW + 1030, seconds=60)
        assert await spool.next_due() == NOW + 5000
        assert await spool.hold(ALL) == 1
        assert await spool.release(ALL) == 1
        assert await spool.next_due() == NOW + 5000

    # Leasing

    async def test_the_longest_due_comes_first(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        for second in (3, 1, 2, 5, 4):
            await spool.put(message(f"r{second}@b.test", created=NOW + second), BODY)
        assert await spool.next_due() == NOW + 1
        leases = await spool.lease("b.test", NOW + 4, limit=2, seconds=60)
        assert addresses(leases) == [["r1@b.test"], ["r2@b.test"]]
        leases = await spool.lease("b.test", NOW + 4, limit=10, seconds=60)
        assert addresses(leases) == [["r3@b.test"], ["r4@b.test"]]
        assert await spool.due(NOW + 4) == []
        assert await spool.next_due() == NOW + 5

    async def test_recipients_of_a_destination_go_together(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        everybody = [f"r{turn}@b.test" for turn in range(300)]
        await spool.put(message("cy@c.test", *everybody, "di@d.test"), BODY)
        (lease,) = await spool.lease("b.test", NOW, limit=1, seconds=60)
        assert addresses([lease]) == [everybody]
        assert [to.address for to in lease.message.recipients] == [
            "cy@c.test",
            *everybody,
            "di@d.test",
        ]
        assert sorted(await spool.due(NOW)) == ["c.test", "d.test"]

    async def test_the_limit_counts_messages(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        for _ in range(5):
            await spool.put(message("ben@b.test", "bea@b.test"), BODY)
        assert len(await spool.lease("b.test", NOW, limit=3, seconds=60)) == 3
        assert len(await spool.lease("b.test", NOW, limit=3, seconds=60)) == 2

    async def test_senders_take_turns(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await asyncio.gather(
            *(spool.put(message(mail_from="bulk@example.org"), BODY) for _ in range(200))
        )
        await spool.put(message(mail_from="ann@example.org", created=NOW + 10), BODY)
        await spool.put(message(mail_from="zoe@example.net", created=NOW + 20), BODY)
        leases = await spool.lease("b.test", NOW + 60, limit=10, seconds=60)
        senders = [lease.message.mail_from for lease in leases]
        assert len(senders) == 10
        assert {"ann@example.org", "zoe@example.net"} < set(senders)

    async def test_senders_take_turns_one_by_one(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        two = {"bulk@example.org", "ann@example.org"}
        for sender in two:
            await asyncio.gather(*(spool.put(message(mail_from=sender), BODY) for _ in range(20)))
        senders = [(await take(spool, now=NOW + 60, limit=1)).message.mail_from for _ in range(4)]
        assert set(senders[:2]) == set(senders[2:]) == two

    async def test_nobody_gets_what_another_has(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await asyncio.gather(*(spool.put(message(), BODY) for _ in range(50)))
        leased = await asyncio.gather(
            *(spool.lease("b.test", NOW, limit=7, seconds=60) for _ in range(10))
        )
        given = [lease.id for leases in leased for lease in leases]
        assert len(given) == len(set(given)) == 50

    async def test_the_waits_grow(self, open_spool: OpenSpool) -> None:
        backoff = Backoff(first_seconds=100, factor=3, most_seconds=1000, jitter=0)
        spool = await open_spool(backoff=backoff)
        await spool.put(message(), BODY)
        now, waits = NOW, []
        for attempt in range(1, 6):
            lease = await take(spool, now=now)
            (to,) = lease.recipients
            assert to.attempts == attempt
            waits.append(to.next_attempt - now)
            assert await spool.finish(lease, {to.number: deferred(f"451 {attempt}")})
            assert await spool.next_due() == to.next_attempt
            now = to.next_attempt
        assert waits == [100, 300, 900, 1000, 1000]

    async def test_leases_end(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message(), BODY)
        late = await take(spool, seconds=1000)
        assert await spool.due(NOW + 999) == []
        assert await spool.next_due() == NOW + 1000
        prompt = await take(spool, now=NOW + 1000)
        assert prompt.token != late.token
        assert await spool.renew(late, NOW + 1001, seconds=60) is None
        assert not await spool.give_back(late)
        (number,) = (to.number for to in late.recipients)
        notice = (message("ann@a.test", mail_from=""), BODY)
        assert not await spool.finish(late, {number: DELIVERED}, notices=[notice])
        assert await states(spool) == {"ben@b.test": RecipientState.ACTIVE}
        assert await spool.finish(prompt, {number: DELIVERED})
        assert await spool.list() == []

    async def test_a_lease_that_is_over_counts_while_nobody_has_taken_it(
        self, open_spool: OpenSpool
    ) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        assert await spool.finish(stored.leases[0], {0: DELIVERED})
        assert await spool.list() == []

    async def test_a_lease_is_renewed(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message(), BODY)
        lease = await take(spool, seconds=400)
        renewed = await spool.renew(lease, NOW + 390, seconds=400)
        assert renewed is not None
        assert renewed.expires == NOW + 790
        assert await spool.due(NOW + 789) == []
        assert await spool.due(NOW + 790) == ["b.test"]
        assert await spool.finish(renewed, {renewed.recipients[0].number: DELIVERED})
        assert await spool.renew(renewed, NOW, seconds=400) is None

    async def test_a_lease_is_given_back(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        assert await spool.give_back(stored.leases[0], reply="shutting down")
        assert not await spool.give_back(stored.leases[0])
        assert await spool.due(NOW) == ["b.test"]
        lease = await take(spool)
        assert [(to.attempts, to.last_reply) for to in lease.recipients] == [(1, "shutting down")]
        assert await spool.finish(lease, {0: deferred("451 busy")})
        lease = await take(spool, now=NOW + 300)
        assert await spool.give_back(lease)
        (queued,) = (await spool.list())[0].recipients
        assert (queued.attempts, queued.last_reply) == (1, "451 busy")
        assert queued.state is RecipientState.QUEUED

    # Outcomes

    @pytest.mark.parametrize("outcome", [DELIVERED, FAILED], ids=["delivered", "failed"])
    @pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
    async def test_a_message_is_gone_when_nobody_is_left(
        self, open_spool: OpenSpool, outcome: Outcome, body: bytes
    ) -> None:
        spool = await open_spool()
        stored = await spool.put(message("ben@b.test", "bea@b.test"), body, lease_seconds=60)
        (lease,) = stored.leases
        assert await spool.finish(lease, {to.number: outcome for to in lease.recipients})
        assert await spool.list() == []
        assert await spool.octets(stored.id) is None
        assert await spool.due(NOW + 10**6) == []
        assert (await spool.statistics()).messages == 0
        assert not await spool.finish(lease, {to.number: outcome for to in lease.recipients})

    async def test_each_recipient_has_its_own_outcome(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        names = ["ben@b.test", "cy@b.test", "di@b.test", "ed@b.test"]
        stored = await spool.put(message(*names), BODY, lease_seconds=60)
        (lease,) = stored.leases
        numbers = [to.number for to in lease.recipients]
        first = {
            numbers[0]: DELIVERED,
            numbers[1]: FAILED,
            numbers[2]: deferred("451 4.2.0 Greylisted", next_attempt=NOW + 100),
            # Nothing of the fourth: the connection was lost.
        }
        assert await spool.finish(lease, first)
        (queued,) = await spool.list()
        assert [
            (to.state, to.attempts, to.next_attempt, to.last_reply) for to in queued.recipients
        ] == [
            (RecipientState.DELIVERED, 1, None, "250 2.0.0 OK"),
            (RecipientState.FAILED, 1, None, "550 5.1.1 No such mailbox"),
            (RecipientState.QUEUED, 1, NOW + 100, "451 4.2.0 Greylisted"),
            (RecipientState.QUEUED, 1, NOW + 300, ""),
        ]
        again = await take(spool, now=NOW + 100)
        assert addresses([again]) == [["di@b.test"]]
        assert again.recipients[0].last_reply == "451 4.2.0 Greylisted"
        assert again.message.recipients == lease.message.recipients
        assert await spool.finish(again, {again.recipients[0].number: DELIVERED})
        last = await take(spool, now=NOW + 300)
        assert addresses([last]) == [["ed@b.test"]]
        assert await spool.finish(last, {last.recipients[0].number: FAILED})
        assert await spool.list() == []

    async def test_each_destination_has_its_own_lease(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message("ben@b.test", "cy@c.test"), LARGE, lease_seconds=60)
        first, second = stored.leases
        assert await spool.finish(first, {first.recipients[0].number: DELIVERED})
        assert await octets_of(spool, second) == LARGE
        assert len(await spool.list()) == 1
        assert await spool.finish(second, {second.recipients[0].number: DELIVERED})
        assert await spool.list() == []

    async def test_many_end_at_once(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await asyncio.gather(
            *(spool.put(message(), BODY, lease_seconds=60) for _ in range(100))
        )
        lost = stored[50].leases[0]
        assert await spool.delete(Selection(ids=(stored[50].id,))) == 1
        leases = [one.leases[0] for one in stored]
        done = await asyncio.gather(
            *(spool.finish(lease, {0: DELIVERED}) for lease in leases),
            *(spool.finish(lease, {0: DELIVERED}) for lease in leases[:3]),
        )
        assert done[50] is False
        assert sum(done) == 99
        assert await spool.list() == []
        assert not await spool.finish(lost, {0: DELIVERED})

    async def test_that_it_takes_long_is_told_once(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        assert not stored.leases[0].recipients[0].is_delay_told
        assert await spool.finish(stored.leases[0], {0: deferred(is_delay_told=True)})
        for now in (NOW + 300, NOW + 900):
            lease = await take(spool, now=now)
            assert lease.recipients[0].is_delay_told
            assert await spool.finish(lease, {0: deferred()})

    async def test_notices_come_in_the_same_step(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        small = message("ann@a.test", mail_from="", created=NOW + 5)
        large = message("ann@l.test", mail_from="", created=NOW + 5)
        notices = [(small, b"failed"), (large, LARGE)]
        assert await spool.finish(stored.leases[0], {0: FAILED}, notices=notices)
        assert sorted(await spool.due(NOW + 5)) == ["a.test", "l.test"]
        for destination, notice, octets in (
            ("a.test", small, b"failed"),
            ("l.test", large, LARGE),
        ):
            lease = await take(spool, destination, NOW + 5)
            assert lease.message == notice
            assert await octets_of(spool, lease) == octets

    async def test_an_outcome_of_somebody_else(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        with pytest.raises(ValueError, match="no recipients"):
            await spool.finish(stored.leases[0], {0: DELIVERED, 7: DELIVERED})
        assert len(await spool.list()) == 1

    # What is late

    async def test_what_is_late_is_leased_for_its_notice(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        long = await spool.put(message("ben@b.test", "bea@b.test", expires=NOW + 1000), BODY)
        await spool.put(message("cy@c.test", created=NOW + 500, expires=NOW + 2000), BODY)
        await spool.put(message("di@d.test", is_held=True, expires=NOW + 1000), BODY)
        await spool.suspend("b.test")

        async def late(now: float, before: float) -> Sequence[Lease]:
            return await spool.lease_late(now, created_before=before, limit=10, seconds=60)

        assert await late(NOW + 400, NOW) == []
        (lease,) = await late(NOW + 400, NOW + 1)
        assert addresses([lease]) == [["ben@b.test", "bea@b.test"]]
        assert [(to.attempts, to.next_attempt) for to in lease.recipients] == [(0, NOW)] * 2
        assert await late(NOW + 400, NOW + 1) == []
        numbers = [to.number for to in lease.recipients]
        assert await spool.finish(lease, {numbers[0]: deferred(is_delay_told=True)})
        (lease,) = await late(NOW + 401, NOW + 1)
        assert addresses([lease]) == [["bea@b.test"]]
        assert await spool.give_back(lease)
        (lease,) = await late(NOW + 402, NOW + 1)
        assert await spool.finish(lease, {numbers[1]: deferred(is_delay_told=True)})
        assert await late(NOW + 403, NOW + 1) == []
        (lease,) = await late(NOW + 1000, NOW)
        assert lease.id == long.id
        assert addresses([lease]) == [["ben@b.test", "bea@b.test"]]
        assert {(to.attempts, to.next_attempt) for to in lease.recipients} == {(0, NOW)}
        assert await spool.finish(lease, dict.fromkeys(numbers, FAILED))
        assert set(await states(spool)) == {"cy@c.test", "di@d.test"}
        (lease,) = await late(NOW + 2000, NOW)
        assert addresses([lease]) == [["cy@c.test"]]

    async def test_what_is_tried_is_not_late(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        new = message("ben@b.test", "cy@c.test", expires=NOW + 10)
        await spool.put(new, BODY)
        await take(spool)
        leases = await spool.lease_late(NOW + 20, created_before=NOW, limit=1, seconds=60)
        assert addresses(leases) == [["cy@c.test"]]

    # Turns

    async def test_turns_of_who_was_quiet(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        rate = Rate(100, 60)
        turns = await spool.take_turns("b.test", rate, NOW, wanted=70)
        assert turns.count == 70
        assert NOW < turns.until <= NOW + 3
        assert (await spool.take_turns("b.test", rate, NOW + 1, wanted=70)).count == 30
        none = await spool.take_turns("b.test", rate, NOW + 30, wanted=1)
        assert none.count == 0
        assert NOW + 60 < none.until <= NOW + 63
        assert (await spool.take_turns("b.test", rate, none.until, wanted=1)).count == 1

    async def test_turns_of_each_destination(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        for name in ("b.test", "c.test"):
            assert (await spool.take_turns(name, Rate(1, 60), NOW, wanted=9)).count == 1
        assert (await spool.take_turns("c.test", Rate(1, 60), NOW, wanted=9)).count == 0

    @pytest.mark.parametrize(
        "rate", [Rate(1, 1), Rate(3, 60), Rate(100, 60), Rate(20, 1), Rate(7, 86_400)], ids=str
    )
    async def test_the_rate_is_kept_and_not_undercut_by_much(
        self, open_spool: OpenSpool, rate: Rate
    ) -> None:
        spool = await open_spool()
        times = await taken([spool], rate, seconds=10 * rate.seconds, wanted=rate.batch)
        assert most_within(times, rate.seconds) == rate.messages
        assert len(times) >= 9.5 * rate.messages

    async def test_turns_when_the_clock_is_set_back(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        assert (await spool.take_turns("b.test", Rate(9, 60), NOW, wanted=9)).count == 9
        assert (await spool.take_turns("b.test", Rate(9, 60), NOW - 3600, wanted=9)).count == 9
        assert await spool.take_turns("b.test", Rate(9, 60), NOW - 3590, wanted=9) == Turns(
            0, NOW - 3600 + 63 - (NOW - 3600) % 3
        )

    async def test_a_rate_that_was_changed(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        assert (await spool.take_turns("b.test", Rate(9, 60), NOW, wanted=9)).count == 9
        assert (await spool.take_turns("b.test", Rate(5, 60), NOW, wanted=9)).count == 0
        assert (await spool.take_turns("b.test", Rate(20, 60), NOW, wanted=20)).count == 11
        assert (await spool.take_turns("b.test", Rate(5, 30), NOW, wanted=9)).count == 0

    async def test_a_list_in_parts(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        ids = [(await spool.put(message(created=NOW + turn), BODY)).id for turn in range(5)]
        assert [queued.id for queued in await spool.list()] == ids
        assert [queued.id for queued in await spool.list(start=1, limit=2)] == ids[1:3]
        assert [queued.id for queued in await spool.list(start=4)] == ids[4:]
        assert await spool.list(start=5) == []

    @pytest.mark.parametrize(
        ("selection", "found"),
        [
            pytest.param(Selection(), "0123", id="all"),
            pytest.param(Selection(ids=()), "", id="no id"),
            pytest.param(
                Selection(ids=("no such id", "-1", "0", "FFFFFFFFFFFFFFFFF")), "", id="ids"
            ),
            pytest.param(Selection(mail_from="ann@example.org"), "01", id="a sender"),
            pytest.param(Selection(mail_from="ANN@EXAMPLE.ORG"), "01", id="in capitals"),
            pytest.param(Selection(mail_from=""), "3", id="the null sender"),
            pytest.param(Selection(mail_from="*@example.*"), "012", id="a pattern"),
            pytest.param(Selection(mail_from="%"), "", id="not a pattern"),
            pytest.param(Selection(mail_from="_o_@*"), "2", id="nor this"),
            pytest.param(Selection(rcpt_to="*@c.test"), "02", id="a recipient"),
            pytest.param(Selection(rcpt_to="ben@b.test"), "013", id="one of them"),
            pytest.param(Selection(mail_from="ann@*", rcpt_to="*@c.test"), "0", id="both"),
        ],
    )
    async def test_selections(
        self, open_spool: OpenSpool, selection: Selection, found: str
    ) -> None:
        spool = await open_spool()
        puts = [
            message("ben@b.test", "cy@c.test"),
            message("ben@b.test"),
            message("cy@c.test", mail_from="_o_@example.net"),
            message("ben@b.test", mail_from=""),
        ]
        ids = [(await spool.put(one, BODY)).id for one in puts]
        wanted = [ids[int(digit)] for digit in found]
        assert [queued.id for queued in await spool.list(selection)] == wanted
        assert await spool.hold(selection) == len(wanted)
        assert [queued.id for queued in await spool.list() if queued.is_held] == wanted
        assert await spool.delete(selection) == len(wanted)
        left = [id_ for id_ in ids if id_ not in wanted]
        assert [queued.id for queued in await spool.list()] == left

    async def test_ids_are_one_condition_of_several(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        first = await spool.put(message(), BODY)
        second = await spool.put(message(mail_from="zoe@example.net"), BODY)
        both = Selection(ids=(first.id, second.id, "no such id"), mail_from="zoe@*")
        assert [queued.id for queued in await spool.list(both)] == [second.id]

    async def test_hold_and_release(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        first = await spool.put(message("ben@b.test", "cy@c.test"), BODY)
        await spool.put(message(), BODY)
        one = Selection(ids=(first.id,))
        assert await spool.hold(one) == 1
        assert await spool.hold(one) == 0
        assert [queued.is_held for queued in await spool.list()] == [True, False]
        assert await spool.due(NOW) == ["b.test"]
        assert (await take(spool)).id != first.id
        assert (await spool.statistics()).held == 1
        assert await spool.release(ALL) == 1
        assert await spool.release(ALL) == 0
        lease = await take(spool)
        assert (lease.id, lease.message.is_held) == (first.id, False)

    async def test_what_is_held_while_it_is_tried(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=600)
        assert await spool.hold(ALL) == 1
        assert await states(spool) == {"ben@b.test": RecipientState.ACTIVE}
        renewed = await spool.renew(stored.leases[0], NOW, seconds=700)
        assert renewed is not None
        assert await spool.due(NOW + 700) == []
        assert await spool.release(ALL) == 1
        assert await spool.due(NOW + 699) == []
        assert await spool.due(NOW + 700) == ["b.test"]
        assert await spool.hold(ALL) == 1
        assert await spool.finish(renewed, {0: deferred(next_attempt=NOW + 50)})
        assert await spool.due(NOW + 10**6) == []
        assert await spool.release(ALL) == 1
        assert await spool.next_due() == NOW + 50

    async def test_what_is_given_back_while_it_is_held(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=600)
        assert await spool.hold(ALL) == 1
        assert await spool.give_back(stored.leases[0])
        assert await spool.due(NOW + 10**6) == []
        assert await spool.release(ALL) == 1
        assert await spool.due(NOW) == ["b.test"]

    async def test_retry(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        active = await spool.put(message("cy@c.test"), BODY, lease_seconds=60)
        assert await spool.finish(stored.leases[0], {0: deferred()})
        assert await spool.due(NOW + 10) == []
        assert await spool.retry(ALL, NOW + 10) == 1
        assert await spool.due(NOW + 9) == []
        assert await spool.due(NOW + 10) == ["b.test"]
        assert (await take(spool, now=NOW + 10)).recipients[0].attempts == 2
        # What is tried now is left to itself, until its lease is over.
        assert await spool.retry(Selection(ids=(active.id,)), NOW + 59) == 0
        assert await spool.finish(active.leases[0], {})
        assert await spool.retry(Selection(ids=(active.id,)), NOW + 60) == 1
        assert await spool.due(NOW + 60) == ["c.test"]

    async def test_retry_of_what_a_lost_lease_has(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), BODY, lease_seconds=60)
        assert await spool.retry(ALL, NOW + 60) == 1
        assert await spool.due(NOW + 60) == ["b.test"]
        assert not await spool.finish(stored.leases[0], {0: DELIVERED})

    async def test_retry_of_what_is_held(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message(created=NOW + 100, is_held=True), BODY)
        assert await spool.retry(ALL, NOW) == 1
        assert await spool.due(NOW) == []
        await spool.release(ALL)
        assert await spool.due(NOW) == ["b.test"]

    async def test_delete(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), LARGE, lease_seconds=60)
        await spool.put(message("cy@c.test"), BODY)
        assert await spool.delete(Selection(ids=(stored.id,))) == 1
        assert await spool.octets(stored.id) is None
        assert not await spool.finish(stored.leases[0], {0: DELIVERED})
        with pytest.raises(SpoolError, match="not in the spool any more"):
            await octets_of(spool, stored.leases[0])
        assert list(await states(spool)) == ["cy@c.test"]

    async def test_leases_to_bounce(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        held = await spool.put(message("ben@b.test", "cy@c.test", is_held=True), BODY)
        later = await spool.put(message("di@d.test", created=NOW + 1000), BODY)
        active = await spool.put(message("ed@e.test"), BODY, lease_seconds=60)
        await spool.suspend("d.test")
        leases = await spool.lease_all(ALL, NOW, seconds=60)
        assert sorted(addresses(leases)) == [["ben@b.test"], ["cy@c.test"], ["di@d.test"]]
        assert {lease.id for lease in leases} == {held.id, later.id}
        assert {to.attempts for lease in leases for to in lease.recipients} == {0}
        assert await octets_of(spool, leases[0]) == BODY
        assert await spool.lease_all(ALL, NOW, seconds=60) == []
        for lease in leases:
            assert await spool.finish(lease, {lease.recipients[0].number: FAILED})
        assert [queued.id for queued in await spool.list()] == [active.id]
        (lease,) = await spool.lease_all(ALL, NOW + 60, seconds=60)
        assert lease.id == active.id

    async def test_leases_to_bounce_leave_nothing_behind(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message(), BODY, lease_seconds=60)
        (lease,) = await spool.lease_all(ALL, NOW + 60, seconds=60)
        # Nobody knows how the attempt ended that had it before: it is made again.
        assert lease.recipients[0].next_attempt == NOW + 60
        assert await spool.give_back(lease)
        (queued,) = (await spool.list())[0].recipients
        assert (queued.attempts, queued.next_attempt) == (1, NOW + 60)
        assert await spool.next_due() == NOW + 60

    async def test_leases_to_bounce_come_in_parts(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        for _ in range(5):
            await spool.put(message("ben@b.test", "cy@c.test"), BODY)
        parts = [await spool.lease_all(ALL, NOW, seconds=60, limit=2) for _ in range(4)]
        assert [len(part) for part in parts] == [4, 4, 2, 0]

    async def test_suspend_and_resume(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message("ben@b.test", "cy@c.test"), BODY)
        await spool.suspend("b.test")
        await spool.suspend("b.test")
        await spool.suspend("nobody.test")
        assert await spool.suspended() == ["b.test", "nobody.test"]
        assert await spool.due(NOW) == ["c.test"]
        assert await spool.lease("b.test", NOW, limit=1, seconds=60) == []
        await take(spool, "c.test")
        assert await spool.next_due() == NOW + 60
        await spool.close()
        spool = await open_spool()
        assert await spool.suspended() == ["b.test", "nobody.test"]
        assert await spool.resume("b.test")
        assert not await spool.resume("b.test")
        assert not await spool.resume("other.test")
        assert await spool.suspended() == ["nobody.test"]
        assert "b.test" in await spool.due(NOW)

    async def test_statistics(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        await spool.suspend("nobody.test")
        new = message("ben@b.test", "bea@b.test", "cy@c.test")
        stored = await spool.put(new, LARGE, lease_seconds=60)
        await spool.put(message(created=NOW + 1, mail_from="zoe@example.net"), BODY)
        await spool.put(message("di@d.test", created=NOW + 2, is_held=True), BODY)
        (lease,) = (lease for lease in stored.leases if lease.destination == "b.test")
        await spool.finish(lease, {lease.recipients[0].number: DELIVERED})
        statistics = await spool.statistics()
        assert statistics.messages == 3
        assert statistics.octets == len(LARGE) + 2 * len(BODY)
        assert statistics.held == 1
        assert statistics.oldest == NOW
        assert dict(statistics.destinations) == {
            "b.test": (2, 0, False),
            "c.test": (0, 1, False),
            "d.test": (1, 0, False),
            "nobody.test": (0, 0, True),
        }

    # Others

    async def test_others_look_and_change(self, open_spool: OpenSpool, visit: OpenSpool) -> None:
        spool = await open_spool()
        stored = await spool.put(message(), LARGE)
        visitor = await visit()
        assert [queued.id for queued in await visitor.list()] == [stored.id]
        assert await visitor.octets(stored.id) == LARGE
        assert await visitor.hold(ALL) == 1
        assert await spool.due(NOW) == []
        assert await visitor.release(ALL) == 1
        lease = await take(spool)
        assert await visitor.delete(ALL) == 1
        assert not await spool.finish(lease, {lease.recipients[0].number: DELIVERED})
        assert await spool.list() == []

    async def test_others_bounce(self, open_spool: OpenSpool, visit: OpenSpool) -> None:
        spool = await open_spool()
        await spool.put(message(), BODY)
        visitor = await visit()
        (lease,) = await visitor.lease_all(ALL, NOW, seconds=60)
        assert await spool.due(NOW) == []
        notice = message("ann@a.test", mail_from="")
        assert await visitor.finish(lease, {0: FAILED}, notices=[(notice, LARGE)])
        again = await take(spool, "a.test")
        assert again.message == notice
        assert await octets_of(spool, again) == LARGE

    async def test_others_write_at_the_same_time(
        self, open_spool: OpenSpool, visit: OpenSpool
    ) -> None:
        spool = await open_spool()
        visitor = await visit()
        for turn in range(10):
            done = await asyncio.gather(
                *(spool.put(message(), BODY) for _ in range(10)),
                visitor.suspend(f"{turn}.test"),
                visitor.hold(ALL),
            )
            assert len({one.id for one in done[:10] if one and not isinstance(one, int)}) == 10
        assert len(await spool.suspended()) == 10
        assert (await spool.statistics()).messages == 100

    async def test_that_others_changed_something_is_noticed(
        self, open_spool: OpenSpool, visit: OpenSpool
    ) -> None:
        spool = await open_spool()
        visitor = await visit()
        assert not await spool.changed(0)
        await spool.put(message(), BODY)
        assert not await spool.changed(0)  # that was us
        await visitor.suspend("b.test")
        assert await spool.changed(30)
        assert not await spool.changed(0)
        waiting = asyncio.ensure_future(spool.changed(30))
        await visitor.resume("b.test")
        assert await waiting

    # The end

    async def test_nothing_is_taken_after_the_end(self, open_spool: OpenSpool) -> None:
        spool = await open_spool()
        puts = [asyncio.ensure_future(spool.put(message(), BODY)) for _ in range(20)]
        await asyncio.sleep(0)
        await spool.close()
        await spool.close()
        assert len({(await put).id for put in puts}) == 20
        with pytest.raises(SpoolError, match="closed"):
            await spool.put(message(), BODY)
        with pytest.raises(SpoolError, match="closed"):
            await spool.due(NOW)
        spool = await open_spool()
        assert (await spool.statistics()).messages == 20
