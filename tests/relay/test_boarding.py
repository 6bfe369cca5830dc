"""When a commit begins, by a loop whose time is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pillarbox.relay.sqlite.boarding import (
    CROWD,
    MAX_IDLE_SECONDS,
    MAX_RIDERS,
    RIDE_SECONDS,
    WAIT_SECONDS,
    Boarding,
)

QUICK = 0.0002
SLOW = 0.004


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop that is turned by hand, and whose time stands still but for `pass_()`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        """Do what is due."""
        self.call_soon(self.stop)
        self.run_forever()

    def pass_(self, seconds: float) -> None:
        """Let time pass, and do what has become due."""
        self.now += seconds
        self.turn()
        self.turn()


class Thread:
    """What the thread does, by hand."""

    def __init__(self, loop: StillLoop) -> None:
        self.loop = loop
        self.batches: list[list[str]] = []
        self.boarding: Boarding[str] = Boarding(loop, self.take)

    def take(self, changes: Sequence[str]) -> None:
        self.batches.append(list(changes))

    def come(self, *changes: str, may_ride: bool = False) -> None:
        """Have changes come in one turn of the loop."""
        for change in changes:
            self.boarding.add(change, may_ride=may_ride)
        self.loop.turn()

    def commit(self, took: float) -> None:
        """End the last batch's commit."""
        if self.boarding.is_slow:
            self.boarding.begins()
        self.boarding.ends(len(self.batches[-1]), took)
        self.loop.turn()

    def round(self, count: int, took: float) -> None:
        """Have so many come together, and be written."""
        before = len(self.batches)
        self.come(*("x" for _ in range(count)))
        self.loop.pass_(took)
        assert len(self.batches) == before + 1
        self.commit(took)

    def done(self) -> Callable[[], Any]:
        """Give something to do meanwhile, which is a batch of its own."""
        return lambda: self.batches.append(["meanwhile"])


@pytest.fixture
def loop() -> Iterator[StillLoop]:
    loop = StillLoop()
    yield loop
    loop.close()


@pytest.fixture
def thread(loop: StillLoop) -> Thread:
    return Thread(loop)


# A quick disk


def test_what_comes_in_a_turn_goes_together(thread: Thread) -> None:
    thread.come("a", "b")
    assert thread.batches == [["a", "b"]]


def test_one_commit_at_a_time(thread: Thread) -> None:
    assert not thread.boarding.is_busy
    thread.come("a")
    assert thread.boarding.is_busy
    thread.come("b")
    thread.come("c")
    assert thread.batches == [["a"]]
    thread.commit(QUICK)
    assert thread.batches == [["a"], ["b", "c"]]
    thread.commit(QUICK)
    assert not thread.boarding.is_busy


def test_what_rides_goes_with_the_next(thread: Thread) -> None:
    thread.come("r", may_ride=True)
    assert thread.batches == []
    thread.come("a")
    assert thread.batches == [["r", "a"]]
    thread.loop.pass_(1)
    assert len(thread.batches) == 1


def test_what_rides_goes_alone_after_a_while(thread: Thread) -> None:
    thread.come("r", may_ride=True)
    thread.loop.pass_(RIDE_SECONDS / 2)
    thread.come("s", may_ride=True)
    assert thread.batches == []
    thread.loop.pass_(RIDE_SECONDS)
    assert thread.batches == [["r", "s"]]


def test_many_that_ride_need_not_wait(thread: Thread) -> None:
    thread.come(*("r" for _ in range(MAX_RIDERS)), may_ride=True)
    assert [len(batch) for batch in thread.batches] == [MAX_RIDERS]


# A crowd


@pytest.mark.parametrize("few", [1, CROWD - 1])
def test_few_do_not_wait(thread: Thread, few: int) -> None:
    for _ in range(5):
        thread.round(few, SLOW)
    thread.come("a")
    assert thread.batches[-1] == ["a"]


