"""What is around the mail: addresses, keys, light and dark, narrow screens, a server that went."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.catcher import Catcher, Reading, mail


def test_keys(reading: Reading, page: Page) -> None:
    reading.catcher.send(*[mail(f"Number {number}", html="<p>x") for number in range(5)])
    reading.arrive()
    title = reading.reader.get_by_role("heading", level=1)
    press = page.keyboard.press
    press("j")
    expect(title).to_have_text("Number 4")
    press("j")
    expect(title).to_have_text("Number 3")
    press("ArrowDown")
    expect(title).to_have_text("Number 2")
    press("k")
    expect(title).to_have_text("Number 3")
    press("]")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Text")
    press("[")
    press("[")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Checks")
    press("x")
    expect(page.get_by_label("Select Number 3")).to_be_checked()
    press("x")
    expect(page.get_by_label("Select Number 3")).not_to_be_checked()
    press("u")
    expect(title).to_have_count(0)
    expect(page.locator("#list li.unread .subject")).to_have_text(
        ["Number 3", "Number 1", "Number 0"]
    )
    press("j")
    expect(title).to_have_text("Number 4")
    press("d")
    expect(title).to_have_text("Number 3")
    expect(reading.rows).to_have_count(4)
    press("t")
    expect(page.get_by_role("dialog", name="Tags of 1 message")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(title).to_have_text("Number 3")
    press("Escape")
    expect(title).to_have_count(0)
    press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("the message below")
    press("Escape")
    press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("jkxd?")
    expect(page.get_by_role("searchbox")).to_have_value("jkxd?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    press("Escape")
    press("Escape")
    expect(reading.rows).to_have_count(4)


def test_the_ends_of_the_list(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("One"), mail("Two"))
    reading.arrive()
    title = reading.reader.get_by_role("heading", level=1)
    for key in "jkk":
        page.keyboard.press(key)
    expect(title).to_have_text("Two")
    for key in "jjj":
        page.keyboard.press(key)
    expect(title).to_have_text("One")
    page.keyboard.press("d")
    expect(title).to_have_text("Two")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", name="No mail yet")).to_be_visible()
    for key in "jkxudtr[]":
        page.keyboard.press(key)
    expect(title).to_have_count(0)


def test_addresses(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("One"), mail("Two"), mail("Dinner", "Soup\n"))
    id_ = reading.catcher.summaries()[1]["ID"]
    reading.arrive(f"#m={id_}")
    title = reading.reader.get_by_role("heading", level=1)
    expect(title).to_have_text("Two")
    reading.open("One")
    page.go_back()
    expect(title).to_have_text("Two")
    page.go_forward()
    expect(title).to_have_text("One")
    page.reload()
    expect(title).to_have_text("One")
    page.get_by_role("searchbox").fill("soup")
    page.keyboard.press("Enter")
    reading.open("Dinner")
    expect(page).to_have_url(re.compile("#q=soup&m="))
    page.reload()
    expect(reading.rows).to_have_count(1)
    expect(title).to_have_text("Dinner")
    expect(page.get_by_role("searchbox")).to_have_value("soup")


def test_a_message_that_is_gone(reading: Reading, page: Page) -> None:
    reading.arrive("#m=AAAAAAAAAAAAAAAAAAAAAA")
    expect(page.get_by_role("heading", name="This message cannot be shown")).to_be_visible()
    page.get_by_role("button", name="Back to the list").click()
    expect(page.get_by_role("heading", name="No mail yet")).to_be_visible()


def test_the_first_message(reading: Reading, page: Page) -> None:
    reading.arrive()
    empty = page.locator("#empty")
    expect(empty).to_contain_text("127.0.0.1")
    expect(empty.locator("pre")).to_contain_text(f"smtp://127.0.0.1:{reading.catcher.smtp_port}")


def test_light_and_dark(reading: Reading, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    reading.catcher.send(mail("Mail", html="<p>x"))
    reading.arrive()
    ground = page.locator("body")
    dark, light = "rgb(23, 23, 26)", "rgb(246, 245, 244)"
    expect(ground).to_have_css("background-color", dark)
    reading.open("Mail")
    expect(page.get_by_role("button", name="Dark", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    button = page.get_by_role("button", name="Light or dark")
    button.click()
    button.click()
    expect(ground).to_have_css("background-color", light)
    page.reload()
    expect(ground).to_have_css("background-color", light)
    button.click()
    expect(ground).to_have_css("background-color", dark)


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone(reading: Reading, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    reading.catcher.send(
        mail("A subject that is rather long for so narrow a screen", html="<p>" + "x" * 900)
    )
    reading.arrive()

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    expect(reading.reader).not_to_be_visible()
    assert fits()
    page.get_by_label("Select A subject").check()
    expect(page.get_by_title("Delete the selected")).to_be_in_viewport(ratio=1)
    assert fits()
    page.get_by_label("Select A subject").uncheck()
    reading.rows.get_by_role("link").click()
    expect(page.get_by_role("region", name="Messages")).not_to_be_visible()
    expect(reading.reader.get_by_role("button", name="Delete")).to_be_in_viewport(ratio=1)
    assert fits()
    for name in reading.tabs():
        assert fits(), name
    page.get_by_role("button", name="Back").click()
    expect(reading.rows).to_have_count(1)
    expect(reading.reader).not_to_be_visible()


def test_a_phone_with_a_long_mail(reading: Reading, page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    people = ", ".join(f"Person {number} <p{number}@example.org>" for number in range(60))
    reading.catcher.send(mail("A long subject. " * 30, "Hello\n" * 200, to=people))
    reading.arrive()
    reading.rows.get_by_role("link").click()
    expect(page.get_by_role("banner")).not_to_be_visible()
    title = reading.reader.get_by_role("heading", level=1)
    tools, title_box = reading.reader.get_by_role("toolbar").bounding_box(), title.bounding_box()
    assert tools is not None
    assert title_box is not None
    assert title_box["y"] >= tools["y"] + tools["height"]
    for button in reading.reader.get_by_role("toolbar").get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert tools["y"] <= box["y"] <= box["y"] + box["height"] <= tools["y"] + tools["height"]


@pytest.mark.parametrize("width", [320, 768])
def test_the_count_is_seen_whole(reading: Reading, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 640})
    reading.catcher.send(*[b"Subject: %s\r\n\r\n" % (b"odd", b"even")[i % 2] for i in range(1_002)])
    reading.arrive()
    for query, count in (("", "1,002 messages"), ("#q=even", "501 of 1,002 messages")):
        reading.arrive(query)
        expect(page.locator("#count")).to_have_text(count)
        assert page.locator("#count").evaluate("one => one.scrollWidth <= one.clientWidth")
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_server_that_starts_again(page: Page, tmp_path: Path) -> None:
    path = str(tmp_path / "mails.db")
    with Catcher("--db", path) as catcher:
        reading = Reading(page, catcher)
        catcher.send(mail("Before"))
        reading.arrive()
        expect(reading.row("Before")).to_be_visible()
        assert catcher.program.stop() == (0, [])
        expect(page.get_by_role("status")).to_have_text("Not connected")
        page.keyboard.press("j")
        expect(page.get_by_role("article")).to_contain_text("the server does not answer")
        with Catcher("--db", path, smtp=catcher.smtp_port, http=catcher.http_port) as again:
            expect(reading.reader.get_by_role("heading", level=1)).to_have_text("Before")
            again.ask("api/v1/messages", method="DELETE")
            again.send(mail("After"))
            expect(reading.row("After")).to_be_visible()
            expect(page.get_by_role("status")).to_be_empty()
            expect(reading.rows).to_have_count(1)
            again.send(mail("Later"))
            expect(reading.row("Later")).to_be_visible()


def test_names_and_roles(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("Mail", html="<p>x", attachments=[("a.png", "image/png", b"x")]))
    reading.arrive()
    reading.open("Mail")
    for role in ("banner", "navigation", "main", "search", "article", "tablist", "tabpanel"):
        expect(page.get_by_role(role)).to_have_count(1)
    unnamed = """() => [...document.querySelectorAll("button, a, input, iframe, [role=tab]")]
      .filter((one) => one.checkVisibility() && !(one.ariaLabel || one.textContent.trim()
        || one.title || one.labels?.length || one.getAttribute("aria-labelledby")))
      .map((one) => one.outerHTML)"""
    for name in reading.tabs():
        named_by = reading.panel.get_attribute("aria-labelledby")
        assert page.locator(f"#{named_by}").text_content() == name
        assert page.evaluate(unnamed) == []


def test_the_way_of_the_tab_key(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("One"), mail("Two"))
    reading.arrive()
    expect(reading.rows).to_have_count(2)
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "document.activeElement.ariaLabel || document.activeElement.textContent.trim()"
            )
        )
    wanted = ["Skip to the messages", "Search the mail", "All mail2", "Select all", "Select Two"]
    places = [seen.index(one) for one in wanted]
    assert places == sorted(places), seen
    assert seen.index("Select Two") < seen.index("Select One")


def test_the_focus_stays_where_it_was(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("One"), mail("Two"), mail("Three"))
    reading.arrive()
    reading.open("Three")
    button = reading.reader.get_by_role("button", name="Delete")
    button.focus()
    page.keyboard.press("Enter")
    expect(reading.reader.get_by_role("heading", level=1)).to_have_text("Two")
    expect(button).to_be_focused()
    page.set_viewport_size({"width": 390, "height": 640})
    button = reading.reader.get_by_role("button", name="Back")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Select Two")).to_be_focused()


def test_the_focus_stays_in_a_row_that_changes(reading: Reading, page: Page) -> None:
    reading.catcher.send(mail("One"), mail("Two"))
    reading.arrive()
    ids = {one["Subject"]: one["ID"] for one in reading.catcher.summaries()}
    for place in (page.get_by_label("Select One"), reading.row("One").get_by_role("link")):
        place.focus()
        for is_read in (True, False):
            reading.catcher.ask("api/v1/messages", method="PUT", IDs=[ids["One"]], Read=is_read)
            expect(page.locator("li.unread")).to_have_count(1 if is_read else 2)
            expect(place).to_be_focused()
    reading.catcher.send(mail("Three"))
    expect(page.get_by_label("Select Three")).to_be_visible()
    expect(place).to_be_focused()


def test_contrast(reading: Reading, chromium: Browser) -> None:
    """Text is told from its ground (WCAG 1.4.3), in light and dark."""
    reading.catcher.send(mail("One", X_Tags="tag"), mail("Two"))
    for scheme in ("light", "dark"):
        page = chromium.new_page(color_scheme=scheme)
        reading = Reading(page, reading.catcher)
        reading.arrive()
        reading.open("One")
        reading.tab("Envelope")
        assert page.evaluate(CONTRAST) == []
        page.close()


CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0.99) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const pair = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) found.push([texts.currentNode.data, ratio]);
  }
  return found;
}"""
