"""Links and one-time codes in mail."""

from __future__ import annotations

import time
from email.message import EmailMessage

import pytest

from pillarbox.catcher.finding import Link, codes_of, links_of
from pillarbox.catcher.message import ParsedMessage, parse_message


def mail(text: str | None = None, html: str | None = None, subject: str = "Hi") -> ParsedMessage:
    message = EmailMessage()
    message["Subject"] = subject
    if text is not None:
        message.set_content(text)
    if html is not None and text is not None:
        message.add_alternative(html, subtype="html")
    elif html is not None:
        message.set_content(html, subtype="html")
    return parse_message(message.as_bytes())


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("Go to https://example.org/reset?a=1&b=2.", ["https://example.org/reset?a=1&b=2"]),
        ("(see https://example.org/a_(b))", ["https://example.org/a_(b)"]),
        ("<https://example.org/x>", ["https://example.org/x"]),
        ("http://a.test, http://b.test; http://a.test", ["http://a.test", "http://b.test"]),
        ("HTTPS://EXAMPLE.ORG/", ["HTTPS://EXAMPLE.ORG/"]),
        ("ftp://example.org mailto:ann@example.org https:// nothttps://x", []),
        ("**https://example.org/bold**", ["https://example.org/bold"]),
    ],
)
def test_links_of_text(text: str, urls: list[str]) -> None:
    assert [link.url for link in links_of(mail(text))] == urls


@pytest.mark.parametrize(
    ("html", "links"),
    [
        (
            '<a href="https://example.org/?a=1&amp;b=2">Press <b>here</b></a>',
            [Link("https://example.org/?a=1&b=2", "Press here")],
        ),
        ("<A HREF=https://x.test/1>one", [Link("https://x.test/1", "")]),
        ("<a href='https://x.test/\n2'> two </a>", [Link("https://x.test/2", "two")]),
        ("<a name=x>no</a><a href=''>no</a>", []),
        ('<!-- <a href="https://hidden.test">x</a> -->', []),
        ('<area href="https://map.test">', [Link("https://map.test", "")]),
        ('<a data-href="no" href="mailto:ann@x.test">Ann</a>', [Link("mailto:ann@x.test", "Ann")]),
        ('<a title=">" href="https://x.test/3">3</a>', [Link("https://x.test/3", "3")]),
    ],
)  # fmt: skip
def test_links_of_html(html: str, links: list[Link]) -> None:
    assert list(links_of(mail(html=html))) == links


def test_a_link_of_both_is_told_once() -> None:
    message = mail("https://x.test/1", '<a href="https://x.test/1">Confirm</a>')
    assert links_of(message) == (Link("https://x.test/1", "Confirm"),)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Your verification code is 482913.", "482913"),
        ("482913 is your Example code", "482913"),
        ("Hello,\n\n    482 913\n\nBye, Ann (2026)", "482913"),
        ("Use code 123-456 within 10 minutes", "123456"),
        ("G-482913 is your verification code", "G-482913"),
        ("Your login code: X7K9QP", "X7K9QP"),
        ("PIN: 0042", "0042"),
        ("Your one-time password\n\nAB12-CD34\n", "AB12-CD34"),
        ("Ihr Bestätigungscode lautet 20261.", "20261"),
        ("order 99887766 of 2026, total 1200.00 EUR. Your code: 5521", "5521"),
    ],
)
def test_a_code_is_found(text: str, code: str) -> None:
    assert codes_of(mail(text))[0] == code


def test_a_code_in_the_subject_or_the_html_is_found() -> None:
    assert codes_of(mail("Hello", subject="Your code is 991122")) == ("991122",)
    html = "<p>Your sign-in code</p><table><tr><td><b>77 88 99</b><h1>554433</h1></td></tr></table>"
    assert codes_of(mail(html=html)) == ("554433",)


@pytest.mark.parametrize(
    "text",
    [
        "Your order 20261121 is on its way, 1,299.00 EUR, see https://shop.test/o/482913",
        "Call +49 30 1234567 or 0800-123456.",
        "Meet on 2026-11-21 at 10:30.",
        "",
    ],
)
def test_other_numbers_are_no_codes(text: str) -> None:
    assert codes_of(mail(text)) == ()


@pytest.mark.parametrize(
    "piece", ["<a href=", "https://a", ")", "code 1", "1234 ", "https://a(", "<a ", "A1-", "<!--"]
)
def test_hostile_text_takes_no_time(piece: str) -> None:
    message = mail("https://a" + piece * 20_000, html=piece * 20_000)
    began = time.process_time()
    codes_of(message)
    links_of(message)
    assert time.process_time() - began < 5
