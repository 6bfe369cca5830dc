"""Turns that are counted in memory; what they have in common with a database: conformance.py."""

from __future__ import annotations

import pytest

from pillarbox.relay.rate import Rate, TurnCount
from tests.relay.network import NOW


@pytest.mark.parametrize(("messages", "batch"), [(1, 1), (20, 1), (39, 1), (40, 2), (1000, 50)])
def test_few_turns_are_taken_at_once(messages: int, batch: int) -> None:
    assert Rate(messages, 60).batch == batch


def test_what_counts_no_more_is_forgotten() -> None:
    count = TurnCount()
    for number in range(10):
        count.take(f"d{number}.test", Rate(1, 60), NOW + 60 * number, wanted=1)
    assert len(count) < 5
    count.take("d.test", Rate(1, 60), NOW + 10_000, wanted=1)
    assert len(count) == 1


def test_what_is_taken_in_a_slot_is_one_number() -> None:
    count = TurnCount()
    for number in range(1000):
        assert count.take("d.test", Rate(1000, 60), NOW + number / 20, wanted=1).count == 1
    assert len(count._taken["d.test"]) <= 21
