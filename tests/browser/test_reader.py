"""The reader: one message, its views, and what can be done with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.catcher import Catcher, Reading, mail
from tests.cli.program import Program

HTML = """<!doctype html><html><head><style>
body { background: #ffffff } p { width: 400px }
@media (prefers-color-scheme: dark) { body { background: #000000 } }
@media (max-width: 500px) { p { width: 100px } }
</style></head><body><p id="hello">Hello <b>Ben</b></p>
<a href="https://shop.example/orders/7301">Your order</a></body></html>"""


def test_views_of_a_message(reading: Reading, page: Page) -> None:
    reading.catcher.send(
        mail(
            "Your order",
            "Hello Ben: https://shop.example/orders/7301.\n",
            HTML,
            attachments=[("receipt.pdf", "application/pdf", b"%PDF-1.4")],
            Cc="Carl <carl@example.org>",
            X_Campaign="spring",
        )
    )
    reading.arrive()
    reading.open("Your order")
    reader = reading.reader
    expect(reader.locator("header dl")).to_contain_text("Ann Example <ann@example.org>")
    expect(reader.locator("header dl")).to_contain_text("Carl <carl@example.org>")
    tabs = page.get_by_role("tab")
    names = "HTML Text Source Headers Raw Attachments1 Envelope Dialogue Checks"
    expect(tabs).to_have_text(names.split())
    expect(page.frame_locator("iframe").locator("#hello")).to_have_text("Hello Ben")
    panel = reading.tab("Text")
    expect(panel).to_contain_text("Hello Ben: https://shop.example/orders/7301.")
    link = panel.get_by_role("link")
    expect(link).to_have_attribute("href", "https://shop.example/orders/7301")
    expect(link).to_have_attribute("rel", re.compile("noopener"))
    expect(reading.tab("Source")).to_contain_text('<p id="hello">Hello <b>Ben</b></p>')
    expect(reading.tab("Headers").get_by_role("row", name="X-Campaign")).to_contain_text("spring")
    expect(reading.tab("Raw")).to_contain_text("Content-Type: multipart/mixed")
    with page.expect_download() as download:
        reading.panel.get_by_role("link", name="Download").click()
    assert b"X-Campaign: spring\r\n" in Path(download.value.path()).read_bytes()
    expect(reading.tab("Attachments")).to_contain_text("receipt.pdf")
    expect(reading.panel).to_contain_text("application/pdf, 8 B")
    with page.expect_download() as download:
        reading.panel.get_by_role("link", name="receipt.pdf").click()
    assert download.value.suggested_filename == "receipt.pdf"
    assert Path(download.value.path()).read_bytes() == b"%PDF-1.4"
    panel = reading.tab("Envelope")
    expect(panel.get_by_role("row", name="MailFrom")).to_contain_text("ann@example.org")
    expect(panel.get_by_role("row", name="RcptTo")).to_contain_text("ben@example.org")
    expect(reading.tab("Dialogue")).to_contain_text(
        re.compile("C: rcpt TO:.*\nS: 250", re.IGNORECASE)
    )
    expect(reading.tab("Checks").get_by_role("button")).to_have_count(2)


def test_the_view_stays_from_one_message_to_the_next(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("One", html="<p>One"), mail("Two"), mail("Three", html="<p>Three"))
    reading.arrive()
    reading.open("Three")
    expect(page.get_by_role("tab", selected=True)).to_have_text("HTML")
    reading.open("Two")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Text")
    expect(page.get_by_role("tab", name="HTML")).to_have_count(0)
    reading.open("One")
    expect(page.get_by_role("tab", selected=True)).to_have_text("HTML")
    reading.tab("Headers")
    reading.open("Two")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Headers")


def test_widths_and_dark(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("Wide", html=HTML))
    reading.arrive()
    reading.open("Wide")
    paragraph = page.frame_locator("iframe").locator("p")
    body = page.frame_locator("iframe").locator("body")
    expect(paragraph).to_have_css("width", "400px")
    expect(body).to_have_css("background-color", "rgb(255, 255, 255)")
    reading.panel.get_by_role("button", name="320 px").click()
    expect(paragraph).to_have_css("width", "100px")
    reading.panel.get_by_role("button", name="768 px").click()
    expect(page.locator("iframe")).to_have_css("width", "768px")
    reading.panel.get_by_role("button", name="Dark").click()
    expect(body).to_have_css("background-color", "rgb(0, 0, 0)")
    reading.panel.get_by_role("button", name="Dark").click()
    expect(body).to_have_css("background-color", "rgb(255, 255, 255)")


def test_a_code_is_copied(reading: Reading, page: Page, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    reading.catcher.send(mail("Your code", "Your code is 493021.\n"))
    reading.arrive()
    reading.open("Your code")
    reading.reader.get_by_role("button", name="493021").click()
    expect(page.get_by_role("alert")).to_contain_text("493021 copied")
    assert page.evaluate("navigator.clipboard.readText()") == "493021"


def test_links_open_pages_of_their_own(
    reading: Reading, page: Page, context: BrowserContext
) -> None:
    context.route("https://shop.example/**", lambda route: route.fulfill(body="The shop"))
    reading.catcher.send(mail("Link", html=HTML))
    reading.arrive()
    reading.open("Link")
    with page.expect_popup() as popup:
        page.frame_locator("iframe").get_by_role("link").click()
    expect(popup.value.get_by_text("The shop")).to_be_visible()
    assert popup.value.evaluate("[window.opener, document.referrer, window.origin]") == [
        None,
        "",
        "https://shop.example",
    ]
    assert page.url.startswith(reading.catcher.address)


def test_release(page: Page) -> None:
    with Program("sink", "--listen", "127.0.0.1:0") as sink:
        port = sink.ready_port()
        with Catcher("--relay-to", f"smtp://127.0.0.1:{port}") as catcher:
            catcher.send(mail("To release"))
            reading = Reading(page, catcher)
            reading.arrive()
            reading.open("To release")
            page.keyboard.press("r")
            field = page.get_by_role("dialog").get_by_role("textbox")
            expect(field).to_have_value("ben@example.org")
            field.fill("carl@example.org")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("Sent on")


def test_nothing_to_release_to(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail())
    reading.arrive()
    reading.open("Lunch")
    expect(page.get_by_role("button", name="Release")).to_have_count(0)
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_checks(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("Checked", html='<div style="display:flex">x</div>'))
    reading.arrive()
    reading.open("Checked")
    reading.tab("Checks").get_by_role("button", name="Check the HTML").click()
    expect(reading.panel).to_contain_text("% understood")
    expect(reading.panel).to_contain_text("display:flex")
    reading.panel.get_by_role("button", name="Ask the links").click()
    expect(reading.panel).to_contain_text("There are no links.")


@pytest.mark.parametrize("subject", ["", "x" * 900, "Größe 😀 עברית"])
def test_ugly_subjects(reading: Reading, page: Page, subject: str) -> None:
    reading.catcher.send(mail(subject))
    reading.arrive()
    reading.rows.get_by_role("link").click()
    expect(reading.reader.get_by_role("heading", level=1)).to_have_text(subject or "(no subject)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_mail_of_nothing(reading: Reading, page: Page) -> None:
    reading.catcher.send(b"")
    reading.arrive()
    reading.rows.get_by_role("link").click()
    expect(reading.reader.get_by_role("heading", level=1)).to_have_text("(no subject)")
    for name in reading.tabs():
        assert reading.panel.locator(".error").count() == 0, name


def test_a_long_text(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("Long", "All work and no play.\n" * 50_000))
    reading.arrive()
    reading.open("Long")
    expect(reading.panel).to_contain_text("The first 400,000 characters")
    reading.tab("Raw")
    expect(reading.panel.get_by_role("link", name="Download 1.2 MB")).to_be_visible()
    expect(reading.panel.locator("pre")).to_contain_text("From: Ann Example")


def test_many_recipients(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail(to=", ".join(f"P{number}@example.org" for number in range(80))))
    reading.arrive()
    reading.open("Lunch")
    head = reading.reader.locator("header dl")
    expect(head).to_contain_text("P4@example.org, 75 more")
    expect(head).not_to_contain_text("P5@example.org")
    head.get_by_role("button", name="75 more").click()
    expect(head).to_contain_text("P4@example.org, P5@example.org")
    expect(head).to_contain_text("P79@example.org")


def test_from_right_to_left(reading: Reading, page: Page) -> None:
    reading.catcher.send(
        mail("שלום, Ben", "שלום\nHello\n", sender="דוד כהן <david@example.org>"),
    )
    reading.arrive()
    subject = reading.row("שלום").locator(".subject")
    expect(subject).to_have_css("direction", "rtl")
    reading.open("שלום, Ben")
    expect(reading.reader.get_by_role("heading", level=1)).to_have_css("direction", "rtl")
    # The name is before its address, each in its own direction.
    expect(reading.reader.locator("header bdi")).to_have_text("דוד כהן")
    expect(reading.tab("Text").locator("pre")).to_have_css("unicode-bidi", "plaintext")
