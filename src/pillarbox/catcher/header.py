"""Header values: encoded words, addresses, dates and parameters (RFC 5322, RFC 2047, RFC 2231).

The standard library's functions for this answer differently in each Python version that we run on,
raise on some mail, or take a time that grows with the square of its length; these read everything
in one pass, and always have an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from pillarbox.catcher.content import decode_base64, decode_charset, decode_quoted_printable

__all__ = [
    "Address",
    "addresses",
    "content_type",
    "date",
    "decode_words",
    "parameters",
    "unfold",
]


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox as a header names it: `Ann Example <ann@example.org>`."""

    name: str
    address: str

    def __str__(self) -> str:
        if not self.name:
            return self.address
        name = self.name
        if _SPECIAL.search(name):
            name = '"' + name.replace("\\", r"\\").replace('"', r"\"") + '"'
        return f"{name} <{self.address}>"


# What makes a name look like another address to whoever reads a list of them.
_SPECIAL = re.compile(r"""[,;:<>@"\\]""")


# A header as text

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(r"=\?([^?\s]++)\?([BbQq])\?([^?]*+)\?=")


def unfold(raw: str) -> str:
    """Make one line of a header's value as the parser gives it.

    Octets beyond ASCII are in it as surrogates: UTF-8 as SMTPUTF8 has it, or else Latin-1.
    """
    if not raw.isascii():
        raw = decode_charset(raw.encode("ascii", "surrogateescape"), None)
    return _LINE_BREAK.sub("", raw).strip(" \t")


def decode_words(text: str) -> str:
    """Decode the encoded words of a text, wherever they stand (RFC 2047).

    The octets of neighbours in one charset are joined before they are decoded: some programs cut
    a character in two.
    """
    if "=?" not in text:
        return text
    pieces: list[str] = []
    octets: list[bytes] = []
    charset: str | None = None
    end = 0
    for word in _WORD.finditer(text):
        between = text[end : word.start()]
        is_neighbour = bool(octets) and not between.strip(" \t")
        if not is_neighbour or word[1].lower() != charset:
            pieces.append(decode_charset(b"".join(octets), charset))
            octets.clear()
        if not is_neighbour:
            pieces.append(between)
        charset = word[1].lower()
        octets.append(_decode_word(word))
        end = word.end()
    pieces += (decode_charset(b"".join(octets), charset), text[end:])
    return "".join(pieces)


def _decode_word(word: re.Match[str]) -> bytes:
    octets = word[3].encode("utf-8", "surrogatepass")
    if word[2] in "Bb":
        return decode_base64(octets)
    return decode_quoted_printable(octets.replace(b"_", b"=20"))


# Addresses

