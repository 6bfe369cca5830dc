"""The steps of a batch on SQLite, and how much is one batch; see relay/change.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pillarbox.relay.change import Change, by_step
from pillarbox.relay.spool import SpoolError

__all__ = ["Step", "Transaction", "apply", "batches"]

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
    answers: list[object] = [None] * len(changes)
    for step, at in by_step(changes).items():
        given = step(transaction, [changes[place].argument for place in at])
        for place, answer in zip(at, given, strict=True):
            answers[place] = answer
    return answers
