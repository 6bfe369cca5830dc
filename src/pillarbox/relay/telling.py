"""What a relay does, told to programs: each attempt as JSON, for the log and for webhooks.

The values are event.py's. Who is told by HTTP: webhook.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pillarbox.relay.event import Attempted

__all__ = ["EventLog", "event_fields", "rfc3339"]

log = logging.getLogger("pillarbox")


def rfc3339(seconds: float) -> str:
    """Write a time of the calendar, in UTC: `2026-05-01T12:00:00.123Z`."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def event_fields(event: Attempted) -> Mapping[str, Any]:
    """Give an attempt as what JSON has words for."""
    return {
        "event": "attempt",
        "id": event.id,
        "mail_from": event.mail_from,
        "size": event.size,
        "created": rfc3339(event.created),
        "destination": event.destination,
        "server": event.server,
        "began": rfc3339(event.began),
        "seconds": round(event.seconds, 3),
        "recipients": [
            {
                "address": one.address,
                "result": one.result.value,
                "reply": one.reply,
                "attempts": one.attempts,
                "next_attempt": None if one.next_attempt is None else rfc3339(one.next_attempt),
                "expired": one.is_expired,
                "in_doubt": one.is_in_doubt,
            }
            for one in event.recipients
        ],
    }


class EventLog:
    """Logs each attempt with its fields, for who reads the log by a program."""

    def __call__(self, event: Attempted) -> None:
        """Log one."""
        log.info("attempt", extra={"fields": event_fields(event)})
