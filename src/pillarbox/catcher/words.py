"""What a search looks at: the text of a message, folded so that the same looks the same.

Both sides are folded by `fold()`: capitals, the forms of a character, and how lines were broken
make no difference. A search then finds any piece of a text, as `in` does.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields

from pillarbox.catcher.header import Address
from pillarbox.catcher.message import ParsedMessage

__all__ = ["Words", "fold", "storable", "words_of"]

# What is longer is no text that somebody wrote.
MAX_CHARACTERS = 4_000_000

_SURROGATE = re.compile("[\ud800-\udfff]")

# Each takes what it can in one pass, whatever is missing.
_UNREAD = re.compile(
    r"<!--.*?(?:-->|\Z)|<(style|script|template)(?=[\s>/]).*?(?:</\1\s*+>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# They stand inside of words, as all others do not.
_INLINE = re.compile(
    r"</?(?:a|b|big|em|font|i|mark|s|small|span|strong|sub|sup|u|wbr)(?:[\s/][^<>]*+)?>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*+>?")
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")


@dataclass(frozen=True, slots=True)
class Words:
    """The folded texts of a message, one for each place that a search may name.

    Attributes:
        subject: The subject.
        from_: The authors, as `Name <address>`, as all addresses here.
        to_: The recipients that the message names.
        cc: Those of a copy.
        bcc: The envelope's recipients that no header names.
        reply_to: Where answers should go.
        message_id: What the message calls itself.
        others: The envelope's sender and the names of files.
        body: The text, and that of the HTML.
        headers: All headers, each as a line `name: value`, with a line break before and after.
    """

    subject: str
    from_: str
    to_: str
    cc: str
    bcc: str
    reply_to: str
    message_id: str
    others: str
    body: str
    headers: str


PLACES = tuple(field.name for field in fields(Words))


def fold(text: str) -> str:
    """Give a text the form in which it is compared."""
    if text.isascii():
        text = text.lower()
    else:
        # Decomposed and composed are one character to whoever reads; folding can part them again.
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        text = storable(text)
    return " ".join(text.replace("\0", " ").split())


def storable(text: str) -> str:
    """Give a text without lone surrogates, which no file takes."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def words_of(message: ParsedMessage, *, mail_from: str) -> Words:
    """Give what a search looks at in a message."""
    body = fold((message.text or "")[:MAX_CHARACTERS])
    if message.html:
        text = fold(_text(message.html[:MAX_CHARACTERS]))
        if text != body:
            body = f"{body}\n{text}"
    names = [part.file_name for part in message.parts if part.file_name]
    return Words(
        subject=fold(message.subject or ""),
        from_=_addresses(message.from_),
        to_=_addresses(message.to),
        cc=_addresses(message.cc),
        bcc=_addresses(message.bcc),
        reply_to=_addresses(message.reply_to),
        message_id=fold(message.message_id or ""),
        others="\n".join([f"<{fold(mail_from)}>", *map(fold, names)]),
        body=body,
        headers=_fold_lines(f"{name}: {value}" for name, value in message.headers),
    )


def _fold_lines(lines: Iterable[str]) -> str:
    """Fold lines, each by itself; there is a line break before and behind each."""
    text = "\n".join(["", *lines, ""])
    is_plain = text.isascii() and text.replace("\n", "").isprintable()
    if is_plain and not any(blanks in text for blanks in ("  ", " \n", "\n ")):
        return text.lower()  # as all but a few are
    return "\n".join(map(fold, text.split("\n")))


def _addresses(addresses: tuple[Address, ...]) -> str:
    return fold(", ".join(f"{one.name} <{one.address}>" for one in addresses))


def _text(source: str) -> str:
    """Give the words of HTML. html.py makes text to read, at ten times the cost."""
    source = _TAG.sub(" ", _INLINE.sub("", _UNREAD.sub(" ", source)))
    return html.unescape(_LONG_NUMBER.sub("\ufffd", source)) if "&" in source else source
