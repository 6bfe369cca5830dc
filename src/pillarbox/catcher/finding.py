"""What a person looks for in a mail: links to follow, and one-time codes to type in.

`links_of()` is exact: what the HTML and the text point to. `codes_of()` is a good guess, best
first; a test that knows the form of its codes says so with a regular expression.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from pillarbox.catcher.html import MARKUP, attribute, text_of_html
from pillarbox.catcher.message import ParsedMessage

__all__ = ["Link", "codes_of", "links_of"]

# Mail is rarely longer; what is behind it is no code that anybody would find.
MAX_CHARACTERS = 200_000
MAX_LINK_CHARACTERS = 2_000

_TEXT_LINK = re.compile(r"""\bhttps?://[^\s<>"'`{}|\\^\x00-\x20]{1,4000}+""", re.IGNORECASE)
_TRAILING = ".,;:!?'\"*_~"
_PAIRS = {")": "(", "]": "["}
_BLANKS = re.compile(r"\s+")
_BREAKS = re.compile(r"[\t\r\n]")


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a mail.

    Attributes:
        url: Where it leads, as the mail has it.
        text: What it says in HTML; the address itself in plain text.
    """

    url: str
    text: str


def links_of(message: ParsedMessage) -> tuple[Link, ...]:
    """Find the links of a mail, each address once, those of the HTML first."""
    found: dict[str, Link] = {}
    for link in (*_links_of_html(message.html or ""), *_links_of_text(message.text or "")):
        found.setdefault(link.url, link)
    return tuple(found.values())


def _links_of_html(source: str) -> Iterator[Link]:
    url, start = "", 0
    for tag in MARKUP.finditer(source):
        name = (tag["name"] or "").lower()
        if name not in ("a", "area"):
            continue
        if url:
            said = text_of_html(source[start : tag.start()][:MAX_LINK_CHARACTERS])
            yield Link(url, _BLANKS.sub(" ", said).strip())
        url, start = "", tag.end()
        if not tag["close"]:
            # Browsers drop line breaks in an address.
            url = _BREAKS.sub("", attribute(tag["attributes"], "href")).strip()
    if url:
        yield Link(url, "")


def _links_of_text(text: str) -> Iterator[Link]:
    for found in _TEXT_LINK.finditer(text):
        url = found[0]
        while url:
            last = url[-1]
            opening = _PAIRS.get(last)
            # A bracket that the address itself opened belongs to it.
            is_open = opening is not None and url.count(last) > url.count(opening)
            if last not in _TRAILING and not is_open:
                break
            url = url[:-1]
        if url:
            yield Link(url, url)


# Codes

# "123456", "123 456", "123-456", "G-123456", "AB12-CD34", "X7K9QP".
_CODE = re.compile(
    r"(?<![\w.,:/@#$€£%+=&?-])"
    r"(?:[A-Z]{1,3}-)?"
    r"(?:(?P<digits>[0-9]{4,8}|[0-9]{3}[ -][0-9]{3}|[0-9]{4}[ -][0-9]{4})"
    r"|(?P<mixed>(?=[A-Z0-9-]*[0-9])(?=[A-Z0-9-]*[A-Z])[A-Z0-9]{4,8}(?:-[A-Z0-9]{4,8})?))"
    r"(?![\w@/%=&-]|[.,:][0-9])"
)
_HINT = re.compile(
    r"(?<![a-z])(?:codes?|codigo|código|codice|otp|pin|tan|one[- ]time|passcode|einmal\w*"
    r"|verif\w*|bestätig\w*|confirm\w*|token|2fa|two[- ]factor|login|log in|sign[- ]?in)(?![a-z])",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
# How far from such a word a code is still its own.
NEAR_CHARACTERS = 120


def codes_of(message: ParsedMessage) -> tuple[str, ...]:
    """Guess the one-time codes of a mail, the likeliest first, without blanks inside.

    A code stands alone on its line, or near a word such as "code" or "PIN"; prices, dates and
    numbers of orders rarely do.
    """
    scores: dict[str, float] = {}
    texts = [message.subject or "", message.text or ""]
    if message.html:
        texts.append(text_of_html(message.html[: 4 * MAX_CHARACTERS]))
    for text in texts:
        for code, score in _guesses(text[:MAX_CHARACTERS]):
            scores[code] = max(scores.get(code, 0), score)
    return tuple(sorted(scores, key=lambda code: -scores[code]))


def _guesses(text: str) -> Iterator[tuple[str, float]]:
    hints = [hint.span() for hint in _HINT.finditer(text)]
    starts = [start for start, _ in hints]
    for found in _CODE.finditer(text):
        start, end = found.span()
        at = bisect(starts, start)
        distances = [start - hints[at - 1][1]] if at else []
        distances += [starts[at] - end] if at < len(starts) else []
        is_near = bool(distances) and min(distances) < NEAR_CHARACTERS
        line_start = text.rfind("\n", 0, start) + 1
        line = text[line_start : text.find("\n", end) % (len(text) + 1)]
        is_alone = line.strip(" \t*_") == found[0]
        if not (is_near or is_alone) or (_YEAR.fullmatch(found[0]) and not is_alone):
            continue
        score = float(is_alone)
        if is_near:
            score += 2 - min(distances) / NEAR_CHARACTERS
        if found["digits"] and found[0][0].isdigit():
            code = found[0].replace(" ", "").replace("-", "")
            score += 0.5 * (len(code) == 6)
        else:
            code = found[0].replace(" ", "")
        yield code, score
