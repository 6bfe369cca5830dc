"""What is written: steps, the arguments that wait for them, and the answers.

A change is a *step* and its argument, and a step is done at once for all the arguments that wait
for it: what wait together are in no order. Who writes them, and when: writer.py.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pillarbox.relay.spool import SpoolError

__all__ = ["Change", "Step", "Transaction", "apply", "batches", "resolve"]

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")

# What others have to wait for while a batch is written: a tenth of a second at worst.
MAX_CHANGES = 512
MAX_OCTETS = 8 << 20


@dataclass(slots=True)
class Transaction:
    """What a step works with.

    Attributes:
        connection: In a transaction.
        afterwards: What is to be done once it is committed, and those who wait know it.
    """

    connection: sqlite3.Connection
    afterwards: list[Callable[[], None]] = field(default_factory=list)


Step = Callable[[Transaction, Sequence[_Argument]], Sequence[_Answer | SpoolError]]
"""Does the same for all arguments, and answers each; one that is refused gets its error."""


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
        step: Step[Any, Any],
        argument: object,
        octets: int,
        answered: asyncio.Future[Any],
        *,
        is_light: bool,
    ) -> None:
        self.step = step
        self.argument = argument
        self.octets = octets
        self.answered = answered
        self.is_light = is_light


def batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Part changes into as many as are written at once."""
    batch: list[Change] = []
    octets = 0
    for change in changes:
        batch.append(change)
        octets += change.octets
        if len(batch) == MAX_CHANGES or octets >= MAX_OCTETS:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch


def apply(transaction: Transaction, changes: Sequence[Change]) -> list[object]:
    """Do each step once; give the answers in the order of the changes."""
    if len(changes) == 1:
        return list(changes[0].step(transaction, (changes[0].argument,)))
    places: dict[Step[Any, Any], list[int]] = {}
    for place, change in enumerate(changes):
        places.setdefault(change.step, []).append(place)
    answers: list[object] = [None] * len(changes)
    for step, at in places.items():
        given = step(transaction, [changes[place].argument for place in at])
        for place, answer in zip(at, given, strict=True):
            answers[place] = answer
    return answers


def resolve(changes: Sequence[Change], answers: Sequence[object]) -> None:
    """Tell those who wait; on the loop."""
    for change, answer in zip(changes, answers, strict=True):
        if change.answered.done():
            continue  # it was cancelled
        if isinstance(answer, Exception):
            change.answered.set_exception(answer)
        else:
            change.answered.set_result(answer)
