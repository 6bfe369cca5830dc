"""What a query is to SQLite. What it is to people stands in search.py.

In memory there are the texts, and each is looked at. A file has indexes (schema.py), each of which
gives the numbers of the messages that have something: pieces of three characters and more come from
`found`, shorter ones from `short`, headers from `header`. What is not in them yet, or too long for
them, stands in `backlog` (index.py), and is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pillarbox.catcher.index import ASIDE, IS_GONE, aside
from pillarbox.catcher.search import Header, Query, State, Tag, Term, Text

__all__ = ["Condition", "condition_of", "header_has", "numbers_of"]

# `found` is of three characters each. Where all messages have a text, each of its characters takes
# FTS5 another 6 milliseconds among 100,000; to look at all values of a header takes it 20.
MIN_FOUND_CHARACTERS = 3
MAX_FOUND_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Condition:
    """What a message has to be, or a part of what gives its number: SQL."""

    sql: str
    values: tuple[object, ...] = ()


_ANYTHING = Condition("1")


def condition_of(query: Query, scope: str | None, *, is_indexed: bool) -> Condition:
    """Give what a row of `message` has to be.

    Args:
        query: What to find.
        scope: In which named mailbox, or `None`.
        is_indexed: Whether there is an index to look into. For a message or a few it is cheaper to
            look at their texts.
    """
    if not is_indexed:
        return _all([*_in_scope(scope), *map(_looked_at, query.terms)])
    sources, rest = _parted(query, scope)
    return _all([*(_is_among("number", one) for one in sources), rest])


def numbers_of(query: Query, scope: str | None, *, is_indexed: bool) -> list[Condition]:
    """Give SELECTs of the numbers of messages, for when all of them are wanted.

    A number may come twice, and of deleted messages as well, as long as they stand in `backlog`.
    What an index does not have yet has a SELECT of its own, which looks at all of its texts: to
    ask another index for those few takes as long as to ask it for all.
    """
    sources, rest = _parted(query, scope) if is_indexed else ([], None)
    if rest is None or not sources:
        whole = condition_of(query, scope, is_indexed=is_indexed)
        return [Condition(f"SELECT number FROM message WHERE {whole.sql}", whole.values)]
    # To look into `message` takes as long as all else, so it is done only where it has to be.
    message = ""
    if any(isinstance(term, State) for term in query.terms):
        message = " CROSS JOIN message USING (number)"
    indexed, _ = sources[0]
    waiting = _all([*_in_scope(scope), *map(_looked_at, query.terms)])
    return [
        Condition(
            f"SELECT number FROM ({indexed.sql}){message} WHERE {rest.sql}",
            (*indexed.values, *rest.values),
        ),
        Condition(
            "SELECT number FROM backlog CROSS JOIN message USING (number)"
            f" WHERE work <> {IS_GONE} AND {waiting.sql}",
            waiting.values,
        ),
    ]


_Halves = tuple[Condition, Condition]
"""SELECTs of numbers: what an index has, and what is not in it yet."""


def _parted(query: Query, scope: str | None) -> tuple[list[_Halves], Condition]:
    """Part a query: what an index gives, if there is such a term, and what has to be besides.

    The one index is asked for all of its terms at once, and the more telling one first.
    """
    groups: dict[str, list[Text | Header]] = {"found": [], "short": [], "header": []}
    for term in query.terms:
        if isinstance(term, Text | Header) and not term.is_negated:
            groups[_table(term)].append(term)
    sources = [_numbers(groups[table]) for table in ("found", "short") if groups[table]]
    sources += [_numbers([term]) for term in groups["header"]]
    # Without the plus FTS5 is asked for each number by itself, which takes seconds.
    number = "+number" if sources else "number"
    rest = _in_scope(scope, number)
    rest += [_is_among(number, one) for one in sources[1:]]
    for term in query.terms:
        if isinstance(term, State):
            rest.append(_signed(Condition(f"({term.sql})", term.values), term))
        elif isinstance(term, Tag):
            rest.append(_signed(_tagged(term, number), term))
        elif term.is_negated:
            rest.append(_is_among("+number NOT", _numbers([term])))
    return sources[:1], _all(rest)


def _table(term: Text | Header) -> str:
    if isinstance(term, Header):
        return "header"
    if len(term.text) > MAX_FOUND_CHARACTERS and set(ASIDE).issuperset(term.places):
        return "header"
    return "found" if len(term.text) >= MIN_FOUND_CHARACTERS else "short"


def _is_among(number: str, halves: _Halves) -> Condition:
    indexed, waiting = halves
    return Condition(
        f"{number} IN ({indexed.sql} UNION ALL {waiting.sql})", (*indexed.values, *waiting.values)
    )


def _numbers(terms: Sequence[Text | Header]) -> _Halves:
    """Give the messages that have all of some texts; a number may come twice."""
    table = _table(terms[0])
    if table == "header":
        (term,) = terms
        names = [aside(place) for place in term.places] if isinstance(term, Text) else [term.name]
        indexed = Condition(
            f"SELECT number FROM header WHERE name IN ({', '.join('?' * len(names))})"
            " AND instr(value, ?)",
            (*names, term.text),
        )
    else:
        match = " AND ".join(
            f'{{{" ".join(term.places)}}} : "{term.text.replace(chr(34), 2 * chr(34))}"'
            for term in terms
            if isinstance(term, Text)
        )
        indexed = Condition(f"SELECT rowid AS number FROM {table} WHERE {table} MATCH ?", (match,))
    scan = _all(map(_scan, terms))
    waiting = Condition(
        "SELECT words.number AS number FROM backlog CROSS JOIN words"
        f" ON words.number = backlog.number AND work <> {IS_GONE} AND {scan.sql}",
        scan.values,
    )
    return indexed, waiting


def _looked_at(term: Term) -> Condition:
    """Give what a row of `message` has to be, by its texts."""
    match term:
        case State():
            condition = Condition(f"({term.sql})", term.values)
        case Tag():
            condition = _tagged(term)
        case _:
            scan = _scan(term)
            condition = Condition(
                f"EXISTS (SELECT 1 FROM words WHERE words.number = message.number AND {scan.sql})",
                scan.values,
            )
    return _signed(condition, term)


def _scan(term: Text | Header) -> Condition:
    """Give what a row of `words` has to be."""
    if isinstance(term, Header):
        name = f"\n{term.name}: "
        return Condition(
            "(instr(words.headers, ?) AND header_has(words.headers, ?, ?))", (name, name, term.text)
        )
    # No text has a line break in it, so that none is found across two places.
    joined = " || char(10) || ".join(f"words.{place}" for place in term.places)
    return Condition(f"instr({joined}, ?)", (term.text,))


def _tagged(term: Tag, number: str = "number") -> Condition:
    return Condition(f"{number} IN (SELECT number FROM tag WHERE name = ?)", (term.name,))


def _in_scope(scope: str | None, number: str = "number") -> list[Condition]:
    if scope is None:
        return []
    return [Condition(f"{number} IN (SELECT number FROM place WHERE mailbox = ?)", (scope,))]


def _signed(condition: Condition, term: Term) -> Condition:
    return Condition(f"NOT {condition.sql}", condition.values) if term.is_negated else condition


def _all(conditions: Iterable[Condition]) -> Condition:
    every = list(conditions)
    return Condition(
        " AND ".join(condition.sql for condition in every) or _ANYTHING.sql,
        tuple(value for condition in every for value in condition.values),
    )


def header_has(headers: str, name: str, text: str) -> bool:
    r"""Tell whether a header has a text in its value; SQLite asks this (database.py).

    Args:
        headers: All of them, as `Words.headers` has them.
        name: The name as `\nname: `.
        text: What to find.
    """
    at = headers.find(name)
    while at >= 0:
        start = at + len(name)
        end = headers.find("\n", start)
        if text in headers[start : end if end >= 0 else None]:
            return True
        at = headers.find(name, start - 1)
    return False