@pytest.mark.parametrize("took", [QUICK, SLOW])
def test_a_commit_begins_when_the_usual_crowd_is_there(thread: Thread, took: float) -> None:
    thread.round(20, took)
    thread.come(*("a" for _ in range(19)))
    assert len(thread.batches) == 1
    thread.come("a")
    assert [len(batch) for batch in thread.batches] == [20, 20]


def test_or_after_some_milliseconds(thread: Thread) -> None:
    thread.round(20, SLOW)
    thread.come("a")
    thread.come("r", may_ride=True)
    thread.loop.pass_(WAIT_SECONDS / 2)
    thread.come("b")
    assert len(thread.batches) == 1
    thread.loop.pass_(WAIT_SECONDS / 2)
    assert thread.batches[1:] == [["a", "r", "b"]]


def test_a_crowd_that_is_gone_is_forgotten(thread: Thread) -> None:
    thread.round(20, SLOW)
    for _ in range(6):
        thread.come("a")
        thread.loop.pass_(WAIT_SECONDS)
        thread.commit(SLOW)
    thread.come("b")
    assert thread.batches[-1] == ["b"]


def test_those_who_came_meanwhile_wait_for_the_crowd_too(thread: Thread) -> None:
    thread.round(20, SLOW)
    thread.come(*("a" for _ in range(20)))
    thread.come("b", "b")
    thread.commit(SLOW)
    assert len(thread.batches) == 2
    thread.come(*("b" for _ in range(18)))
    assert thread.batches[-1] == ["b"] * 20


# Meanwhile


def test_on_a_quick_disk_nothing_waits(thread: Thread) -> None:
    thread.round(20, QUICK)
    thread.boarding.meanwhile(thread.done())
    assert thread.batches[-1] == ["meanwhile"]


def test_on_a_slow_one_it_is_done_while_the_disk_is_at_work(thread: Thread) -> None:
    thread.round(20, SLOW)
    thread.boarding.meanwhile(thread.done())
    thread.come(*("a" for _ in range(20)))
    assert thread.batches[-1] == ["a"] * 20
    thread.boarding.begins()
    thread.loop.turn()
    assert thread.batches[-1] == ["meanwhile"]
    thread.boarding.meanwhile(thread.done())
    assert thread.batches[-2:] == [["meanwhile"], ["meanwhile"]]
    thread.loop.pass_(1)
    assert len(thread.batches) == 4


def test_or_after_a_while(thread: Thread) -> None:
    thread.round(20, SLOW)
    thread.boarding.meanwhile(thread.done())
    thread.boarding.meanwhile(thread.done())
    assert len(thread.batches) == 1
    thread.loop.pass_(MAX_IDLE_SECONDS)
    assert thread.batches[1:] == [["meanwhile"], ["meanwhile"]]


def test_what_fails_meanwhile_keeps_nothing_else(thread: Thread) -> None:
    def fail() -> None:
        raise RuntimeError

    failed: list[dict[str, Any]] = []
    thread.loop.set_exception_handler(lambda _, context: failed.append(context))
    thread.round(20, SLOW)
    thread.boarding.meanwhile(fail)
    thread.boarding.meanwhile(thread.done())
    thread.boarding.begins()
    thread.loop.turn()
    assert thread.batches[-1] == ["meanwhile"]
    assert len(failed) == 1


def test_where_few_come_nothing_waits(thread: Thread) -> None:
    thread.round(2, SLOW)
    thread.boarding.meanwhile(thread.done())
    assert thread.batches[-1] == ["meanwhile"]


def test_at_the_end_all_go(thread: Thread) -> None:
    thread.round(20, SLOW)
    thread.come("a")
    thread.come("r", may_ride=True)
    thread.boarding.go()
    assert thread.batches[-1] == ["a", "r"]
    thread.loop.pass_(1)
    assert len(thread.batches) == 2
