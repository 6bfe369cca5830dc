"""How messages look, and that no message can look like anything but itself."""

from __future__ import annotations

import io
import re
import textwrap
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.terminal import MAX_ROWS, TerminalView
from tests.catcher.mails import MAILS, arrival
from tests.catcher.test_visible import is_safe
from tests.catcher.ugly import UGLY, Ugly

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See the same terminal, and the same time, wherever the tests run."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def plain(arrival: Arrival, *, is_full: bool = False, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return TerminalView(stream, is_full=is_full).render(arrival)


def coloured(arrival: Arrival) -> str:
    return TerminalView(Terminal(io.BytesIO(), encoding="utf-8")).render(arrival)


VIEWS = {
    "plain": """
        ── 12:34:56  183 bytes ─────────────────────────────────────────────────────────
        From      Ann Example <ann@example.org>
        To        ben@example.org
        Subject   Lunch

        Hello Ben,

        lunch at noon?

                Ann
    """,
    "alternative": """
        ── 12:34:56  523 bytes ─────────────────────────────────────────────────────────
        From      Jörg Müller <joerg@example.org>
        To        "Ben, of course" <ben@example.org>, carl@example.org
        Cc        dora@example.org
        Bcc       eve@example.org
        Reply-To  office@example.org
        Subject   Grüße 😀
        HTML      40 bytes, not shown

        Schöne Grüße aus 東京
    """,
    "attachments": """
        ── 12:34:56  16.5 kB ───────────────────────────────────────────────────────────
        From      ann@example.org
        To        ben@example.org
        Subject   Report
        Attached  Bärlauch.pdf  application/pdf, 12.0 kB
                  image/png, 64 bytes, inline
                  application/octet-stream, 0 bytes

        Here it is.
    """,
    "HTML": """
        ── 12:34:56  643 bytes ─────────────────────────────────────────────────────────
        From      Shop <shop@example.org>
        To        ben@example.org
        Envelope  <bounces+4711@lists.example.org> to <ben@example.org>
        Subject   Your order
        HTML      528 bytes, as text

        Thank you!

        Your order 4711 is on its way: follow it <https://shop.example.org/track?id=4711&l=en>.

        Pieces Article
        2 Pillar box, red

        - Questions? help@example.org
        - [Our shop] <https://example.org>
    """,
    "bounce": """
        ── 12:34:56  850 bytes ─────────────────────────────────────────────────────────
        From      Mail Delivery System <MAILER-DAEMON@mx.example.org>
        To        ann@example.org
        Envelope  <> to <ann@example.org>
        Subject   Undelivered Mail Returned to Sender
        Attached  message/delivery-status, 112 bytes
                  message/rfc822, 80 bytes

        Your message could not be delivered.

        <nobody@example.net>: 550 5.1.1 No such mailbox
    """,
    "no headers": """
        ── 12:34:56  7 bytes ───────────────────────────────────────────────────────────
        From      ann@example.org (envelope)
        To        ben@example.org, carl@example.org (envelope)

        Hello
    """,
    "nothing": """
        ── 12:34:56  0 bytes ───────────────────────────────────────────────────────────
        From      <> (envelope)
        To        ben@example.org (envelope)

        (no text)
    """,
    "hostile": """
        ── 12:34:56  455 bytes ─────────────────────────────────────────────────────────
        From      "␛]0;you are owned␇" <ann@example.org>
        To        ben@example.org
        Subject   ␛[2J␍␊From: the boss<U+009B>31m [red]:skull:[/red]
        Attached  <U+202E>gpj␇.exe  application/x-␛[5m, 0 bytes

        ␛[31mred␛[0m [bold red]markup[/] <U+009B>2J ␈␈ ␀ aaaaaaaa␍bbbbbbbb
        <U+202E>gpj.exe<U+202C> [link=file:///etc/passwd]x[/link]
    """,
}


@pytest.mark.parametrize(("name", "view"), VIEWS.items(), ids=list(VIEWS))
def test_view(name: str, view: str) -> None:
    assert plain(MAILS[name]) == textwrap.dedent(view).strip("\n") + "\n\n"


FULL = """
    ── 12:34:56  643 bytes ─────────────────────────────────────────────────────────
    Envelope  <bounces+4711@lists.example.org> to <ben@example.org>
    From: Shop <shop@example.org>
    To: ben@example.org
    Subject: Your order
    Content-Type: text/html; charset=utf-8
    HTML      528 bytes, as text

    Thank you!
"""


def test_full_view_has_all_headers() -> None:
    view = plain(MAILS["HTML"], is_full=True)
    assert view.startswith(textwrap.dedent(FULL).strip("\n"))


# Colours


@pytest.mark.parametrize("name", list(MAILS))
def test_colours_are_all_that_a_terminal_gets_more(name: str) -> None:
    view = coloured(MAILS[name])
    assert "\x1b[1m" in view
    assert ESCAPE.sub("", view) == plain(MAILS[name])


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", coloured(MAILS["plain"]))


def test_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert coloured(MAILS["plain"]) == plain(MAILS["plain"])


def test_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert plain(MAILS["plain"]).split("\n")[0] == f"── 12:34:56  183 bytes {'─' * 17}"


def test_terminal_without_unicode() -> None:
    view = plain(MAILS["plain"], encoding="ascii")
    assert view.startswith("-- 12:34:56  183 bytes ----")


