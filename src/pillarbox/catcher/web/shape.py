"""Our values in the shape that Mailpit's API gives them: its keys and no other, in its letters.

Strict clients fail on a key that they do not know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pillarbox.catcher.header import Address
from pillarbox.catcher.message import ParsedMessage, Part
from pillarbox.catcher.summary import Page, Stored, Summary
from pillarbox.catcher.unsubscribe import list_unsubscribe

__all__ = ["header_shape", "message_shape", "page_shape", "summary_shape", "time_shape"]


def time_shape(time: datetime) -> str:
    """Write a time as RFC 3339 has it."""
    text = time.isoformat(timespec="microseconds" if time.microsecond else "seconds")
    return text.removesuffix("+00:00") + "Z" if time.utcoffset() == UTC.utcoffset(None) else text


def summary_shape(summary: Summary) -> dict[str, Any]:
    """Give a line of a list."""
    return {
        "ID": summary.id,
        "MessageID": summary.message_id,
        "Read": summary.is_read,
        "From": None if summary.from_ is None else _address(summary.from_),
        "To": _addresses(summary.to),
        "Cc": _addresses(summary.cc),
        "Bcc": _addresses(summary.bcc),
        "ReplyTo": _addresses(summary.reply_to),
        "Subject": summary.subject,
        "Created": time_shape(summary.time),
        "Username": summary.identity or "",
        "Tags": list(summary.tags),
        "Size": summary.size,
        "Attachments": summary.attachments,
        "Snippet": summary.snippet,
    }


def page_shape(page: Page) -> dict[str, Any]:
    """Give a piece of a list."""
    return {
        "total": page.mailbox.total,
        "unread": page.mailbox.unread,
        "count": len(page.summaries),
        "messages_count": page.found.total,
        "messages_unread": page.found.unread,
        "start": page.start,
        "tags": list(page.tags),
        "messages": [summary_shape(summary) for summary in page.summaries],
    }


def message_shape(stored: Stored, message: ParsedMessage) -> dict[str, Any]:
    """Give a whole message."""
    summary = stored.summary
    return {
        "ID": summary.id,
        "MessageID": message.message_id or "",
        "From": _address(message.from_[0]) if message.from_ else None,
        "To": _addresses(message.to),
        "Cc": _addresses(message.cc),
        "Bcc": _addresses(message.bcc),
        "ReplyTo": _addresses(message.reply_to),
        "ReturnPath": stored.arrival.mail_from,
        "Subject": message.subject or "",
        "ListUnsubscribe": _unsubscribe(message),
        "Date": time_shape(message.date or summary.time),
        "Tags": list(summary.tags),
        "Username": summary.identity or "",
        "Text": message.text or "",
        "HTML": message.html or "",
        "Size": summary.size,
        "Inline": [_part(part) for part in message.inline],
        "Attachments": [_part(part) for part in message.attachments],
    }


def header_shape(message: ParsedMessage) -> dict[str, list[str]]:
    """Give all headers, each name once as Go writes it: `Message-Id`, `X-Mailer`."""
    headers: dict[str, list[str]] = {}
    for name, value in message.headers:
        headers.setdefault(_canonical(name), []).append(value)
    return {name: headers[name] for name in sorted(headers)}


def _canonical(name: str) -> str:
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))


def _unsubscribe(message: ParsedMessage) -> dict[str, Any]:
    header = message.header("List-Unsubscribe") or ""
    found = list_unsubscribe(header)
    return {
        "Header": header,
        "Links": list(found.links),
        "Errors": found.errors,
        "HeaderPost": message.header("List-Unsubscribe-Post") or "",
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "PartID": part.id,
        "FileName": part.file_name or "",
        "ContentType": part.content_type,
        "ContentID": part.content_id or "",
        "Size": part.size,
        "Checksums": {
            "MD5": hashlib.md5(part.octets, usedforsecurity=False).hexdigest(),
            "SHA1": hashlib.sha1(part.octets, usedforsecurity=False).hexdigest(),
            "SHA256": hashlib.sha256(part.octets).hexdigest(),
        },
    }


def _address(address: Address) -> dict[str, str]:
    return {"Name": address.name, "Address": address.address}


def _addresses(addresses: Iterable[Address]) -> list[dict[str, str]]:
    return [_address(address) for address in addresses]
