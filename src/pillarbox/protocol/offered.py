"""What a server's EHLO keywords say of its limits and its logins, read with care.

A parameter that makes no sense is no limit. The keywords themselves: reply_parser.py.
"""

from __future__ import annotations

import re
from typing import Final

from pillarbox.protocol.reply_parser import Extensions

__all__ = ["max_messages", "max_recipients", "mechanisms_of", "size_limit"]

# RFC 1870 §3: a number of up to 20 digits.
MAX_SIZE_DIGITS: Final = 20

# RFC 9422 §4: up to six digits, and never 0.
_LIMIT = re.compile(r"([A-Za-z]+)=([1-9][0-9]{0,5})")


def size_limit(extensions: Extensions) -> int | None:
    """Read the largest message that the server takes (RFC 1870 §3); `None` is no limit known."""
    for limit in extensions.get("SIZE", ())[:1]:
        if limit.isascii() and limit.isdigit() and len(limit) <= MAX_SIZE_DIGITS:
            return int(limit) or None
    return None


def max_recipients(extensions: Extensions) -> int | None:
    """Read how many RCPT commands a message may have (RFC 9422 §4.2)."""
    return _limit(extensions, "RCPTMAX")


def max_messages(extensions: Extensions) -> int | None:
    """Read how many MAIL commands a session may have (RFC 9422 §4.1)."""
    return _limit(extensions, "MAILMAX")


def _limit(extensions: Extensions, name: str) -> int | None:
    for word in extensions.get("LIMITS", ()):
        found = _LIMIT.fullmatch(word)
        if found is not None and found[1].upper() == name:
            return int(found[2])
    return None


def mechanisms_of(extensions: Extensions) -> tuple[str, ...]:
    """Read the SASL mechanisms that the server offers (RFC 4954 §3), in capitals."""
    return tuple(name.upper() for name in extensions.get("AUTH", ()))