# What is long is cut


def body(text: str, *, is_full: bool = False) -> str:
    view = plain(arrival(b"Subject: x\r\n\r\n" + text.encode()), is_full=is_full)
    return view.split("\n\n", 1)[1]


@pytest.mark.parametrize(
    ("count", "more"),
    [
        (MAX_ROWS, ""),
        (MAX_ROWS + 1, "… 1 more line, 8 bytes; --full shows all\n"),
        (5_000, "… 4,960 more lines, 53.5 kB; --full shows all\n"),
    ],
)
def test_long_text_is_cut(count: int, more: str) -> None:
    text = "".join(f"Zeile {n}\r\n" for n in range(count))
    shown = "".join(f"Zeile {n}\n" for n in range(min(count, MAX_ROWS)))
    assert body(text) == f"{shown}{more}\n"
    assert body(text, is_full=True) == text.replace("\r\n", "\n") + "\n"


@pytest.mark.parametrize(
    ("length", "more"),
    [
        (80 * MAX_ROWS, ""),
        (80 * MAX_ROWS + 1, "… 1 more line, 1 byte; --full shows all\n"),
        (1_000_000, "… 1 more line, 996.8 kB; --full shows all\n"),
    ],
)
def test_long_line_is_cut(length: int, more: str) -> None:
    assert body("x" * length) == f"{'x' * min(length, 80 * MAX_ROWS)}\n{more}\n"
    assert body("x" * length, is_full=True) == "x" * length + "\n\n"


def test_long_html_is_cut() -> None:
    octets = b"Content-Type: text/html\r\n\r\n" + b"<p>x" * 200_000
    shown, more = plain(arrival(octets)).split("\n\n", 1)[1].split("…")
    assert shown.count("x") == MAX_ROWS / 2
    assert more == " more; --full shows all\n\n"
    assert plain(arrival(octets), is_full=True).count("\nx\n") == 200_000


def test_long_head_is_cut() -> None:
    recipients = [f"r{n}@example.org" for n in range(1_000)]
    headers = f"From: a@b\r\nTo: {', '.join(recipients)}\r\nSubject: {'s' * 100_000}\r\n\r\n"
    view = plain(arrival(headers.encode(), "a@b", *recipients[:500]))
    assert "r9@example.org and 990 more\n" in view
    assert "<r9@example.org> and 490 more\n" in view
    assert f"Subject   {'s' * 1_000}…\n" in view
    assert len(view) < 3_000
    full = plain(arrival(headers.encode(), "a@b", *recipients[:500]), is_full=True)
    assert full.count("<r499@example.org>\n") == 1
    assert full.count("r999@example.org\n") == 1


@pytest.mark.parametrize(
    ("octets", "size"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
    ],
)
def test_sizes(octets: int, size: str) -> None:
    assert plain(arrival(b"x" * octets)).startswith(f"── 12:34:56  {size} ─")


def test_many_attachments_are_cut() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    octets += b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n" * 1_200 + b"--b--\r\n"
    assert "          and 1,180 more\n" in plain(arrival(octets))
    assert plain(arrival(octets), is_full=True).count("image/png") == 1_200


# Whatever comes


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.name)
@pytest.mark.parametrize("is_full", [False, True])
def test_ugly(ugly: Ugly, is_full: bool) -> None:
    view = plain(arrival(ugly.octets), is_full=is_full)
    assert all(map(is_safe, set(view) - {"\n"}))
    assert is_full or len(view) < 20_000


CHARACTERS = st.text(st.characters(codec="utf-8"), max_size=30)


@given(CHARACTERS, CHARACTERS, CHARACTERS, st.sampled_from(["plain", "html"]), st.booleans())
def test_no_control_character_is_let_through(
    subject: str, name: str, text: str, kind: str, is_full: bool
) -> None:
    octets = (
        f'From: "{name}" <{name}@example.org>\r\nSubject: {subject}\r\n'
        f"Content-Type: text/{kind}; charset=\"utf-8\"; name*=utf-8''{name}\r\n\r\n{text}"
    ).encode()
    for view in (plain(arrival(octets), is_full=is_full), coloured(arrival(octets))):
        assert all(map(is_safe, set(ESCAPE.sub("", view)) - {"\n"}))


@given(st.binary(max_size=300))
def test_fallback_shows_anything(octets: bytes) -> None:
    view = TerminalView(io.TextIOWrapper(io.BytesIO())).fallback(arrival(octets))
    assert all(map(is_safe, set(view) - {"\n"}))


def test_fallback() -> None:
    view = TerminalView(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    octets = b"Subject: x\r\n\r\n\x1b" + b"line\r\n" * 100
    assert view.fallback(arrival(octets)) == (
        f"── 12:34:56  615 bytes {'─' * 77}\n"
        "Envelope  <ann@example.org> to <ben@example.org>\n\n"
        "Subject: x\n\n␛" + "line\n" * 38 + "… 62 more lines, 309 bytes\n\n"
    )


@pytest.mark.parametrize("is_full", [False, True])
def test_ten_mebibytes_take_a_second_or_two(is_full: bool) -> None:
    octets = b"Subject: x\r\n\r\n" + b"\x1b[31m text\r\n" * (10 << 20 >> 4)
    began = time.process_time()
    plain(arrival(octets), is_full=is_full)
    assert time.process_time() - began < 5
