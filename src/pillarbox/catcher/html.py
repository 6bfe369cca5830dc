"""HTML as text that reads well on a terminal: blocks, lists, cells, and where links lead.

Tags are found as browsers find them, in one pass whatever is missing: the standard library's parser
takes a time that grows with the square of the length on some input, and answers differently in
each Python version. This shows mail; it makes nothing safe to put into a page.
"""

from __future__ import annotations

import html
import re

__all__ = ["MARKUP", "attribute", "text_of_html"]

# A tag ends at the first ">" outside of a quoted value. A comment that never ends takes the rest,
# and so does a tag, of which the source is shown then.
MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(?P<close>/?)(?P<name>[a-zA-Z][^\s/>]*+)"
    r"""(?P<attributes>(?:[^>=]|=\s*+(?:"[^"]*+"|'[^']*+')|=)*+)>"""
    r"|<[!?/][^>]*+>"
    r"|(?P<rest><[!?/a-zA-Z].*+)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(
    r"""(?<![^\s/"'])([^\s=/>"']++)\s*+="""
    r"""\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s>]++))"""
)
_BLANKS = re.compile(r"[ \t\r\n\f\xa0]+")
# Python refuses to read numbers of more than 4300 digits.
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")

# Their text is not for reading, and what looks like a tag in it is none.
_UNREAD = {"script", "style", "template", "title"}
_PARAGRAPHS = {"blockquote", "dl", "fieldset", "figure", "form", "h1", "h2", "h3", "h4", "h5", "h6"}
_PARAGRAPHS |= {"hr", "ol", "p", "pre", "table", "ul"}
_LINES = {"address", "article", "aside", "body", "center", "dd", "details", "div", "dt", "footer"}
_LINES |= {"header", "html", "li", "main", "nav", "option", "section", "summary", "tbody", "tfoot"}
_LINES |= {"thead", "tr"}


def text_of_html(source: str) -> str:
    """Make readable text of HTML; lines end in `\\n`, links stand behind their text."""
    reader = _Reader()
    at = 0
    for markup in MARKUP.finditer(source):
        reader.text(source[at : markup.start()])
        at = markup.end()
        if markup["name"]:
            name = markup["name"].lower()
            if markup["close"]:
                reader.close(name)
            else:
                reader.open(name, markup["attributes"])
        elif markup["rest"]:
            reader.text(markup["rest"])
    reader.text(source[at:])
    return reader.finish()


class _Reader:
    """The text so far, and what the open tags mean for it."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._breaks = 2
        """How many line breaks end the text; at the start no more are wanted."""
        self._blank = False
        self._unread: str | None = None
        self._pre = 0
        self._link: tuple[str, int] | None = None
        """Where the open link leads, and where in `_out` its text begins."""
        self._cells = 0
        self._bullet = ""
        """What the next text of a list item is to begin with."""

    def text(self, source: str) -> None:
        """Add text between tags."""
        if self._unread is not None or not source:
            return
        text = html.unescape(_LONG_NUMBER.sub("\ufffd", source))
        if self._pre:
            self._write(text.replace("\r\n", "\n"))
            self._breaks = len(text) - len(text.rstrip("\n"))
            return
        words = _BLANKS.sub(" ", text)
        if words[:1] == " ":
            self._blank = True
        if words.strip(" "):
            self._write(words.strip(" "))
            self._blank = words[-1] == " "

    def open(self, name: str, attributes: str) -> None:
        """Take an opening tag."""
        if self._unread is not None:
            return
        if name in _UNREAD:
            self._unread = name
        elif name == "br":
            self._out.append("\n")
            self._breaks, self._blank = min(self._breaks + 1, 2), False
        elif name == "a":
            self._end_link()
            self._link = (attribute(attributes, "href"), len(self._out))
        elif name == "img":
            self._image(attribute(attributes, "alt"))
        elif name in ("td", "th"):
            self._blank = self._blank or self._cells > 0
            self._cells += 1
        else:
            self._block(name)
            if name == "li":
                self._bullet = "- "
            elif name == "hr":
                self._write("----")
                self._break(2)
            elif name == "pre":
                self._pre += 1

    def close(self, name: str) -> None:
        """Take a closing tag."""
        if self._unread is not None:
            if name == self._unread:
                self._unread = None
        elif name == "a":
            self._end_link()
        elif name in ("td", "th"):
            self._blank = True
        else:
            if name == "pre" and self._pre:
                self._pre -= 1
            self._block(name)
            if name in ("li", "ol", "ul"):
                self._bullet = ""

    def finish(self) -> str:
        """Give the text."""
        self._end_link()
        lines = "".join(self._out).split("\n")
        return "\n".join(line.rstrip() for line in lines).strip("\n")

    def _block(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self._break(2)
        elif name in _LINES:
            self._break(1)
        if name == "tr":
            self._cells = 0

    def _break(self, count: int) -> None:
        self._out.append("\n" * (count - self._breaks))
        self._breaks, self._blank = max(self._breaks, count), False

    def _write(self, text: str) -> None:
        if self._blank and not self._breaks:
            self._out.append(" ")
        self._out.append(self._bullet + text)
        self._breaks, self._blank, self._bullet = 0, False, ""

    def _image(self, alternative: str) -> None:
        if alternative.strip():
            self._write(f"[{_BLANKS.sub(' ', alternative).strip()}]")

    def _end_link(self) -> None:
        """Write where a link leads, unless its text says it."""
        if self._link is None:
            return
        (target, start), self._link = self._link, None
        said = "".join(self._out[start:]).strip()
        target = _BLANKS.sub("", target)
        if target and not target.startswith("#") and said not in (target, _said_by(target)):
            self._blank = True
            self._write(f"<{target}>")


def _said_by(target: str) -> str:
    return target.removeprefix("mailto:").removeprefix("https://").removeprefix("http://")


def attribute(attributes: str, name: str) -> str:
    """Give the value of an attribute of a tag that `MARKUP` found; empty without."""
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            value = found["double"] or found["single"] or found["bare"] or ""
            return html.unescape(_LONG_NUMBER.sub("\ufffd", value))
    return ""
