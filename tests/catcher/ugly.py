"""Mail that breaks programs: one of each kind, made here, and what a reader should find in it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

__all__ = ["UGLY", "Ugly", "lines"]


def lines(text: str) -> bytes:
    """Make a message of indented lines; each ends in CRLF."""
    rows = text.strip("\n").split("\n")
    indent = min((len(row) - len(row.lstrip()) for row in rows if row.strip()), default=0)
    return "".join(f"{row[indent:]}\r\n" for row in rows).encode()


@dataclass(frozen=True)
class Ugly:
    """A message, and what must be in it.

    Attributes:
        name: What is wrong.
        octets: The message.
        text: What the text must have in it.
        parts: The ids and types of its parts.
        subject: The subject.
        names: The file names, of those parts that have one.
    """

    name: str
    octets: bytes = field(repr=False)
    text: str = ""
    parts: tuple[str, ...] = ("1 text/plain",)
    subject: str | None = None
    names: tuple[str, ...] = ()


NESTED = 200
_DEEP = "".join(
    f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(NESTED)
)
_PNG = base64.b64encode(b"\x89PNG....").decode()

UGLY = (
    Ugly("empty", b""),
    Ugly("only a line break", b"\r\n"),
    Ugly("no headers", b"just text\r\nand more\r\n", "just text\nand more\n"),
    Ugly("no headers, first line indented", b"  verse one\r\nverse two\r\n", "  verse one\nverse"),
    Ugly("no headers, first line like a header", b"Dear Ann: hi\r\nbye\r\n", "Dear Ann: hi\nbye\n"),
    Ugly("no headers, mbox line", b"From here on\r\nit is text\r\n", "From here on\nit is text\n"),
    Ugly("header of no name", b": x\r\nSubject: hi\r\n\r\ntext\r\n", "text\n", subject="hi"),
    Ugly("no body", b"Subject: hi\r\n", subject="hi"),
    Ugly("no line break at all", b"Subject: hi", subject="hi"),
    Ugly(
        "no empty line",
        b"Subject: hi\r\nplain words\r\nmore\r\n",
        "plain words\nmore\n",
        subject="hi",
    ),
    Ugly("bare LF", b"Subject: hi\n\ntext\nmore\n", "text\nmore\n", subject="hi"),
    Ugly("bare CR", b"Subject: hi\r\rtext\rmore\r", "text\rmore\r", subject="hi"),
    Ugly("NUL", b"Subject: a\0b\r\n\r\nc\0d\r\n", "c\0d\n", subject="a\0b"),
    Ugly("UTF-8 in a header", "Subject: Grüße\r\n\r\n".encode(), subject="Grüße"),
    Ugly("Latin-1 in a header", b"Subject: Gr\xfc\xdfe\r\n\r\n", subject="Grüße"),
    Ugly(
        "subject in two pieces",
        b"Subject: =?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=\r\n\r\n",
        subject="Grüße",
    ),
    Ugly("subject folded", b"Subject: one\r\n two\r\n\tthree\r\n\r\n", subject="one two\tthree"),
    Ugly(
        "encoded word of no charset", b"Subject: =?x-none?b?R3LDvMOfZQ==?=\r\n\r\n", subject="Grüße"
    ),
    Ugly("encoded word never ends", b"Subject: =?utf-8?q?abc\r\n\r\n", subject="=?utf-8?q?abc"),
    Ugly(
        "encoded word of no encoding",
        b"Subject: =?utf-8?z?abc?=\r\n\r\n",
        subject="=?utf-8?z?abc?=",
    ),
    Ugly(
        "encoded word, bad base64",
        b"Subject: =?utf-8?b?!!!?= =?utf-8?b?YWJj=?=\r\n\r\n",
        subject="!!!abc",
    ),
    Ugly("two subjects", b"Subject: one\r\nsubject: two\r\n\r\n", subject="one"),
    Ugly(
        "a header of 1 MiB",
        b"Subject: " + b"x" * (1 << 20) + b"\r\n\r\ntext\r\n",
        "text\n",
        subject="x" * (1 << 20),
    ),
    Ugly(
        "many headers",
        b"X-A: b\r\n" * 20_000 + b"Subject: hi\r\n\r\ntext\r\n",
        "text\n",
        subject="hi",
    ),
    Ugly(
        "charset unknown",
        b"Content-Type: text/plain; charset=klingon\r\n\r\nna\xc3\xafve\r\n",
        "naïve\n",
    ),
    Ugly(
        "charset with NUL",
        b'Content-Type: text/plain; charset="a\0b"\r\n\r\nna\xefve\r\n',
        "naïve\n",
    ),
    Ugly(
        "charset that is a compression",
        b"Content-Type: text/plain; charset=zlib\r\n\r\nabc\r\n",
        "abc\n",
    ),
    Ugly(
        "charset of Python alone",
        b"Content-Type: text/plain; charset=unicode_escape\r\n\r\n\\d\r\n",
        "\\d\n",
    ),
    Ugly(
        "charset wrong",
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nna\xefve\r\n",
        "na\ufffdve\n",
    ),
    Ugly(
        "charset too small",
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\nna\xc3\xafve\r\n",
        "naïve\n",
    ),
    Ugly(
        "UTF-7 of a surrogate",
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-x\r\n",
        "\ufffdx\n",
    ),
    Ugly(
        "UTF-16 cut off",
        b"Content-Type: text/plain; charset=utf-16\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n//5hAGI=",
        "a\ufffd",
    ),
    Ugly(
        "base64 broken off",
        b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybG\r\n",
        "hello worl",
    ),
    Ugly(
        "base64 joined",
        b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\nIHdvcmxk\r\n",
        "hello world",
    ),
    Ugly(
        "base64 with a footer",
        b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n\r\n-- \r\n",
        "hello",
    ),
    Ugly(
        "base64 that is none",
        b"Content-Transfer-Encoding: base64\r\n\r\n!?! \xc3\xa4\r\n",
        "!?! ä\n",
    ),
    Ugly(
        "quoted-printable broken",
        b"Content-Transfer-Encoding: Quoted-Printable\r\n\r\na=3Db =XY =4\r\nc=",
        "a=b =XY =4\nc",
    ),
    Ugly(
        "quoted-printable, CR behind =",
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=\rb\r\nc",
        "a=\rb\nc",
    ),
    Ugly(
        "transfer encoding unknown", b"Content-Transfer-Encoding: x-foo\r\n\r\ntext\r\n", "text\n"
    ),
    Ugly("content type of no sense", b"Content-Type: ;;;=\r\n\r\ntext\r\n", "text\n"),
    Ugly("content type without a subtype", b"Content-Type: text\r\n\r\ntext\r\n", "text\n"),
    Ugly(
        "text of an unknown kind",
        b"Content-Type: text/x-diff\r\n\r\n+ text\r\n",
        "+ text\n",
        ("1 text/x-diff",),
    ),
    Ugly(
        "boundary missing",
        b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\ntext\r\n--b--\r\n",
        "text\n",
        ("1 multipart/mixed",),
    ),
    Ugly(
        "boundary never comes",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--c\r\n\r\ntext\r\n",
        "text\n",
        ("1 multipart/mixed",),
    ),
    Ugly(
        "boundary only ends",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\none\r\n--b--\r\ntext\r\n",
        "text\n",
        ("1 multipart/mixed",),
    ),
    Ugly(
        "boundary of an inner part only ends",
        lines("""
            Content-Type: multipart/mixed; boundary=a

            --a
            Content-Type: multipart/mixed; boundary=b

            --b--

            text
            --a

            more
            --a--
        """),
        "text\n\nmore",
        ("1 multipart/mixed", "2 text/plain"),
    ),
    Ugly(
        "the last boundary missing",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n",
        "one\n\ntwo\n",
        ("1 text/plain", "2 text/plain"),
    ),
    Ugly(
        "the last boundary alone",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n",
        "one",
        ("1 text/plain", "2 text/plain"),
    ),
    Ugly(
        "part without headers or an empty line",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n indented\r\ntext\r\n--b--\r\n",
        " indented\ntext",
    ),
    Ugly(
        "boundary with blanks",
        b'Content-Type: multipart/mixed; boundary="a b ?="\r\n\r\n'
        b"--a b ?=  \r\n\r\none\r\n--a b ?=--\r\n",
        "one",
    ),
    Ugly(
        "nested too deep",
        f"{_DEEP}\r\ninnermost\r\n".encode(),
        "innermost",
        (".".join("1" * 30) + " multipart/mixed",),
    ),
    Ugly(
        "a part in 6,000 pieces",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\n\r\nx\r\n" * 6_000
        + b"--b--\r\n",
        "x\n--b\n",
        ("1 multipart/mixed",),
    ),
    Ugly(
        "a million empty lines",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        + b"\n" * 1_100_000
        + b"end\r\n",
        "end\n",
        ("1 multipart/mixed",),
    ),
    Ugly(
        "a message inside",
        lines("""
            Content-Type: multipart/mixed; boundary=b

            --b

            see below
            --b
            Content-Type: message/rfc822

            Subject: inner
            Content-Type: multipart/mixed; boundary=c

            --c

            inner text
            --c--
            --b--
        """),
        "see below",
        ("1 text/plain", "2 message/rfc822"),
    ),
    Ugly(
        "a digest",
        lines("""
            Content-Type: multipart/digest; boundary=b

            --b

            Subject: inner

            inner text
            --b--
        """),
        "",
        ("1 message/rfc822",),
    ),
    Ugly(
        "TNEF",
        lines("""
            Content-Type: multipart/mixed; boundary=b

            --b
            Content-Type: text/plain

            see below
            --b
            Content-Type: application/ms-tnef; name="winmail.dat"
            Content-Transfer-Encoding: base64

            eJ8+IgAAAAA=
            --b--
        """),
        "see below",
        ("1 text/plain", "2 application/ms-tnef"),
        names=("winmail.dat",),
    ),
    Ugly(
        "file names",
        lines(f"""
            Content-Type: multipart/mixed; boundary=b

            --b
            Content-Type: image/png; name="=?utf-8?q?B=C3=A4r?=.png"
            Content-Transfer-Encoding: base64

            {_PNG}
            --b
            Content-Disposition: attachment; filename*0*=utf-8''B%C3%A4; filename*1="r 2.png"

            --b
            Content-Disposition: attachment; filename=no quotes.txt; size=1

            --b
            Content-Disposition: attachment; filename*0="a"; filename*=utf-8''b; filename*99999=c

            --b
            Content-Disposition: attachment; filename="../../etc/passwd"

            --b
            Content-Disposition: attachment; filename="never ends

            --b--
        """),
        "",
        ("1 image/png", *(f"{n} text/plain" for n in range(2, 7))),
        names=("Bär.png", "Bär 2.png", "no quotes.txt", "a", "../../etc/passwd", "never ends"),
    ),
)
