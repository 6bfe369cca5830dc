"""What the ledger calls lost, wrong and excused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from tests.crash.ledger import UNDER_WAY, Attempt, Ledger, Life, Message, State, Stop

OCTETS = b"Subject: 1\r\n\r\nHello\r\n"
RECEIVED = b"Received: from client.test\r\n\tby n0-1.test; now\r\n"
SENDER = "s1@client.test"
TO = "r1-0@next.test"
DAY = 86_400.0


class Story:
    """A message to one recipient, and what happens to it, a second between two things."""

    def __init__(self, *, may_return: bool = False) -> None:
        self.ledger = Ledger(lifetime_seconds=DAY, may_return=may_return)
        digest = hashlib.sha256(OCTETS).digest()
        self.message = Message(1, SENDER, (TO,), len(OCTETS), digest, began=0.0)
        self.ledger.begin(self.message)
        self.life = Life("n0-1.test")
        self.ledger.start(self.life)
        self.ledger.start(Life("n0-2.test"))
        self.now = 1.0

    def attempt(self, node: str, *, session: int, answers: bool) -> Attempt:
        attempt = Attempt(node, session, 0, self.now, self.now + 1, is_answered=answers)
        self.ledger.place(session, 0)
        self.now += 2
        return attempt

    def deliver(
        self, *, life: int = 1, answers: bool = True, octets: bytes = RECEIVED + OCTETS
    ) -> Attempt:
        attempt = self.attempt(f"n0-{life}.test", session=life, answers=answers)
        self.ledger.deliver(attempt, [TO], octets)
        return attempt

    def notify(self, *, name: str = "<a@n0-1.test>", failed: str = TO, at: float = DAY) -> None:
        attempt = self.attempt("n0-1.test", session=9, answers=True)
        self.ledger.notify(attempt, SENDER, name, [failed], at=at)

    def stop(self, *, before: float = 0.0) -> None:
        stop = Stop(self.now - before, self.now + 10, self.now - before - 1)
        self.life.stops.append(stop)
        self.now += 11

    def kill(self) -> None:
        self.life.killed = self.now
        self.now += 1


def delivered(story: Story) -> None:
    story.deliver()


def told_of(story: Story) -> None:
    story.notify()


def reply_lost(story: Story) -> None:
    story.deliver(answers=False)
    story.deliver()


def killed_in_flight(story: Story) -> None:
    story.deliver()
    story.ledger.place(1, UNDER_WAY - 1)
    story.kill()
    story.deliver(life=2)


def killed_before_it_was_answered(story: Story) -> None:
    story.deliver(answers=False).ended = None
    story.kill()
    story.deliver(life=2)


def stopped_in_flight(story: Story) -> None:
    story.deliver().came = story.now - 1
    story.stop(before=1.0)
    story.deliver(life=2)


def stopped_at_the_last_octets(story: Story) -> None:
    attempt = story.deliver()
    story.stop(before=1.5)
    story.deliver(life=2)
    attempt.came = attempt.ended = story.now
    attempt.asked = attempt.began


@pytest.mark.parametrize(
    ("happens", "excuses"),
    [
        (delivered, (0, 0, 0)),
        (told_of, (0, 0, 0)),
        (reply_lost, (1, 0, 0)),
        (killed_in_flight, (0, 1, 0)),
        (killed_before_it_was_answered, (0, 1, 0)),
        (stopped_in_flight, (0, 0, 1)),
        (stopped_at_the_last_octets, (0, 0, 1)),
    ],
)
def test_what_is_good(happens: Callable[[Story], None], excuses: tuple[int, int, int]) -> None:
    story = Story()
    story.ledger.ack(story.message)
    happens(story)
    verdict = story.ledger.verdict()
    assert verdict.is_good, verdict
    assert verdict.acked == 1
    assert (verdict.reply_lost, verdict.killed, verdict.stopped) == excuses


@pytest.mark.parametrize(("count", "is_good"), [(UNDER_WAY, True), (UNDER_WAY + 1, False)])
def test_what_is_delivered_while_there_is_no_spool(count: int, is_good: bool) -> None:
    story = Story()
    story.ledger.ack(story.message)
    story.ledger.outages = [(0.0, 60.0)]
    for _ in range(count):
        attempt = story.attempt("n0-1.test", session=1, answers=False)
        attempt.came = attempt.began
        story.ledger.deliver(attempt, [TO], RECEIVED + OCTETS)
    assert story.ledger.verdict().is_good is is_good


def test_an_answer_may_come_after_the_delivery() -> None:
    story = Story()
    story.deliver()
    story.ledger.ack(story.message)
    assert story.ledger.verdict().is_good


def twice(story: Story) -> None:
    story.deliver()
    story.deliver()


def long_over_at_the_kill(story: Story) -> None:
    story.deliver()
    story.ledger.place(1, UNDER_WAY)
    story.kill()
    story.deliver(life=2)


def told_to_be_on_record(story: Story) -> None:
    story.deliver()
    story.life.told[SENDER, TO] += 1
    story.kill()
    story.deliver(life=2)


def both_at_once(story: Story) -> None:
    story.deliver(answers=False)
    story.now -= 1.5
    story.deliver()


def long_over_at_the_stop(story: Story) -> None:
    story.deliver()
    story.now += 5
    story.stop()
    story.deliver(life=2)


def told_though_it_was_stopped(story: Story) -> None:
    story.deliver()
    story.life.told[SENDER, TO] += 1
    story.stop(before=1.0)
    story.deliver(life=2)


def begun_after_the_stop(story: Story) -> None:
    story.stop()
    story.deliver()
    story.deliver(life=2)


def ended_after_the_stop(story: Story) -> None:
    attempt = story.deliver()
    story.stop(before=1.5)
    attempt.came = attempt.ended = story.now
    attempt.asked = story.now - 5
    story.now += 1


def other_octets(story: Story) -> None:
    story.deliver(octets=RECEIVED + OCTETS[:-3] + b"!\r\n")


def something_in_front(story: Story) -> None:
    story.deliver(octets=b"X-Other: 1\r\n" + RECEIVED + OCTETS)


def half(story: Story) -> None:
    story.deliver(octets=RECEIVED + OCTETS[:-8])


def to_others(story: Story) -> None:
    story.deliver()
    story.ledger.deliver(story.attempt("n0-1.test", session=1, answers=True), ["x@y"], OCTETS)


def also_told_of(story: Story) -> None:
    story.deliver()
    story.notify()


def told_of_twice(story: Story) -> None:
    story.notify()
    story.notify(name="<b@n0-1.test>")


def notification_twice(story: Story) -> None:
    story.notify()
    story.notify()


def given_up_early(story: Story) -> None:
    story.notify(at=DAY - 1)


def told_of_others(story: Story) -> None:
    story.deliver()
    story.notify(failed="r2-0@next.test")


@pytest.mark.parametrize(
    ("happens", "text"),
    [
        (twice, "again"),
        (long_over_at_the_kill, "again"),
        (told_to_be_on_record, "again"),
        (both_at_once, "two attempts at once"),
        (long_over_at_the_stop, "again"),
        (told_though_it_was_stopped, "again"),
        (begun_after_the_stop, "again"),
        (ended_after_the_stop, "was ended after"),
        (other_octets, "not what was"),
        (something_in_front, "not what was"),
        (half, "not what was"),
        (to_others, "nobody sent"),
        (also_told_of, "was told that it failed"),
        (told_of_twice, "told twice"),
        (notification_twice, "again"),
        (given_up_early, "nobody refused"),
        (told_of_others, "was told of"),
    ],
)
def test_what_is_wrong(happens: Callable[[Story], None], text: str) -> None:
    story = Story()
    story.ledger.ack(story.message)
    happens(story)
    verdict = story.ledger.verdict()
    assert not verdict.lost
    (line,) = verdict.wrong
    assert text in line
    assert not verdict.is_good


def test_what_is_lost() -> None:
    story = Story()
    story.ledger.ack(story.message)
    verdict = story.ledger.verdict()
    assert verdict.lost == [f"{TO}: neither delivered nor told of"]
    assert not verdict.is_good


@pytest.mark.parametrize(
    ("state", "may_return", "is_good"),
    [
        (State.SENT, False, True),
        (State.BEGUN, False, False),
        (State.REFUSED, False, False),
        (State.REFUSED, True, True),
        (State.BEGUN, True, False),
    ],
)
def test_what_was_not_promised(state: State, may_return: bool, is_good: bool) -> None:
    story = Story(may_return=may_return)
    story.message.state = state
    assert story.ledger.verdict().is_good
    story.deliver()
    assert story.ledger.verdict().is_good is is_good
