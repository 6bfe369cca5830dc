"""Tags: what may be one, and which a message asks for.

A message asks by a header `X-Tags: first, second` and by recipients such as `ann+first@example.org`
(RFC 5233 calls it a subaddress). The rules are those of Mailpit, of whose clients some check them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pillarbox.catcher.message import ParsedMessage

__all__ = ["checked_tags", "tags_of"]

MAX_TAG_CHARACTERS = 100
# A message of a million tags is no use to anybody.
MAX_TAGS = 100

_INVALID = re.compile(r"[^\w .@-]+")


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Check tags that somebody wants to set; give each once, without blanks around.

    Raises:
        ValueError: One has characters that no tag may have, or too many.
    """
    found: dict[str, str] = {}
    for given in tags:
        tag = " ".join(given.split())
        if not tag:
            continue
        if _INVALID.search(tag) or len(tag) > MAX_TAG_CHARACTERS:
            raise ValueError(
                f"{tag[:MAX_TAG_CHARACTERS]!r} cannot be a tag; write letters, digits, blanks and"
                f" - _ . @, {MAX_TAG_CHARACTERS} at most"
            )
        found.setdefault(tag.lower(), tag)
    return list(found.values())


def tags_of(message: ParsedMessage) -> list[str]:
    """Give the tags that a message asks for; what no tag may have becomes a blank."""
    asked = [
        tag
        for name, value in message.headers
        if name.lower() == "x-tags"
        for tag in value.split(",", MAX_TAGS)[:MAX_TAGS]
    ]
    for address in (*message.from_, *message.to, *message.cc, *message.bcc):
        if "+" in address.address:
            local_part = address.address.rpartition("@")[0]
            asked += local_part.split("+", MAX_TAGS)[1 : MAX_TAGS + 1]
    if not asked:
        return []
    return checked_tags(_INVALID.sub(" ", tag)[:MAX_TAG_CHARACTERS] for tag in asked[:MAX_TAGS])
