"""A message as a person wants to see it: MIME octets in, a frozen value out (RFC 5322, RFC 2045).

`parse_message()` always has an answer, and no part is ever missing from it. The standard library's
`email` finds headers and parts (tree.py); header.py and content.py read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from pillarbox.catcher.content import decode_charset, decode_transfer
from pillarbox.catcher.header import Address, addresses, date, decode_words, parameters, unfold
from pillarbox.catcher.html import text_of_html
from pillarbox.catcher.quick import Piece
from pillarbox.catcher.tree import Node, parse_tree

__all__ = ["Address", "Content", "ParsedMessage", "Part", "Role", "parse_message"]

SNIPPET_CHARACTERS = 200


class Role(Enum):
    """What a part is to the reader."""

    TEXT = "text"
    HTML = "html"
    INLINE = "inline"
    """Shown inside the text, such as a picture; has a file name or Content-ID as a rule."""
    ATTACHMENT = "attachment"


class Content:
    """The octets of a part, decoded when somebody asks for them.

    To take a message in, nobody has to decode its attachments.

    Args:
        node: Where the part is.
        encoding: Its transfer encoding.
    """

    __slots__ = ("_encoding", "_node", "_octets")

    def __init__(self, node: Node | Piece, encoding: str) -> None:
        self._node: Node | Piece | None = node
        self._encoding = encoding
        self._octets = b""

    @property
    def octets(self) -> bytes:
        """The content with its transfer encoding undone."""
        node = self._node
        if node is not None:
            self._octets = decode_transfer(node.octets, self._encoding)
            self._node = None
        return self._octets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.octets == other.octets

    __hash__ = None  # type: ignore[assignment]  # as lists have none: it may be large


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that has no parts itself. A message inside of a message is one.

    Attributes:
        id: Where it stands: `2.1` is the first part of the second one (RFC 3501 §6.4.5).
        role: What it is to the reader.
        content_type: In small letters, without parameters.
        charset: What the part says of its text, if anything.
        file_name: As the sender wrote it, `None` without; no name to write a file by.
        content_id: Without the angle brackets.
        content: Gives the octets.
    """

    id: str
    role: Role
    content_type: str
    charset: str | None = None
    file_name: str | None = None
    content_id: str | None = None
    content: Content = field(repr=False)

    @property
    def octets(self) -> bytes:
        """The content with its transfer encoding undone."""
        return self.content.octets

    @property
    def size(self) -> int:
        """How many octets the content has."""
        return len(self.octets)

    @property
    def text(self) -> str:
        r"""The content as text, with lines that end in `\n`."""
        return decode_charset(self.octets, self.charset).replace("\r\n", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """What is in a message.

    Attributes:
        size: The octets of the whole.
        headers: Every header's name and decoded value, in their order.
        from_: The authors.
        to: The recipients that the message names.
        cc: Those of a copy.
        bcc: The envelope's recipients that no header names.
        reply_to: Where answers should go.
        subject: `None` without.
        message_id: Without the angle brackets.
        text: The plain text; `None` if there is none.
        html: The HTML as it came, fit for no page; `None` if there is none.
        parts: Every part that has content of its own, in their order.
    """

    size: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    from_: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str | None
    message_id: str | None
    text: str | None = field(repr=False)
    html: str | None = field(repr=False)
    parts: tuple[Part, ...]

    @property
    def attachments(self) -> tuple[Part, ...]:
        """The parts to open by themselves."""
        return tuple(part for part in self.parts if part.role is Role.ATTACHMENT)

    @property
    def inline(self) -> tuple[Part, ...]:
        """The parts that the HTML refers to."""
        return tuple(part for part in self.parts if part.role is Role.INLINE)

    @property
    def snippet(self) -> str:
        """The beginning of the text, on one line."""
        text = (self.text or "")[: 20 * SNIPPET_CHARACTERS]
        if not text.strip():
            text = text_of_html((self.html or "")[: 200 * SNIPPET_CHARACTERS])
        return " ".join(text.split())[:SNIPPET_CHARACTERS]

    @property
    def date(self) -> datetime | None:
        """When it says it was written."""
        return date(self.header("date") or "")

    def header(self, name: str) -> str | None:
        """Give the first header of a name, in whatever case it is written."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)


def parse_message(octets: bytes, *, rcpt_tos: Sequence[str] = ()) -> ParsedMessage:
    """Take a message apart, however broken it is.

    Args:
        octets: The message as it came.
        rcpt_tos: The envelope's recipients, to find those that no header names.
    """
    root = parse_tree(octets)
    raw = [(name, unfold(value)) for name, value in root.raw_items()]
    named: dict[str, list[str]] = {}
    for name, value in raw:
        named.setdefault(name.lower(), []).append(value)

    def first(name: str) -> str | None:
        return named[name][0] if name in named else None

    def mailboxes(name: str) -> tuple[Address, ...]:
        # Two of a kind break RFC 5322 §3.6; what both say is worth seeing.
        return addresses(", ".join(named.get(name, ())))

    to, cc, bcc = mailboxes("to"), mailboxes("cc"), mailboxes("bcc")
    known = {address.address.lower() for address in (*to, *cc, *bcc)}
    unnamed = dict.fromkeys(rcpt for rcpt in rcpt_tos if rcpt.lower() not in known)
    subject, message_id = first("subject"), first("message-id")
    parts = tuple(_parts(root, ""))
    return ParsedMessage(
        size=len(octets),
        headers=tuple((name, decode_words(value)) for name, value in raw),
        from_=mailboxes("from"),
        to=to,
        cc=cc,
        bcc=bcc + tuple(Address("", rcpt) for rcpt in unnamed),
        reply_to=mailboxes("reply-to"),
        subject=None if subject is None else decode_words(subject),
        message_id=_without_brackets(message_id),
        text=_joined(parts, Role.TEXT),
        html=_joined(parts, Role.HTML),
        parts=parts,
    )


# The parts of a tree


def _parts(node: Node | Piece, place: str) -> Iterator[Part]:
    """Give the parts below a node, in their order."""
    children: Sequence[Node | Piece] = node.children
    if children:
        for number, child in enumerate(children, 1):
            yield from _parts(child, f"{place}.{number}" if place else f"{number}")
        return
    content_type, about = node.type
    encoding = ""
    if not content_type.startswith("multipart/"):  # RFC 2045 §6.4: those are not encoded
        encoding = node.first("content-transfer-encoding")
    disposition, about_disposition = parameters(node.first("content-disposition"))
    file_name = about_disposition.get("filename") or about.get("name") or None
    content_id = _without_brackets(node.first("content-id"))
    role = _role(
        content_type,
        disposition,
        is_named=bool(file_name),
        is_root=not place,
        has_id=bool(content_id),
    )
    yield Part(
        id=place or "1",
        role=role,
        content_type=content_type,
        charset=about.get("charset"),
        file_name=file_name,
        content_id=content_id,
        content=Content(node, encoding),
    )


def _joined(parts: Sequence[Part], role: Role) -> str | None:
    texts = [part.text for part in parts if part.role is role]
    if len(texts) < 2:
        return texts[0] if texts else None
    return "\n\n".join(text.rstrip("\n") for text in texts if text.strip()) + "\n"


def _role(
    content_type: str, disposition: str, *, is_named: bool, is_root: bool, has_id: bool
) -> Role:
    """Tell what a part is to the reader (RFC 2183 §2)."""
    if disposition != "attachment" and not is_named:
        if content_type == "text/html":
            return Role.HTML
        # A multipart without parts is text with boundaries in it.
        if content_type == "text/plain" or content_type.startswith("multipart/"):
            return Role.TEXT
        # RFC 2046 §4.1.4: text of a kind that we do not know is still text.
        if is_root and content_type.startswith("text/"):
            return Role.TEXT
    if disposition == "inline" or (has_id and disposition != "attachment"):
        return Role.INLINE
    return Role.ATTACHMENT


def _without_brackets(text: str | None) -> str | None:
    """Take an id out of its angle brackets (RFC 5322 §3.6.4)."""
    text = (text or "").strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    return text or None
