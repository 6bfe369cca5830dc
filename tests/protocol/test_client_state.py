"""Time-outs, and what is known of an answer before it comes."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pillarbox.protocol.client_state import ANSWERS, Awaited, Timeouts


def test_defaults_are_those_of_the_rfc() -> None:
    timeouts = Timeouts()
    assert timeouts.greeting == timeouts.command == 5 * 60
    assert (timeouts.data, timeouts.block, timeouts.end) == (2 * 60, 3 * 60, 10 * 60)


def test_one_for_all() -> None:
    timeouts = Timeouts.all(1.5)
    assert {getattr(timeouts, one.name) for one in fields(timeouts)} == {1.5}


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_at_all(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"data is .*; it must be more than 0"):
        Timeouts(data=seconds)


SECONDS = {
    Awaited.GREETING: 2,
    Awaited.EHLO: 3,
    Awaited.LHLO: 3,
    Awaited.HELO: 3,
    Awaited.STARTTLS: 3,
    Awaited.AUTH: 3,
    Awaited.RSET: 3,
    Awaited.MAIL: 3,
    Awaited.RCPT: 3,
    Awaited.DATA: 4,
    Awaited.BDAT: 5,
    Awaited.END: 6,
    Awaited.LAST: 6,
    Awaited.QUIT: 7,
}


@pytest.mark.parametrize("awaited", Awaited, ids=lambda awaited: str(awaited.value))
def test_every_answer_has_its_time(awaited: Awaited) -> None:
    timeouts = Timeouts(connect=1, tls=8, greeting=2, command=3, data=4, block=5, end=6, quit=7)
    assert ANSWERS[awaited].seconds(timeouts) == SECONDS[awaited]
    more = {Awaited.DATA: (3,), Awaited.AUTH: (2, 3)}
    assert ANSWERS[awaited].success == more.get(awaited, (2,))
