"""What to search for: a query as people write it. What it is to SQLite stands in condition.py.

All terms of a query have to match; `-` or `!` before one means that it must not.

| term | finds |
| --- | --- |
| `word` `"a phrase"` | that, in the subject, addresses, file names and text |
| `from:` `to:` `cc:` `bcc:` `reply-to:` | that, in a name or address; `to:<ann@x.org>` all of it |
| `addressed:` | that, in any of those |
| `subject:` `message-id:` | that, there |
| `header:NAME` `header:NAME=text` `x-name:text` | messages with that header, and with that in it |
| `tag:name` | that tag, whole |
| `is:read` `is:unread` `is:tagged` `has:attachment` `has:inline` | |
| `before:2026-05-31` `after:"2026-05-31 18:00"` | what arrived then |
| `larger:10k` `smaller:1.5M` | |

A text matches wherever it is, also inside of a word; capitals make no difference. No query is
wrong: what cannot be read as a date or a size, or has another name before its colon, is text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime

from pillarbox.catcher.words import fold, storable

__all__ = ["ANYWHERE", "Header", "Query", "State", "Tag", "Term", "Text", "parse_query"]

_TERM = re.compile(
    r"""([-!]?+)(?:(header:[^\s="]++=|[a-z][a-z0-9_-]*+:)?+"([^"]*+)"?|(\S++))""", re.I
)

# Where a text is looked for, by the name in a query. The names are those of `Words`.
ANYWHERE = ("subject", "from_", "to_", "cc", "bcc", "reply_to", "others", "body")
_PLACES = {
    "from": ("from_",),
    "to": ("to_",),
    "cc": ("cc",),
    "bcc": ("bcc",),
    "reply-to": ("reply_to",),
    "addressed": ("from_", "to_", "cc", "bcc", "reply_to"),
    "subject": ("subject",),
    "message-id": ("message_id",),
}
_STATES = {
    "is:read": "is_read",
    "is:unread": "NOT is_read",
    "is:tagged": "number IN (SELECT number FROM tag)",
    "has:attachment": "attachments > 0",
    "has:attachments": "attachments > 0",
    "has:inline": "inlines > 0",
    "has:inlines": "inlines > 0",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A text, somewhere in one of some places."""

    text: str
    places: tuple[str, ...] = ANYWHERE
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a name, with a text in its value."""

    name: str
    text: str
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag."""

    name: str
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a message beside its text: SQL about a row of `message`."""

    sql: str
    values: tuple[int, ...] = ()
    is_negated: bool = False


Term = Text | Header | Tag | State


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was read. Without terms it is every message."""

    terms: tuple[Term, ...] = ()

    @property
    def is_of_text(self) -> bool:
        """Whether texts have to be looked at, so that it is worth to do it once only."""
        return any(isinstance(term, Text | Header) for term in self.terms)


def parse_query(query: str, *, zone: tzinfo = UTC) -> Query:
    """Read a query.

    Args:
        query: As a person writes it.
        zone: Where dates are that name no zone.
    """
    terms: list[Term] = []
    for sign, name, phrase, word in _TERM.findall(query):
        is_negated = bool(sign)
        if word:
            name, text = _split(word)
        else:
            text = phrase
        term = _term(name.lower(), text, is_negated, zone)
        if term is None:  # not what the name wants
            term = Text(fold(name + text), is_negated=is_negated)
        if not isinstance(term, Text | Tag) or (term.text if isinstance(term, Text) else term.name):
            terms.append(term)
    return Query(tuple(terms))


# Terms


def _split(word: str) -> tuple[str, str]:
    """Part a name from what it is of; the name keeps its colon, and is empty without one."""
    name, colon, text = word.partition(":")
    return (name + colon, text) if colon and name else ("", word)


def _term(name: str, text: str, is_negated: bool, zone: tzinfo) -> Term | None:
    """Give what a term means; `None` for one that is no more than text."""
    key = name.rstrip(":")
    if not name:
        return Text(fold(text), is_negated=is_negated)
    if key in _PLACES:
        return Text(fold(text), _PLACES[key], is_negated)
    if key == "header" or name.startswith("header:") or key.startswith("x-"):
        return _header(name, text, is_negated)
    if key == "tag":
        return Tag(storable(" ".join(text.split())), is_negated)
    if key in ("is", "has"):
        sql = _STATES.get(name + text.lower())
        return None if sql is None else State(sql, is_negated=is_negated)
    read = _MEASURES.get(key)
    if read is None:
        return None
    if not text.strip():
        return Text("")
    sql, measure = read
    value = measure(text.strip(), zone)
    return None if value is None else State(sql, (value,), is_negated)


def _header(name: str, text: str, is_negated: bool) -> Term:
    if name == "header:":
        name, _, text = text.partition("=")
    name = fold(name.removeprefix("header:").rstrip(":="))
    return Header(name, fold(text), is_negated) if name else Text("")


def _strptime(form: str, text: str) -> datetime:
    return datetime.strptime(text, form)


_DAY_FORMATS = ("%d.%m.%Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%m/%d/%Y")
_READERS: tuple[Callable[[str], datetime], ...] = (
    datetime.fromisoformat,
    parsedate_to_datetime,
    *(functools.partial(_strptime, form) for form in _DAY_FORMATS),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(text: str, zone: tzinfo) -> int | None:
    """Read a date, with a time or without; `None` if it is none."""
    for candidate in (text, text.replace("/", "-"), text.replace(",", " ")):
        for read in _READERS:
            try:
                found = read(" ".join(candidate.split()))
                if found.tzinfo is None:
                    found = found.replace(tzinfo=zone)
                return (found - _EPOCH) // timedelta(microseconds=1)
            except (ValueError, OverflowError, TypeError, IndexError):
                continue
    return None


_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(?:([km])b?)?", re.IGNORECASE)


def _octets(text: str, _zone: tzinfo) -> int | None:
    """Read a size, such as 100, 10k or 1.5MB; `None` if it is none."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    unit = {"k": 1 << 10, "m": 1 << 20}.get((found[2] or "").lower(), 1)
    return int(float(found[1]) * unit)


_MEASURES: dict[str, tuple[str, Callable[[str, tzinfo], int | None]]] = {
    "before": ("time < ?", _microseconds),
    "after": ("time >= ?", _microseconds),
    "larger": ("size > ?", _octets),
    "smaller": ("size < ?", _octets),
}