# Possessive throughout, and an escape is always taken whole: one pass, whatever is missing.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|<[^<>]*+>|\[[^\[\]]*+\]|\\.|[^"<(\[,;:\\]++|.', re.DOTALL)
_IN_COMMENT = re.compile(r"\\.|[()]|[^()\\]++|.", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


# A list of one, with nothing in it that means something else.
_PLAIN = re.compile(
    r'(?:([^\s"<>()\[\],;:\\=]++(?: [^\s"<>()\[\],;:\\=]++)*+) ?<)?'
    r'([^\s"<>()\[\],;:\\=@]++@[^\s"<>()\[\],;:\\=@]++)(?(1)>)'
)


def addresses(text: str) -> tuple[Address, ...]:
    """Read a list of addresses; what is none is there as it stands (RFC 5322 §3.4).

    The members of a group are in the list, its name is not.
    """
    if not text:
        return ()
    if plain := _PLAIN.fullmatch(text):
        return (Address(plain[1] or "", plain[2]),)
    return tuple(address for address in map(_address, _split_list(text)) if address is not None)


def _split_list(text: str) -> Iterator[list[str]]:
    """Give the tokens of each address; a comment is one that begins with a parenthesis."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        assert found is not None
        token, at = found[0], found.end()
        if token == "(":
            token, at = _comment(text, at)
        if token in (",", ";"):
            yield tokens
            tokens = []
        elif token == ":":
            tokens = []  # that was the name of a group
        else:
            tokens.append(token)
    yield tokens


def _comment(text: str, start: int) -> tuple[str, int]:
    """Read the comment behind the parenthesis, which may have others in it (RFC 5322 §3.2.2)."""
    depth = 1
    for found in _IN_COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0:
            return "(" + text[start : found.start()], found.end()
    return "(" + text[start:], len(text)


def _address(tokens: list[str]) -> Address | None:
    comments = " ".join(token[1:].strip() for token in tokens if token.startswith("("))
    rest = [token for token in tokens if not token.startswith("(")]
    angles = [token for token in rest if _is_enclosed(token, "<", ">")]
    if angles:
        words = [token for token in rest if token is not angles[-1]]
        address = angles[-1][1:-1].strip()
    else:
        words, address = _without_angles(rest)
    name = decode_words(" ".join("".join(_unquote(word) for word in words).split()))
    if not name and comments:
        name = decode_words(_ESCAPE.sub(r"\1", comments))
    return Address(name, decode_words(address)) if name or address else None


def _without_angles(tokens: list[str]) -> tuple[list[str], str]:
    """Part words from the address where no brackets do: `Ann ann@example.org`."""
    whole = "".join(tokens).strip()
    if "@" not in whole and all(_is_enclosed(token, '"', '"') for token in tokens if token.strip()):
        return tokens, ""
    last: list[str] = []
    words = list(tokens)
    while words:
        token = words.pop()
        word = token if _is_enclosed(token, '"', '"') else token.rstrip() if not last else token
        head, blank, tail = word.rpartition(" ")
        if blank and not word.startswith('"'):
            last.append(tail)
            words.append(head)
            break
        last.append(word)
    address = "".join(reversed(last))
    if "@" in address[1:]:
        return words, address
    return [], whole


def _is_enclosed(token: str, first: str, last: str) -> bool:
    return len(token) > 1 and token[0] == first and token[-1] == last


def _unquote(token: str) -> str:
    if _is_enclosed(token, '"', '"'):
        return _ESCAPE.sub(r"\1", token[1:-1])
    return token


# Dates

MAX_DATE_CHARACTERS = 100


def date(text: str) -> datetime | None:
    """Read a date and time (RFC 5322 §3.3); `None` where there is none."""
    try:
        found = parsedate_to_datetime(text[:MAX_DATE_CHARACTERS])
        # "-0000" is a time in UTC of which the zone is not known.
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except Exception:  # each version has others
        return None


# Parameters

_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;]*+)', re.DOTALL)
_NUMBERED = re.compile(r"([^*]++)\*(?:([0-9]{1,4})(\*)?)?", re.ASCII)


def parameters(text: str) -> tuple[str, dict[str, str]]:
    """Take a value such as `text/plain; charset=utf-8` apart; names and value in small letters.

    Values cut into pieces, and those with a charset, are put together (RFC 2231). Encoded words
    are decoded, which RFC 2047 §5 forbids to write there and everybody does.
    """
    value = text.partition(";")[0].strip().lower()
    found: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for parameter in _PARAMETER.finditer(text):
        name, content = parameter[1].lower(), _parameter_value(parameter[2])
        numbered = _NUMBERED.fullmatch(name)
        if numbered is None:
            found.setdefault(name, decode_words(content))
        else:
            number = int(numbered[2] or 0)
            is_encoded = numbered[2] is None or numbered[3] is not None
            pieces.setdefault(numbered[1], {}).setdefault(number, (content, is_encoded))
    for name, numbers in pieces.items():
        # It stands beside the plain one for those who do not know RFC 2231.
        found[name] = _join_pieces([numbers[number] for number in sorted(numbers)])
    return value, found


_CONTENT_TYPE = re.compile(r"[^\s/]+/[^\s/]+")


def content_type(text: str, default: str) -> tuple[str, dict[str, str]]:
    """Give a content type with its parameters; the default in place of one that is none."""
    name, found = parameters(text)
    return name if _CONTENT_TYPE.fullmatch(name) else default, found


def _parameter_value(raw: str) -> str:
    raw = raw.strip()
    return _unquote(raw) if _is_enclosed(raw, '"', '"') else raw.strip('"')


def _join_pieces(pieces: list[tuple[str, bool]]) -> str:
    """Join what RFC 2231 cut; the first piece names the charset, if any is encoded."""
    charset = None
    first, is_encoded = pieces[0]
    if is_encoded and first.count("'") >= 2:
        charset, _language, first = first.split("'", 2)
        pieces = [(first, True), *pieces[1:]]
    octets = b"".join(
        unquote_to_bytes(piece) if is_encoded else piece.encode("utf-8", "surrogatepass")
        for piece, is_encoded in pieces
    )
    return decode_charset(octets, charset)
