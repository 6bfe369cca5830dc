"""Windows and turns: values, without a loop."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pillarbox.relay.schedule import Ready, Window
from pillarbox.relay.spool import Lease, LeasedRecipient, NewMessage, NewRecipient
from tests.relay.network import NOW


def lease(name: str, sender: str, octets: bytes | None = b"0123456789") -> Lease:
    to = NewRecipient(address="bob@example.org", destination="example.org")
    return Lease(
        token=name,
        id=name,
        destination="example.org",
        recipients=(
            LeasedRecipient(number=0, address=to.address, attempts=1, next_attempt=NOW + 300),
        ),
        expires=NOW + 300,
        message=NewMessage(mail_from=sender, recipients=(to,), created=NOW, expires=NOW + 1000),
        size=10,
        octets=octets,
    )


def sizes(window: Window, events: str) -> list[int]:
    """Play successes (`+`) and failures (`-`); give the size after each."""
    found = []
    for event in events:
        window.succeed() if event == "+" else window.fail()
        found.append(window.size)
    return found


def test_a_window_grows_by_one_for_a_window_of_successes() -> None:
    assert sizes(Window(2, 5), "+" * 16) == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5]


def test_a_window_shrinks_by_one_for_a_window_of_failures() -> None:
    window = Window(4, 20)
    assert sizes(window, "---") == [3, 3, 3]
    assert not window.is_broken
    assert sizes(window, "-") == [2]
    assert window.is_broken
    window.restart()
    assert window.size == 4
    assert not window.is_broken


def test_a_success_between_forgives_failures() -> None:
    window = Window(4, 20)
    sizes(window, "---+---")
    assert not window.is_broken


def test_a_window_is_never_closed() -> None:
    window = Window(2, 20)
    assert sizes(window, "-" * 20)[-1] == 1


@pytest.mark.parametrize(("sessions", "size"), [(0, 1), (1, 1), (3, 3), (9, 5)])
def test_a_server_that_lets_no_more_in(sessions: int, size: int) -> None:
    window = Window(5, 20)
    window.narrow(sessions)
    assert window.size == size


def test_the_first_window_is_no_larger_than_the_largest() -> None:
    assert Window(5, 2).size == 2


def popped(ready: Ready) -> list[str]:
    found = []
    while (one := ready.pop()) is not None:
        found.append(one.id)
    return found


@pytest.mark.parametrize(
    ("pushed", "order"),
    [
        ("", ""),
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 b1", "a1 b1 a2 a3"),
        ("a1 a2 a3 b1 b2 c1", "a1 b1 c1 a2 b2 a3"),
    ],
)
def test_turns(pushed: str, order: str) -> None:
    ready = Ready()
    names: Sequence[str] = pushed.split()
    for name in names:
        ready.push(lease(name, name[0]))
    assert len(ready) == len(names)
    assert ready.of("a") == pushed.count("a")
    assert ready.octets == 10 * len(names)
    assert {one.id for one in ready} == set(names)
    assert popped(ready) == order.split()
    assert (len(ready), ready.octets, ready.of("a")) == (0, 0, 0)


def test_a_sender_that_comes_again_is_behind_the_others() -> None:
    ready = Ready()
    ready.push(lease("a1", "a"))
    ready.push(lease("b1", "b"))
    first = ready.pop()
    assert first is not None
    assert first.id == "a1"
    ready.push(lease("a2", "a"))
    assert popped(ready) == ["b1", "a2"]


def test_all_at_once() -> None:
    ready = Ready()
    for name in ("a1", "b1", "a2"):
        ready.push(lease(name, name[0], None))
    assert ready.octets == 0
    assert {one.id for one in ready.clear()} == {"a1", "a2", "b1"}
    assert (len(ready), ready.pop()) == (0, None)
