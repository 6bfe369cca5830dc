"""A message made of the parts that a call of the API names: text, HTML, attachments.

What writes it, the standard library's `email`, is loaded with the first one: it takes a megabyte.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from email.headerregistry import Address
    from email.message import EmailMessage

__all__ = ["Attachment", "Draft", "Person", "compose", "decode_base64"]

_ADDRESS = re.compile(r"[^\s<>()\[\],;:\\\"@\x00-\x1f\x7f]+@[^\s<>()\[\],;:\\\"@\x00-\x1f\x7f]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,76}", re.ASCII)
_TYPE = re.compile(r"([a-z0-9!#$&^_.+-]{1,64})/([a-z0-9!#$&^_.+-]{1,64})", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_OURS = frozenset(
    {"bcc", "cc", "content-type", "date", "from", "mime-version", "reply-to", "subject", "to"}
    | {"content-transfer-encoding", "content-disposition"}
)
# By how they begin, for whoever does not say what they are.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody: an address, and a name if there is one."""

    address: str
    name: str = ""

    def __post_init__(self) -> None:
        """Check the address: a line break in it would begin another header."""
        if not _ADDRESS.fullmatch(self.address):
            raise ValueError(
                f"{self.address[:100]!r} is no address; write one such as ann@example.org"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes along.

    Attributes:
        file_name: What it is called.
        octets: What is in it.
        content_type: What it is; empty to guess.
        content_id: By which the HTML shows it; empty for one to be opened by itself.
    """

    file_name: str
    octets: bytes = field(repr=False)
    content_type: str = ""
    content_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a message is to be made of."""

    from_: Person
    to: tuple[Person, ...] = ()
    cc: tuple[Person, ...] = ()
    bcc: tuple[Person, ...] = ()
    reply_to: tuple[Person, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def rcpt_tos(self) -> tuple[str, ...]:
        """Whom it goes to."""
        everybody = (*self.to, *self.cc, *self.bcc)
        return tuple(dict.fromkeys(one.address for one in everybody))


def compose(draft: Draft, time: datetime) -> bytes:
    """Make the message.

    Raises:
        ValueError: Something in it cannot be; the text says what.
    """
    from email.message import EmailMessage
    from email.policy import SMTP

    message = EmailMessage(policy=SMTP.clone(max_line_length=998, refold_source="none"))
    message["From"] = _written(draft.from_)
    for name, persons in (("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to)):
        if persons:
            message[name] = [_written(one) for one in persons]
    message["Subject"] = _line(draft.subject)
    message["Date"] = format_datetime(time)
    if draft.tags:
        message["X-Tags"] = _line(", ".join(draft.tags))
    for name, value in draft.headers.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name[:76]!r} is no name of a header")
        if name.lower() in _OURS or (draft.tags and name.lower() == "x-tags"):
            raise ValueError(f"the header {name} cannot be overwritten; leave it out")
        del message[name]
        message[name] = _line(value)
    if "Message-ID" not in message:
        message["Message-ID"] = make_msgid(domain="pillarbox.invalid")
    message.set_content(draft.text, cte="quoted-printable")
    if draft.html:
        message.add_alternative(draft.html, subtype="html", cte="quoted-printable")
    for attachment in draft.attachments:
        _attach(message, attachment)
    return message.as_bytes()


def _written(person: Person) -> Address:
    from email.headerregistry import Address

    return Address(_line(person.name), addr_spec=person.address)


def _line(text: str) -> str:
    r"""Keep a text on its line: what follows a `\r\n` would be a header of its own."""
    return _CONTROLS.sub(" ", text.encode("utf-8", "replace").decode())


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    found = _TYPE.fullmatch((attachment.content_type or _guess(attachment.octets)).lower())
    maintype, subtype = (found[1], found[2]) if found else ("application", "octet-stream")
    if maintype in ("multipart", "message"):
        maintype, subtype = "application", "octet-stream"
    about: dict[str, Any] = {
        "maintype": maintype,
        "subtype": subtype,
        "filename": _line(attachment.file_name) or None,
    }
    if not attachment.content_id:
        message.add_attachment(attachment.octets, **about)
        return
    html = cast("EmailMessage | None", message.get_body(("html",)))
    content_id = re.sub(r"[\s<>]", "", _line(attachment.content_id))
    (html or message).add_related(
        attachment.octets, cid=f"<{content_id}>", disposition="inline", **about
    )


def _guess(octets: bytes) -> str:
    for signature, content_type in _SIGNATURES:
        if octets.startswith(signature):
            return content_type
    if b"\0" in octets[:512]:
        return "application/octet-stream"
    return "text/plain"


def decode_base64(text: str) -> bytes:
    """Decode base64, as a file or as a `data:` address of a browser.

    Raises:
        ValueError: It is none.
    """
    encoded = "".join(text.rpartition(",")[2].split())
    try:
        return binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("it is no base64") from None
