"""Hostile HTML in a browser: no script runs, nobody is asked, nothing gets out of the frame.

Each case is played three times as a mail (in the reader; alone; alone as the reader has it),
and before that in a page of a stranger, which has no defence: there the canary hears of it, or the
test would tell nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.canary import Canary
from tests.browser.cases import CASES, HARMLESS_ANYWHERE, SCRIPT
from tests.browser.catcher import Catcher, Reading, mail

SETTLED = """async () => {
  for (let frame = 0; frame < 4; frame += 1) await new Promise(requestAnimationFrame);
  await new Promise((done) => requestIdleCallback(done, { timeout: 500 }));
}"""


@dataclass
class Stage:
    """Where a case is played: the reader, pages for mail alone, and a page of a stranger's.

    Attributes:
        canary: Must not hear of mail.
        control: Hears of the same HTML in the stranger's page.
    """

    reader: Page
    alone: Page
    embedded: Page
    unprotected: Page
    canary: Canary
    control: Canary
    stranger: Canary
    surprises: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def stage(chromium: Browser) -> Iterator[Stage]:
    # Windows of their own: what is behind another one draws once a second.
    contexts = [chromium.new_context() for _ in range(4)]
    reader, alone, embedded, unprotected = (context.new_page() for context in contexts)
    canaries = canary, control, stranger = Canary(), Canary(), Canary()
    stage = Stage(reader, alone, embedded, unprotected, canary, control, stranger)
    for page in (reader, alone, embedded):
        page.on("popup", lambda one: stage.surprises.append(f"a page of its own: {one.url}"))
        page.on("download", lambda one: stage.surprises.append(f"a download: {one.url}"))
        page.on("dialog", lambda one: stage.surprises.append(f"a dialog: {one.message}"))
    yield stage
    came = list(canary.came)
    for context in contexts:
        context.close()
    for canary in canaries:
        canary.close()
    assert (came, stage.surprises) == ([], [])


def written(html: str, canary: Canary) -> str:
    return html.format(canary=canary.address, host=canary.address.removeprefix("http://"))


@pytest.mark.parametrize("name", CASES)
def test_hostile_html(name: str, stage: Stage, catcher: Catcher) -> None:
    stage.canary.clear()
    stage.surprises.clear()
    if name not in HARMLESS_ANYWHERE:
        stage.control.clear()
        stage.stranger.pages["/"] = "<!doctype html>" + written(CASES[name], stage.control)
        stage.unprotected.goto(stage.stranger.address, wait_until="commit")
        stage.control.wait()

    subject = f"Hostile: {name}"
    catcher.send(mail(subject, "text", written(CASES[name], stage.canary)))
    [summary] = catcher.summaries()
    address = f"{catcher.address}/#m={summary['ID']}"
    stage.reader.goto(address)  # the page stays, and shows the next message
    expect(stage.reader.get_by_role("heading", level=1)).to_have_text(subject)
    frame = stage.reader.locator("iframe").element_handle().content_frame()
    assert frame is not None
    frame.wait_for_load_state()
    stage.reader.evaluate(SETTLED)
    assert (stage.canary.came, stage.surprises) == ([], [])
    assert stage.reader.url == address
    assert stage.reader.title() != "taken"
    assert frame.url.startswith(f"{catcher.address}/view/")
    view = f"{catcher.address}/view/{summary['ID']}.html"
    stage.alone.goto(view)
    stage.embedded.goto(f"{view}?embed=1")
    stage.reader.evaluate(SETTLED)  # where scripts may run
    assert (stage.canary.came, stage.surprises) == ([], [])
    assert (stage.alone.url, stage.embedded.url) == (view, f"{view}?embed=1")
    assert "taken" not in (stage.alone.title(), stage.embedded.title())


# What stands in the page itself: no frame around it, but no HTML is made of it either.
TEXTS = (
    '"><img src=x onerror=SCRIPT>',
    "<script>SCRIPT</script>",
    "'-SCRIPT-'",
    "javascript:SCRIPT",
    "{{SCRIPT}}${SCRIPT}",
)


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_texts(text: str, stage: Stage, catcher: Catcher) -> None:
    stage.canary.clear()
    stage.surprises.clear()
    said = text.replace("SCRIPT", written(SCRIPT, stage.canary))
    catcher.send(
        mail(
            f"Subject {said}",
            f"{said}\nhttps://example.org/{said} {said}\n",
            sender=f"=?utf-8?b?{b64encode(said.encode()).decode()}?= <ann@example.org>",
            attachments=[(said, "image/png", b"x"), (f"{said}.html", "text/html", b"<b>x</b>")],
            X_Tags=said,
            X_Any=said,
        ),
        user=f"ann {said}",
    )
    page = stage.reader
    page.goto("about:blank")
    page.goto(f"{catcher.address}/#{urlencode({'q': said})}")
    expect(page.locator("body.live #count:not(:empty)")).to_be_attached()
    page.goto(f"{catcher.address}/#m={catcher.summaries()[0]['ID']}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Subject {said}")
    reading = Reading(page, catcher)
    names = list(reading.tabs())
    assert "Attachments2" in names
    page.keyboard.press("t")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.evaluate(SETTLED)
    assert (stage.canary.came, stage.surprises) == ([], [])
    assert "taken" not in page.title()
    assert page.evaluate("top.name") == ""
    assert page.locator("[onerror], #reader script, #list script, #side script").count() == 0
    assert page.locator("a[href^='javascript:' i]").count() == 0
