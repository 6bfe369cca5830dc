"""What to search for: words and "phrases", all of which a message has to contain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, tzinfo

__all__ = ["Condition", "condition_of"]

_TERM = re.compile(r'"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class Condition:
    """What a message has to be, as SQL about a row of `message`."""

    sql: str
    values: tuple[object, ...] = ()


def condition_of(query: str, *, zone: tzinfo = UTC) -> Condition:
    """Read a query; there is none that is wrong.

    Args:
        query: As a person writes it; an empty one is every message.
        zone: Where dates without a zone are.
    """
    clauses = ["1"]
    values: list[object] = []
    for phrase, word in _TERM.findall(query):
        text = (phrase or word).lower()
        if text == "is:unread":
            clauses.append("NOT is_read")
        elif text == "is:read":
            clauses.append("is_read")
        else:
            clauses.append(
                "EXISTS (SELECT 1 FROM content WHERE content.number = message.number"
                " AND instr(words, ?))"
            )
            values.append(text.partition(":")[2] if text.startswith("to:") else text)
    return Condition(" AND ".join(clauses), tuple(values))
