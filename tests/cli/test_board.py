"""The board of figures: processes that come, go and get stuck, with no process at all."""

from __future__ import annotations

import os

from pillarbox.cli.board import STUCK_SECONDS, Board, Place
from pillarbox.counters import Counters
from pillarbox.testing import FakeClock


def taken(board: Board, number: int, counters: Counters) -> Place:
    """Let a process take its place, with these figures."""
    place = Place(board, number)
    place.begin(lambda: counters)
    place.turn()
    return place


def test_figures_are_added_up() -> None:
    board = Board(2)
    one, two = Counters(connections=1, messages_accepted=2**40), Counters(messages_accepted=5)
    places = [taken(board, 0, one), taken(board, 1, two)]
    assert board.counters == Counters(connections=1, messages_accepted=2**40 + 5)
    one.connections, one.connections_open = 3, 2
    places[0].write()
    assert board.counters == Counters(
        connections=3, connections_open=2, messages_accepted=2**40 + 5
    )


def test_totals_of_a_process_that_died_stay() -> None:
    board = Board(2)
    taken(board, 0, Counters(connections=7, connections_open=7, memory_octets=99))
    # It died without a word. Whoever takes its place has none of its clients.
    later = Counters()
    place = Place(board, 0)
    assert board.counters == Counters(connections=7)
    place.begin(lambda: later)
    later.connections, later.connections_open = 1, 1
    place.turn()
    assert board.counters == Counters(connections=8, connections_open=1)


def test_ready_when_one_of_them_is() -> None:
    board = Board(2)
    assert not board.is_ready
    place = Place(board, 0)
    assert not board.is_ready
    place.begin(Counters)
    assert board.is_ready
    place.drain()
    assert not board.is_ready
    taken(board, 1, Counters())
    assert board.is_ready


def test_a_process_that_is_stuck() -> None:
    clock = FakeClock()
    board = Board(2, clock=clock)
    assert board.stuck() == ""  # nobody has begun
    places = [taken(board, number, Counters()) for number in range(2)]
    clock.advance(STUCK_SECONDS)
    assert board.stuck() == ""
    places[0].turn()
    clock.advance(1)
    assert board.stuck() == f"process {os.getpid()} has been stuck for 11 seconds"
    places[1].turn()
    assert board.stuck() == ""


def test_a_process_that_begins_may_take_long() -> None:
    clock = FakeClock()
    board = Board(1, clock=clock)
    Place(board, 0)
    clock.advance(1000)
    assert board.stuck() == ""


def test_a_process_that_ends_may_be_stuck() -> None:
    clock = FakeClock()
    board = Board(1, clock=clock)
    taken(board, 0, Counters()).drain()
    clock.advance(STUCK_SECONDS + 1)
    assert "stuck" in board.stuck()


def test_the_processes() -> None:
    board = Board(3)
    assert board.pids == []
    Place(board, 1)
    assert board.pids == [os.getpid()]
