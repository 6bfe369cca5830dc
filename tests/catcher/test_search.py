"""Searching: what queries mean, and that SQL finds what looking at each message would find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.condition import numbers_of
from pillarbox.catcher.index import MAX_INDEXED_CHARACTERS, MAX_WAITING
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.message import parse_message
from pillarbox.catcher.search import ANYWHERE, Header, State, Tag, Term, Text, parse_query
from pillarbox.catcher.summary import Summary
from pillarbox.catcher.words import Words, fold, words_of
from tests.catcher.mails import arrival
from tests.catcher.ugly import UGLY

# What a query means


def text(found: str, *places: str, no: bool = False) -> Text:
    return Text(found, places or ANYWHERE, no)


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("", ()),
        (" \t\n ", ()),
        ("Hello world", (text("hello"), text("world"))),
        ('"Hello  world"', (text("hello world"),)),
        ('"hello', (text("hello"),)),
        ('""', ()),
        ('say"what', (text('say"what'),)),
        ("-spam !Ham", (text("spam", no=True), text("ham", no=True))),
        ('-"a b"', (text("a b", no=True),)),
        ("-", ()),
        ("--x", (text("-x", no=True),)),
        ("a-b", (text("a-b"),)),
        ("to:Ann", (text("ann", "to_"),)),
        ("TO:ann", (text("ann", "to_"),)),
        ("to:", ()),
        ('from:"Ann Example"', (text("ann example", "from_"),)),
        ("-from:ann", (text("ann", "from_", no=True),)),
        ("cc:a bcc:b", (text("a", "cc"), text("b", "bcc"))),
        ("reply-to:a", (text("a", "reply_to"),)),
        ("addressed:a", (text("a", "from_", "to_", "cc", "bcc", "reply_to"),)),
        ("subject:a:b", (text("a:b", "subject"),)),
        ("message-id:1@x", (text("1@x", "message_id"),)),
        ("http://x.org", (text("http://x.org"),)),
        ('unknown:"a b"', (text("unknown:a b"),)),
        ("12:30", (text("12:30"),)),
        (":x", (text(":x"),)),
        ("tag:News", (Tag("News"),)),
        ('-tag:"my  news"', (Tag("my news", True),)),
        ("header:X-Foo", (Header("x-foo", ""),)),
        ("header:X-Foo=Bar=2", (Header("x-foo", "bar=2"),)),
        ('header:X-Foo="a b"', (Header("x-foo", "a b"),)),
        ('header:"X-Foo=a b"', (Header("x-foo", "a b"),)),
        ("header:=x", ()),
        ("X-Foo:bar", (Header("x-foo", "bar"),)),
        ('-x-foo:"a b"', (Header("x-foo", "a b", True),)),
        ("is:read", (State("is_read"),)),
        ("-is:unread", (State("NOT is_read", (), True),)),
        ("is:green", (text("is:green"),)),
        ("HAS:Attachments", (State("attachments > 0"),)),
        ("has:inline", (State("inlines > 0"),)),
        ("larger:10", (State("size > ?", (10,)),)),
        ("larger:2k", (State("size > ?", (2048,)),)),
        ("smaller:1.5MB", (State("size < ?", (1_572_864,)),)),
        ('smaller:"2 kb"', (State("size < ?", (2048,)),)),
        ("larger:huge", (text("larger:huge"),)),
        ("larger:", ()),
        ("before:1970-01-01", (State("time < ?", (0,)),)),
        ("after:1970-01-02T00:00:01Z", (State("time >= ?", (86_401_000_000,)),)),
        ('after:"1970-01-02 01:00"', (State("time >= ?", (90_000_000_000,)),)),
        ("after:1970/01/02", (State("time >= ?", (86_400_000_000,)),)),
        ("after:02.01.1970", (State("time >= ?", (86_400_000_000,)),)),
        ("after:01/02/1970", (State("time >= ?", (86_400_000_000,)),)),
        ('after:"Jan 2, 1970"', (State("time >= ?", (86_400_000_000,)),)),
        ('after:"Fri, 2 Jan 1970 01:00:00 +0100"', (State("time >= ?", (86_400_000_000,)),)),
        ("before:yesterday", (text("before:yesterday"),)),
        ("before:0001-01-01T00:00+23:00", (State("time < ?", (-62_135_679_600_000_000,)),)),
        ("before:0000", (text("before:0000"),)),
    ],
)
def test_parse(query: str, terms: tuple[Term, ...]) -> None:
    assert parse_query(query).terms == terms


def test_dates_are_where_the_reader_is() -> None:
    (term,) = parse_query("after:1970-01-01", zone=timezone(timedelta(hours=-2))).terms
    assert term == State("time >= ?", (7_200_000_000,))


# What it finds


def mail(subject: str, body: str, **headers: str) -> bytes:
    message = EmailMessage()
    message["Subject"] = subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message.as_bytes()


HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n"

MAILS: list[bytes] = [
    mail("Your order 4711", "It was sent\r\nyesterday.", To="Ann <ann@example.org>"),
    mail("100% _sure_ *now*", 'a "quoted" word; AND OR NOT NEAR(a, b) {subject}: ^x'),
    mail("Straße, ΣΊΣΥΦΟΣ, İstanbul, e\u0301te\u0301", "GRÜSSE aus Zürich", X_Tags="News, Zürich"),
    mail("日本語のメール", "吾輩は猫である。名前はまだ無い。"),
    mail("😀😃 family 👩‍👩‍👧", "emoji 😀"),
    mail("x", "y", Cc="carl@example.org", Reply_To="Help <help@example.org>"),
    mail("tags", "plus", To="bob+alpha+beta@example.org", X_Foo="one", X_Bar="two"),
    mail("many headers", "x", X_Foo="One more: thing", X_Baz="x-foo: no"),
    b"Subject: nul\0nul\r\n\r\na\0b \x01\x02\r\n",
    HTML + b"<style>unread</style><p>Vis<b>ible</b> te&shy;xt<td>cell<td>other <!-- hidden -->",
    HTML + b"<!-- <p>never ends",
    mail("long", "needle " + "hay " * (MAX_INDEXED_CHARACTERS // 4 + 10)),
    b"",
    *(ugly.octets for ugly in UGLY if len(ugly.octets) < 50_000),
]
MAILS += [mail(f"filler {number}", f"number {number}") for number in range(MAX_WAITING)]
MAILS += [mail("Late order 4711", "not in the index yet", From="Dora <dora@example.org>")]

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def arrivals() -> Iterator[Arrival]:
    for number, octets in enumerate(MAILS):
        yield Arrival(
            id=f"{number:022}",
            time=NOON + timedelta(minutes=number),
            mail_from="bounce@example.org",
            rcpt_tos=("bob@example.org", "eve@example.com"),
            octets=octets,
        )


@pytest.fixture(scope="module", params=["memory", "file"])
def mailbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mailbox]:
    path = tmp_path_factory.mktemp("search") / "mails.db" if request.param == "file" else None
    with Mailbox(path) as made:
        for one in arrivals():
            made.add(one)
        made.set_read([f"{number:022}" for number in range(0, len(MAILS), 3)])
        yield made


WORDS: dict[str, Words] = {
    one.id: words_of(
        parse_message(one.octets, rcpt_tos=one.rcpt_tos), mail_from="bounce@example.org"
    )
    for one in arrivals()
}


def is_found(term: Term, summary: Summary) -> bool:
    """Tell what SQL should say, by looking."""
    words = WORDS[summary.id]
    match term:
        case Text():
            found = any(term.text in getattr(words, place) for place in term.places)
        case Header():
            lines = words.headers.split("\n")
            name = f"{term.name}: "
            found = any(
                line.startswith(name) and term.text in line.removeprefix(name) for line in lines
            )
        case Tag():
            # SQLite knows the capitals of ASCII alone.
            found = term.name.encode().lower() in [tag.encode().lower() for tag in summary.tags]
        case State(sql="is_read"):
            found = summary.is_read
        case State(sql="NOT is_read"):
            found = not summary.is_read
        case State(sql="attachments > 0"):
            found = summary.attachments > 0
        case State(sql="inlines > 0"):
            found = summary.inlines > 0
        case State(sql="size > ?"):
            found = summary.size > term.values[0]
        case State(sql="size < ?"):
            found = summary.size < term.values[0]
        case State(sql="time < ?"):
            found = summary.time.timestamp() * 1e6 < term.values[0]
        case State(sql="time >= ?"):
            found = summary.time.timestamp() * 1e6 >= term.values[0]
        case _:
            found = bool(summary.tags)
    return found is not term.is_negated


ALPHABET = "abelnorsxyz ÄäßŸ日本😀\u0301\0\"-!:%_*?'(){}^+<>@.,;=#\\\n\t1247\ud800"
PIECES = [
    *("order", "4711", "ORDER", "yesterday", "it was sent yesterday", "strasse", "straße", "été"),
    *("grüsse", "猫", "日本語", "メール", "😀", "an", "a", "visible", "unread", "cell", "hidden"),
    *("needle", "hay", "example.org", "<bob@example.org>", "bounce", "filler 6", "nul", "ends"),
    *("100%", "_sure_", "AND", "NEAR(a, b)", '"', "NOT", "*", "x", "one", "thing", "pdf"),
]
NAMES = [
    *("", "from:", "to:", "cc:", "bcc:", "reply-to:", "addressed:", "subject:", "message-id:"),
    *("tag:", "header:x-foo=", "header:", "x-foo:", "x-", "is:", "has:", "before:", "larger:"),
]
FIXED = [
    *("is:read", "is:unread", "is:tagged", "has:attachment", "has:inline", "tag:news", "tag:beta"),
    *("before:2024-01-01T12:20Z", "after:2024-01-01T12:20Z", "larger:500", "smaller:0.5k"),
    *("header:x-foo", "header:subject=order", "x-foo:more", "header:x-baz=x-foo"),
]
PHRASES = st.one_of(st.sampled_from(PIECES), st.text(ALPHABET, max_size=6))
TERMS = st.one_of(
    st.sampled_from(FIXED),
    st.builds(str.__add__, st.sampled_from(NAMES), PHRASES),
    st.builds('{}"{}"'.format, st.sampled_from(NAMES), PHRASES),
    st.text(max_size=8),
)
QUERIES = st.lists(st.builds(str.__add__, st.sampled_from(["", "", "-", "!"]), TERMS), max_size=4)


@given(terms=QUERIES)
@example(terms=["order", "4711", '-"late order"'])
@example(terms=["needle", "-hay"])
@example(terms=['"'])
@example(terms=["tag:\ud800"])
@example(terms=["larger:999999999999m"])
def test_search_finds_what_looking_finds(mailbox: Mailbox, terms: list[str]) -> None:
    query = " ".join(terms)
    wanted = parse_query(query).terms
    every = mailbox.find()
    expected = [summary for summary in every if all(is_found(term, summary) for term in wanted)]
    assert list(mailbox.find(query)) == expected
    page = mailbox.search(query, start=1, limit=2)
    assert page.summaries == tuple(expected[1:3])
    assert page.found.total == len(expected)
    assert page.found.unread == sum(not summary.is_read for summary in expected)
    assert page.mailbox.total == len(every)


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("order 4711", ["Late order 4711", "Your order 4711"]),
        ('"sent yesterday"', ["Your order 4711"]),
        ("rder", ["Late order 4711", "Your order 4711"]),
        ("order -late", ["Your order 4711"]),
        ("from:dora", ["Late order 4711"]),
        ("to:<ann@example.org>", ["Your order 4711"]),
        ("needle", ["long"]),
        ("x-foo:one header:x-bar", ["tags"]),
        ("tag:alpha", ["tags"]),
        ("猫", ["日本語のメール"]),
        ("is:read subject:4711", ["Your order 4711"]),
    ],
)
def test_search(mailbox: Mailbox, query: str, subjects: list[str]) -> None:
    assert [found.subject for found in mailbox.find(query)] == subjects


def test_the_index_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "mails.db"
    with Mailbox(path) as mailbox:
        for number in range(MAX_WAITING):
            mailbox.add(replace(arrival(mail(f"number {number}", "")), id=f"{number}"))
        with mailbox._store.database.look() as connection:
            plan = connection.execute("SELECT count(*) FROM backlog").fetchone()
        assert plan == (0,)
        assert len(mailbox.find("number")) == MAX_WAITING


@pytest.mark.parametrize(
    "query",
    ["order", "or", "header:to=ann", "order or", "order header:to=ann", "or header:to=ann tag:a"],
)
def test_an_index_is_asked_once(tmp_path: Path, query: str) -> None:
    # FTS5 tells that it is asked message by message by a "=" in the name of its plan.
    with (
        Mailbox(tmp_path / "mails.db").scoped("team") as mailbox,
        mailbox._store.database.look() as connection,
    ):
        plan = [
            step
            for numbers in numbers_of(parse_query(query), mailbox.name, is_indexed=True)
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {numbers.sql}", numbers.values)
        ]
        steps = [step for step in plan if "VIRTUAL TABLE" in step or "header" in step]
        assert steps
        assert not [step for step in steps if "=M" in step or "number=?" in step]


def test_texts_that_the_tokenizer_could_part(tmp_path: Path) -> None:
    every = "".join(character for character in map(chr, range(1, 0x250)) if character.islower())
    every += "".join(map(chr, range(0x21, 0x30))) + ":;<=>?@[\\]^_`{|}~\x01\x1b\x7f日😀"
    words = fold(every)
    with Mailbox(tmp_path / "mails.db") as mailbox:
        for number in range(MAX_WAITING):
            mailbox.add(replace(arrival(mail("", every[:: number % 3 + 1])), id=f"{number}"))
        every_text = [fold(every[::step]) for step in (1, 2, 3)]
        for at in range(len(words) - 1):
            piece = words[at : at + 2]
            query = f'"{piece}"'
            if '"' in piece or piece.startswith(" ") or piece.endswith(" "):
                continue
            expected = sum(piece in every_text[number % 3] for number in range(MAX_WAITING))
            assert mailbox.search(query).found.total == expected, piece


# Folding


@given(st.text(), st.text())
def test_folding_is_stable(one: str, other: str) -> None:
    folded = fold(one)
    assert fold(folded) == folded
    assert fold(f" {one}\r\n") == folded
    folded.encode()  # no lone surrogate, which SQLite takes none of
    assert "\0" not in folded
    assert "\n" not in folded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("STRASSE", "straße"),
        ("e\u0301", "É"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("a\r\n\tb", "A b"),
        ("\u1e9b\u0323", "\u1e9b\u0323"),
    ],
)
def test_what_looks_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@given(st.lists(st.text(st.sampled_from("aB \t\r\0\x1c\x7fÄß:"))))
def test_headers_are_folded_line_by_line(values: list[str]) -> None:
    octets = b"".join(b"X-A: " + value.encode().replace(b"\r", b"") + b"\r\n" for value in values)
    message = parse_message(octets + b"\r\n")
    lines = words_of(message, mail_from="").headers.split("\n")
    assert lines == ["", *(fold(f"{name}: {value}") for name, value in message.headers), ""]
