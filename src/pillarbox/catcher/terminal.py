"""Messages on a terminal: who, what about, what is attached, and the text.

What the user has to know of the terminal is asked of `rich`: colours, width, `NO_COLOR`,
`TERM=dumb`. Nothing of a message is markup to it, and visible.py lets no control character through.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO, TypeAlias

from pillarbox.catcher.visible import visible, visible_line

if TYPE_CHECKING:
    from rich.console import Console

    from pillarbox.catcher.arrival import Arrival
    from pillarbox.catcher.header import Address
    from pillarbox.catcher.message import ParsedMessage

__all__ = ["TerminalView"]

Span: TypeAlias = tuple[str, str]
"""A text and its style."""

# About a screenful of each message.
MAX_ROWS = 40
MAX_ADDRESSES = 10
MAX_PARTS = 20
MAX_VALUE_CHARACTERS = 1_000
# HTML has some hundred characters for each one that is shown, at worst; this takes 50 ms.
MAX_HTML_CHARACTERS = 200_000
# rich takes a second for a million.
MAX_STYLED_CHARACTERS = 50_000
MAX_WIDTH = 100
LABEL_WIDTH = 10


class TerminalView:
    """Renders each message as a block of lines.

    Args:
        stream: Where the lines will go, which tells colours and width.
        is_full: Whether to show all headers and all of the text.
    """

    def __init__(self, stream: TextIO, *, is_full: bool = False) -> None:
        self._stream = stream
        self._is_full = is_full

    @functools.cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=self._stream, legacy_windows=False, soft_wrap=True)

    def render(self, arrival: Arrival) -> str:
        """Give the block of a message."""
        message = arrival.parse()
        width = max(20, min(self._console.width, MAX_WIDTH))
        text, rest = self._text(message, width)
        head = [*self._rule(arrival, width), *self._head(arrival, message), ("\n", "")]
        # The text has no style, and may be long: it need not go through the console.
        return self._styled(head) + text + self._styled(rest) + "\n"

    def fallback(self, arrival: Arrival) -> str:
        """Give a block without looking into the message."""
        text = arrival.octets.decode("latin-1").replace("\r\n", "\n").strip("\n")
        shown, rest = _cut(text, MAX_WIDTH)
        head = [*self._rule(arrival, MAX_WIDTH), *_row("Envelope", _envelope(arrival))]
        more = f"\u2026 {_more(rest)}\n" if rest else ""
        return f"{''.join(text for text, _ in head)}\n{visible(shown)}\n{more}\n"

    def _styled(self, spans: Sequence[Span]) -> str:
        plain = "".join(text for text, _ in spans)
        if self._console.color_system is None or len(plain) > MAX_STYLED_CHARACTERS:
            return plain
        from rich.text import Text

        with self._console.capture() as capture:
            self._console.print(Text.assemble(*spans), end="")
        return capture.get()

    def _rule(self, arrival: Arrival, width: int) -> Iterator[Span]:
        is_unicode = (self._stream.encoding or "").lower().startswith("utf")
        line = "\u2500" if is_unicode else "-"
        time = f"{arrival.time.astimezone():%H:%M:%S}"
        about = f"{time}  {_size(len(arrival.octets))}"
        yield f"{line * 2} ", "cyan"
        yield about, "bold"
        yield f" {line * (width - len(about) - 4)}\n", "cyan"

    # Who and what about

    def _head(self, arrival: Arrival, message: ParsedMessage) -> Iterator[Span]:
        if self._is_full:
            recipients = ", ".join(f"<{rcpt}>" for rcpt in arrival.rcpt_tos)
            yield "Envelope".ljust(LABEL_WIDTH), "cyan"
            yield visible_line(f"<{arrival.mail_from}> to {recipients}") + "\n", ""
            for name, value in message.headers:
                yield f"{visible_line(name)}:", "cyan"
                yield f" {visible_line(value)}\n", ""
        else:
            yield from _short_head(arrival, message)
        yield from _parts(message, is_full=self._is_full)

    # The text

    def _text(self, message: ParsedMessage, width: int) -> tuple[str, list[Span]]:
        """Give the text to show, and what to say about the rest."""
        text, is_partial = message.text or "", False
        if not text.strip() and message.html:
            from pillarbox.catcher.html import text_of_html

            is_partial = not self._is_full and len(message.html) > MAX_HTML_CHARACTERS
            text = text_of_html(message.html[:MAX_HTML_CHARACTERS] if is_partial else message.html)
        text = text.strip("\n")
        if not text.strip():
            return "", [("(no text)\n", "dim")]
        if self._is_full:
            return visible(text) + "\n", []
        shown, rest = _cut(text, width)
        if not rest and not is_partial:
            return visible(shown) + "\n", []
        more = "more" if is_partial else _more(rest)
        return visible(shown) + "\n", [(f"\u2026 {more}; --full shows all\n", "yellow")]


def _more(rest: str) -> str:
    """Say how much a text is."""
    lines = rest.count("\n") + 1
    return f"{lines:,} more line{'s' if lines > 1 else ''}, {_size(len(rest.encode()))}"


def _cut(text: str, width: int) -> tuple[str, str]:
    """Cut a text after so many rows of a terminal, on which a long line takes several."""
    at, rows = 0, MAX_ROWS
    while rows > 0 and at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        needed = max(1, -(-(end - at) // width))
        if needed > rows:
            at += rows * width
            return text[:at], text[at:]
        at, rows = end + 1, rows - needed
    return text[:at].rstrip("\n"), text[at:]


def _short_head(arrival: Arrival, message: ParsedMessage) -> Iterator[Span]:
    """Give who and what about: as the headers say, and the envelope where it says another thing."""
    sender = _short(arrival.mail_from or "<>")
    yield from _row("From", _addresses(message.from_) or f"{sender} (envelope)")
    if message.to or message.cc:
        yield from _row("To", _addresses(message.to))
        yield from _row("Cc", _addresses(message.cc))
        yield from _row("Bcc", _addresses(message.bcc))
    else:
        yield from _row("To", f"{_addresses(message.bcc)} (envelope)")
    if message.reply_to != message.from_:
        yield from _row("Reply-To", _addresses(message.reply_to))
    if message.from_ and not _agrees(arrival, message):
        yield from _row("Envelope", _envelope(arrival))
    yield from _row("Subject", message.subject, "bold")


def _agrees(arrival: Arrival, message: ParsedMessage) -> bool:
    """Tell whether the headers name those whom the envelope does."""
    authors = {author.address.lower() for author in message.from_}
    named = {to.address.lower() for to in (*message.to, *message.cc, *message.bcc)}
    return arrival.mail_from.lower() in authors and named == {
        rcpt.lower() for rcpt in arrival.rcpt_tos
    }


def _parts(message: ParsedMessage, *, is_full: bool) -> Iterator[Span]:
    """Give a line for each part that is not shown."""
    from pillarbox.catcher.message import Role

    html = [part.size for part in message.parts if part.role is Role.HTML]
    if html:
        how = "not shown" if (message.text or "").strip() else "as text"
        yield from _row("HTML", f"{_size(sum(html))}, {how}")
    parts = [part for part in message.parts if part.role in (Role.INLINE, Role.ATTACHMENT)]
    label = "Attached"
    for part in parts if is_full else parts[:MAX_PARTS]:
        name = f"{part.file_name}  " if part.file_name else ""
        place = ", inline" if part.role is Role.INLINE else ""
        yield from _row(label, f"{name}{part.content_type}, {_size(part.size)}{place}", "magenta")
        label = ""
    if len(parts) > MAX_PARTS and not is_full:
        yield from _row("", f"and {len(parts) - MAX_PARTS:,} more", "magenta")


def _row(label: str, value: str | None, style: str = "") -> Iterator[Span]:
    """Give a line with a label, or nothing without a value."""
    if value:
        yield label.ljust(LABEL_WIDTH), "cyan"
        yield _short(value) + "\n", style


def _addresses(addresses: Sequence[Address]) -> str:
    return _listed([str(address) for address in addresses])


def _envelope(arrival: Arrival) -> str:
    recipients = _listed([f"<{rcpt}>" for rcpt in arrival.rcpt_tos])
    return f"<{arrival.mail_from}> to {recipients}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_ADDRESSES:,} more" if len(names) > MAX_ADDRESSES else ""
    return ", ".join(map(_short, names[:MAX_ADDRESSES])) + more


def _short(value: str) -> str:
    """Bound a value, and make it one line that a terminal only shows."""
    if len(value) > MAX_VALUE_CHARACTERS:
        value = value[:MAX_VALUE_CHARACTERS] + "\u2026"
    return visible_line(value)


def _size(octets: int) -> str:
    """Write a number of octets for people."""
    if octets < 1_000:
        return f"{octets} bytes" if octets != 1 else "1 byte"
    size, unit = octets / 1_000, "kB"
    for larger in ("MB", "GB"):
        if size >= 999.95:
            size, unit = size / 1_000, larger
    return f"{size:,.1f} {unit}"
