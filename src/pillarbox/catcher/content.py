"""The content of a part: from its transfer encoding to octets, from its charset to text.

Both always have an answer (RFC 2045 §6.7, §6.8; RFC 2046 §4.1.2). What is broken is decoded as far
as it goes, since whoever looks at a caught message wants to see what is wrong with it.
"""

from __future__ import annotations

import binascii
import codecs
import re

__all__ = ["decode_base64", "decode_charset", "decode_quoted_printable", "decode_transfer"]

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_PADDING = re.compile(rb"=+")
_ALONE_CR = re.compile(rb"=\r(?!\n)")
_SOFT_BREAK_BLANKS = re.compile(rb"=[ \t]++(?=\r?\n)")
_CHARSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")

# "us-ascii" is what programs write that know of no charset. The others are charsets to Python
# alone: they take a time that grows with the square of the octets, warn, or depend on the machine.
_NO_CHARSETS = frozenset(
    {"ascii", "idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined"}
    | {"unicode-escape"}
)
# What mail programs write, and the larger charset they mean by it.
_MEANT = {"gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932"}
_ALIASES = {"iso-8859-8-i": "iso-8859-8", "unicode-1-1-utf-7": "utf-7", "utf8mb4": "utf-8"}


def decode_transfer(octets: bytes, encoding: str) -> bytes:
    """Undo a Content-Transfer-Encoding; what is unknown is left as it is."""
    # Some write a comment or a semicolon behind it.
    match re.split(r"[\s;(]", encoding.strip(), maxsplit=1)[0].lower():
        case "base64":
            return decode_base64(octets)
        case "quoted-printable":
            return decode_quoted_printable(octets)
        case _:
            return octets


def decode_base64(octets: bytes) -> bytes:
    """Decode base64, skipping what is none (RFC 2045 §6.8).

    Padding ends a piece and not the whole: some programs join what they encoded piece by piece.
    Octets of which nothing at all can be decoded are given back.
    """
    pieces = _PADDING.split(_NOT_BASE64.sub(b"", octets))
    decoded = b"".join(_decode_piece(piece) for piece in pieces)
    return decoded or octets


def _decode_piece(piece: bytes) -> bytes:
    if len(piece) % 4 == 1:
        piece = piece[:-1]  # six bits are no octet
    return binascii.a2b_base64(piece + b"=" * (-len(piece) % 4))


def decode_quoted_printable(octets: bytes) -> bytes:
    """Decode quoted-printable, leaving what is none (RFC 2045 §6.7)."""
    # `binascii` takes "=\r" without its "\n" for a soft break, and drops the rest of the line. It
    # does not know that blanks at the end of a line count for nothing.
    octets = _SOFT_BREAK_BLANKS.sub(b"=", _ALONE_CR.sub(b"=3D\r", octets))
    return binascii.a2b_qp(octets)


def decode_charset(octets: bytes, charset: str | None) -> str:
    """Make text of octets; never with lone surrogates, which nothing could write.

    Where the charset is absent, unknown, or US-ASCII and wrong, it is UTF-8 if it can be, and
    otherwise Latin-1. What a known charset does not have becomes U+FFFD.
    """
    codec = _codec(charset)
    if codec is None:
        try:
            return octets.decode()
        except UnicodeDecodeError:
            return octets.decode("latin-1")
    try:
        text = codec.decode(octets, "replace")[0]
    except Exception:  # other packages add codecs, and those may raise what they like
        return octets.decode("latin-1")
    return _SURROGATE.sub("\ufffd", text)  # UTF-7 can have them


def _codec(charset: str | None) -> codecs.CodecInfo | None:
    """Find what decodes a charset, `None` where we have to guess."""
    found = _CHARSET.match(charset.strip()) if charset else None
    if found is None:
        return None
    name = found[0].lower()
    try:
        codec = codecs.lookup(_ALIASES.get(name, name))
        # Text only: "zlib" and its like make of few octets many.
        if not codec._is_text_encoding or codec.name.replace("_", "-") in _NO_CHARSETS:
            return None
        return codecs.lookup(_MEANT.get(codec.name, codec.name))
    except LookupError:
        return None
