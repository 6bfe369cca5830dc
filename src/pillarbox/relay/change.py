"""What is written into a spool that keeps mail in a database: changes, and who waits for them.

A change is a *step* and its argument, and a step is done at once for all the arguments that wait
for it: what wait together are in no order. Who writes them, and when, is each spool's writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Change", "by_step", "resolve"]


class Change:
    """What somebody waits for.

    Attributes:
        step: What is to be done.
        argument: For whom.
        octets: How much it writes, if that is much.
        answered: Done when it is on the disk.
        is_light: The step has to wait for nothing, and is done in no time.
    """

    __slots__ = ("answered", "argument", "is_light", "octets", "step")

    def __init__(
        self,
        step: Callable[..., Any],
        argument: object,
        octets: int,
        answered: asyncio.Future[Any],
        *,
        is_light: bool = False,
    ) -> None:
        self.step = step
        self.argument = argument
        self.octets = octets
        self.answered = answered
        self.is_light = is_light


def by_step(changes: Sequence[Change]) -> Mapping[Callable[..., Any], Sequence[int]]:
    """Tell for each step where its changes stand."""
    places: dict[Callable[..., Any], list[int]] = {}
    for place, change in enumerate(changes):
        places.setdefault(change.step, []).append(place)
    return places


def resolve(changes: Sequence[Change], answers: Sequence[object]) -> None:
    """Tell those who wait; on the loop."""
    for change, answer in zip(changes, answers, strict=True):
        if change.answered.done():
            continue  # it was cancelled
        if isinstance(answer, Exception):
            change.answered.set_exception(answer)
        else:
            change.answered.set_result(answer)
