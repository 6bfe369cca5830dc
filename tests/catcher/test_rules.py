"""Failures on purpose: which rule acts, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pillarbox.catcher.rules import Chaos, Rule, Rules, Stage, Trigger, Verdict
from pillarbox.protocol.reply import Reply
from pillarbox.testing import FakeClock

BUSY = Reply(451, "4.3.0", "Busy")
NOBODY = Reply(550, "5.1.1", "Nobody")


def codes(judge: Callable[[], Verdict | None], tries: int) -> list[int]:
    verdicts = [judge() for _ in range(tries)]
    return [verdict.reply.code if verdict and verdict.reply else 250 for verdict in verdicts]


def test_without_rules_all_passes() -> None:
    rules = Rules()
    assert all(rules.judge(stage, "ann@example.org") is None for stage in Stage)


def test_a_pattern_in_any_case() -> None:
    rules = Rules([Rule(pattern="*@Bounce.test", reply=NOBODY)])
    assert rules.judge(Stage.RCPT, "ANN@bounce.TEST") == Verdict(0, NOBODY, drops=False)
    assert rules.judge(Stage.RCPT, "ann@other.test") is None
    assert rules.judge(Stage.MAIL, "ann@bounce.test") is None


def test_one_recipient_of_a_message_is_enough() -> None:
    rules = Rules([Rule(stage=Stage.MESSAGE, pattern="bob@*", reply=BUSY)])
    assert rules.judge(Stage.MESSAGE, "ann@example.org", "bob@example.org")


def test_the_first_two_tries_fail() -> None:
    rules = Rules([Rule(reply=BUSY, count=2)])
    assert codes(lambda: rules.judge(Stage.RCPT, "ann@example.org"), 4) == [451, 451, 250, 250]


def test_the_third_try_fails() -> None:
    rule = Rule(reply=BUSY, first=3, count=1)
    rules = Rules([rule])
    assert codes(lambda: rules.judge(Stage.RCPT, "a@b.test"), 4) == [250, 250, 451, 250]
    assert rules.tally(rule.id) == (4, 1)


def test_the_first_rule_that_acts_decides() -> None:
    rules = Rules([Rule(reply=BUSY, count=1), Rule(reply=NOBODY)])
    assert codes(lambda: rules.judge(Stage.RCPT, "a@b.test"), 3) == [451, 550, 550]


def test_chance_is_the_same_with_the_same_seed() -> None:
    def run(seed: int) -> list[int]:
        rules = Rules([Rule(reply=BUSY, percent=50)], seed=seed)
        return codes(lambda: rules.judge(Stage.RCPT, "a@b.test"), 40)

    assert run(1) == run(1) != run(2)
    assert set(run(1)) == {250, 451}


def test_greylisting() -> None:
    clock = FakeClock()
    rules = Rules([Rule(reply=BUSY, greylist_seconds=60)], clock=clock)

    def judge(rcpt: str) -> Verdict | None:
        return rules.judge(Stage.RCPT, rcpt, mail_from="ann@example.org")

    assert judge("bob@example.org")
    clock.advance(59)
    assert judge("BOB@example.org")
    assert judge("cat@example.org")
    clock.advance(1)
    assert judge("bob@example.org") is None
    assert judge("cat@example.org")


def test_a_rule_that_is_removed_acts_no_more() -> None:
    rules = Rules()
    rule = rules.add(Rule(drops=True))
    assert rules.judge(Stage.RCPT, "a@b.test") == Verdict(0, None, drops=True)
    assert rules.remove(rule.id)
    assert not rules.remove(rule.id)
    assert rules.judge(Stage.RCPT, "a@b.test") is None
    assert list(rules) == []


@pytest.mark.parametrize(
    ("chaos", "stage", "wire"),
    [
        (Chaos(sender=Trigger(451, 100)), Stage.MAIL, b"451 Chaos sender error\r\n"),
        (Chaos(recipient=Trigger(552, 100)), Stage.RCPT, b"552 Chaos recipient error\r\n"),
        (
            Chaos(authentication=Trigger(535, 100)),
            Stage.AUTH,
            b"535 Chaos authentication error\r\n",
        ),
    ],
)
def test_chaos(chaos: Chaos, stage: Stage, wire: bytes) -> None:
    rules = Rules(seed=1)
    assert rules.judge(stage, "x") is None
    rules.chaos = chaos
    verdict = rules.judge(stage, "x")
    assert verdict is not None
    assert verdict.reply is not None
    assert verdict.reply.wire == wire
    rules.clear()
    assert rules.judge(stage, "x") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rule(),
        lambda: Rule(reply=Reply(250, "2.0.0", "OK")),
        lambda: Rule(reply=BUSY, percent=101),
        lambda: Rule(reply=BUSY, first=0),
        lambda: Rule(reply=BUSY, count=-1),
        lambda: Rule(reply=BUSY, delay_seconds=-1),
        lambda: Rule(reply=BUSY, stage=Stage.MAIL, greylist_seconds=5),
        lambda: Trigger(250),
        lambda: Trigger(450, 101),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make()


def test_there_is_an_end_to_rules() -> None:
    rules = Rules()
    for _ in range(1_000):
        rules.add(Rule(reply=BUSY))
    with pytest.raises(ValueError, match="delete some"):
        rules.add(Rule(reply=BUSY))
