"""The header List-Unsubscribe: the links in it, and what is wrong with it (RFC 2369, RFC 8058)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Unsubscribe", "list_unsubscribe"]

_LINK = re.compile(r"<([^<>]*+)>")
_COMMENT = re.compile(r"\([^()]*+\)")
_MAILTO = re.compile(r"mailto:[A-Za-z0-9]", re.IGNORECASE)
_WEB = re.compile(r"https?://[A-Za-z0-9]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """What the header offers.

    Attributes:
        links: Where to unsubscribe: one address of mail and one of the web at most.
        errors: What is wrong, for a person to read; empty if nothing is.
    """

    links: tuple[str, ...] = ()
    errors: str = ""


def list_unsubscribe(header: str) -> Unsubscribe:
    """Read the header; an empty one offers nothing."""
    header = _COMMENT.sub("", header).strip()
    if not header:
        return Unsubscribe()
    candidates = _LINK.findall(header)
    if not candidates:
        return Unsubscribe(errors=f'"{header}" no valid unsubscribe links found')
    links: list[str] = []
    errors: list[str] = []
    if _LINK.sub("", header).replace(",", "").strip():
        errors.append(f'"{header}" has more than links in <>, with commas between them')
    for link in candidates:
        kind = _MAILTO if _MAILTO.match(link) else _WEB
        if re.search(r"\s", link):
            errors.append(f'"{link}" has a blank in it')
        elif not kind.match(link):
            errors.append(f'"{link}" is neither mailto: nor http(s):')
        elif any(kind.match(other) for other in links):
            errors.append(f'"{link}" is a second one of its kind')
        else:
            links.append(link)
    return Unsubscribe(tuple(links), ", ".join(errors))
