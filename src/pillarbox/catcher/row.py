"""A message as the rows of the store, and back.

Everything that is read out of a message when it comes in is read here, in one place: the rest waits
until somebody looks at it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.header import Address
from pillarbox.catcher.message import Role
from pillarbox.catcher.summary import Summary
from pillarbox.catcher.tags import checked_tags, tags_of
from pillarbox.catcher.words import Words, storable, words_of

__all__ = ["Row", "arrival_of", "microseconds", "row_of", "summaries_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the tables have it."""

    summary: Summary
    message: tuple[object, ...]
    content: tuple[str, str, str]
    words: Words
    octets: bytes


_dump = json.JSONEncoder(separators=(",", ":")).encode


def row_of(arrival: Arrival) -> Row:
    """Read out of a message what the store keeps beside it."""
    message = arrival.parse()
    roles = [part.role for part in message.parts]
    time = microseconds(arrival.time)
    summary = Summary(
        id=arrival.id,
        time=_EPOCH + time * _MICROSECOND,
        message_id=message.message_id or "",
        is_read=False,
        from_=message.from_[0] if message.from_ else None,
        to=message.to,
        cc=message.cc,
        bcc=message.bcc,
        reply_to=message.reply_to,
        subject=message.subject or "",
        snippet=message.snippet,
        size=len(arrival.octets),
        attachments=roles.count(Role.ATTACHMENT),
        inlines=roles.count(Role.INLINE),
        tags=_sorted(checked_tags([*arrival.tags, *tags_of(message)])),
        identity=arrival.identity,
        mailboxes=tuple(sorted(set(map(storable, arrival.mailboxes)))),
    )
    kept = [
        summary.message_id,
        None if summary.from_ is None else _pair(summary.from_),
        [_pair(one) for one in summary.to],
        [_pair(one) for one in summary.cc],
        [_pair(one) for one in summary.bcc],
        [_pair(one) for one in summary.reply_to],
        summary.subject,
        summary.snippet,
        summary.identity,
    ]
    envelope = {
        "mail_from": arrival.mail_from,
        "rcpt_tos": arrival.rcpt_tos,
        "peer": arrival.peer,
        "helo": arrival.helo,
        "tls": arrival.tls,
        "session_id": arrival.session_id,
        "local": arrival.local,
        "mail_parameters": dict(arrival.mail_parameters),
        "rcpt_parameters": [dict(parameters) for parameters in arrival.rcpt_parameters],
    }
    return Row(
        summary=summary,
        message=(arrival.id, time, summary.size, summary.attachments, summary.inlines),
        content=(_dump(kept), _dump(envelope), storable("\n".join(arrival.transcript))),
        words=words_of(message, mail_from=arrival.mail_from),
        octets=arrival.octets,
    )


def summaries_of(
    connection: sqlite3.Connection, numbers: str, values: Sequence[object]
) -> list[Summary]:
    """Give the summaries of some numbers, newest first."""
    rows = connection.execute(
        "SELECT id, time, is_read, size, attachments, inlines, summary,"
        " (SELECT json_group_array(name) FROM tag WHERE tag.number = message.number),"
        " (SELECT json_group_array(mailbox) FROM place WHERE place.number = message.number)"
        f" FROM message JOIN content USING (number) WHERE number IN ({numbers})"
        " ORDER BY time DESC, number DESC",
        values,
    )
    return [_summary(row) for row in rows]


def _summary(row: Sequence[Any]) -> Summary:
    id_, time, is_read, size, attachments, inlines, kept, tags, mailboxes = row
    message_id, from_, to, cc, bcc, reply_to, subject, snippet, identity = json.loads(kept)
    return Summary(
        id=id_,
        time=_EPOCH + time * _MICROSECOND,
        message_id=message_id,
        is_read=bool(is_read),
        from_=None if from_ is None else Address(*from_),
        to=tuple(Address(*one) for one in to),
        cc=tuple(Address(*one) for one in cc),
        bcc=tuple(Address(*one) for one in bcc),
        reply_to=tuple(Address(*one) for one in reply_to),
        subject=subject,
        snippet=snippet,
        size=size,
        attachments=attachments,
        inlines=inlines,
        tags=() if tags == "[]" else _sorted(json.loads(tags)),
        identity=identity,
        mailboxes=() if mailboxes == "[]" else tuple(sorted(json.loads(mailboxes))),
    )


def arrival_of(summary: Summary, envelope: str, transcript: str, octets: bytes) -> Arrival:
    """Put a message together again."""
    kept = json.loads(envelope)
    for name in ("peer", "local"):
        kept[name] = tuple(kept[name]) if isinstance(kept[name], list) else kept[name]
    for name in ("rcpt_tos", "rcpt_parameters"):
        kept[name] = tuple(kept[name])
    return Arrival(
        **kept,
        id=summary.id,
        time=summary.time,
        octets=octets,
        identity=summary.identity,
        mailboxes=summary.mailboxes,
        transcript=tuple(transcript.split("\n")) if transcript else (),
        tags=summary.tags,
    )


def microseconds(time: datetime) -> int:
    """Give a time as the tables have it."""
    return (time - _EPOCH) // _MICROSECOND


def _pair(address: Address) -> tuple[str, str]:
    return address.name, address.address


def _sorted(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(tags, key=str.lower))
