"""Whether the links of a mail answer. How they are asked, and which are not: internet.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pillarbox.catcher.finding import links_of
from pillarbox.catcher.html import MARKUP, attribute
from pillarbox.catcher.message import ParsedMessage
from pillarbox.catcher.web.internet import Answer, Asker

__all__ = ["CheckedLink", "check_links", "checkable_links"]

MAX_LINKS = 200
AT_ONCE = 8

# What else of HTML names something to be fetched.
_SOURCES = {
    "img": ("src",),
    "link": ("href",),
    "table": ("background",),
    "td": ("background",),
    "body": ("background",),
}


@dataclass(frozen=True, slots=True)
class CheckedLink:
    """A link, and what asking it came to."""

    url: str
    answer: Answer

    @property
    def is_error(self) -> bool:
        """Whether it does not lead anywhere."""
        return not 0 < self.answer.status_code < 400


def checkable_links(message: ParsedMessage) -> list[str]:
    """List what a mail links to and loads, each once, the first of them."""
    urls = [link.url for link in links_of(message)]
    for tag in MARKUP.finditer(message.html or ""):
        for name in _SOURCES.get((tag["name"] or "").lower(), ()):
            urls.append(attribute(tag["attributes"] or "", name).strip())
    wanted = (url for url in urls if url[:8].lower().startswith(("http://", "https://")))
    return list(dict.fromkeys(wanted))[:MAX_LINKS]


async def check_links(
    message: ParsedMessage, asker: Asker, *, follows: bool = False
) -> list[CheckedLink]:
    """Ask all links of a mail, some at a time.

    Args:
        message: The mail.
        asker: How.
        follows: Whether to go where a redirect leads.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def check(url: str) -> CheckedLink:
        async with places:
            return CheckedLink(url, await asker.ask(url, follows=follows))

    return list(await asyncio.gather(*map(check, checkable_links(message))))
