"""Messages as JSON, one object a line, for `jq` and programs.

ASCII only, with no control character but the line's end: a terminal only shows it, and it is the
same in every locale.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pillarbox.catcher.arrival import Arrival
    from pillarbox.catcher.header import Address

__all__ = ["JSONLines"]


class JSONLines:
    """Renders each message as one line."""

    def render(self, arrival: Arrival) -> str:
        """Give the line of a message."""
        from pillarbox.catcher.message import Role

        message = arrival.parse()
        headers: dict[str, list[str]] = {}
        for name, value in message.headers:
            key = "-".join(word.capitalize() for word in name.split("-"))
            headers.setdefault(key, []).append(value)
        return _line(
            _envelope(arrival)
            | {
                "subject": message.subject,
                "from": _addresses(message.from_),
                "to": _addresses(message.to),
                "cc": _addresses(message.cc),
                "date": message.date and message.date.isoformat(),
                "message_id": message.message_id,
                "size": message.size,
                "text": message.text,
                "html": message.html,
                "attachments": [
                    {"name": part.file_name, "type": part.content_type, "size": part.size}
                    for part in message.parts
                    if part.role in (Role.INLINE, Role.ATTACHMENT)
                ],
                "headers": headers,
            }
        )

    def fallback(self, arrival: Arrival) -> str:
        """Give the line of a message that cannot be rendered: what is known of it without."""
        known = {"size": len(arrival.octets), "text": arrival.octets.decode("latin-1")}
        return _line(_envelope(arrival) | known)


def _envelope(arrival: Arrival) -> dict[str, Any]:
    # Names and forms are those of the files that --dump writes (pillarbox/dump.py).
    return {
        "id": arrival.id,
        "time": arrival.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "mail_from": arrival.mail_from,
        "rcpt_tos": arrival.rcpt_tos,
        "peer": arrival.peer,
        "helo": arrival.helo,
    }


def _addresses(addresses: tuple[Address, ...]) -> list[dict[str, str]]:
    return [{"name": address.name, "address": address.address} for address in addresses]


def _line(value: dict[str, Any]) -> str:
    # JSON lets DEL through.
    return json.dumps(value).replace("\x7f", "\\u007f") + "\n"
