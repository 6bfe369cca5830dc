"""Hostile HTML in a browser: no script runs, nobody is asked, nothing gets out of the frame.

Each case is played three times as a mail (in the reader; alone; alone as the reader has it),
and before that in a page of a stranger, which has no defence: there the canary hears of it, or the
test would tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.canary import Canary
from tests.browser.cases import CASES, HARMLESS_ANYWHERE
from tests.browser.catcher import Catcher, mail

SETTLED = """async () => {
  for (let frame = 0; frame < 4; frame += 1) await new Promise(requestAnimationFrame);
  await new Promise((done) => requestIdleCallback(done, { timeout: 500 }));
}"""


@dataclass
class Stage:
    """Where a case is played: the reader, a page for mail alone, and a page of a stranger's.

    Attributes:
        canary: Must not hear of mail.
        control: Hears of the same HTML in the stranger's page.
    """

    reader: Page
    alone: Page
    unprotected: Page
    canary: Canary
    control: Canary
    stranger: Canary
    surprises: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def stage(chromium: Browser) -> Iterator[Stage]:
    # Windows of their own: what is behind another one draws once a second.
    contexts = [chromium.new_context() for _ in range(3)]
    reader, alone, unprotected = (context.new_page() for context in contexts)
    canaries = canary, control, stranger = Canary(), Canary(), Canary()
    stage = Stage(reader, alone, unprotected, canary, control, stranger)
    for page in (reader, alone):
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

    catcher.send(mail("Hostile", "text", written(CASES[name], stage.canary)))
    [summary] = catcher.summaries()
    address = f"{catcher.address}/#m={summary['ID']}"
    stage.reader.goto("about:blank")
    stage.reader.goto(address)
    expect(stage.reader.get_by_role("heading", level=1)).to_have_text("Hostile")
    frame = stage.reader.locator("iframe").element_handle().content_frame()
    assert frame is not None
    frame.wait_for_load_state()
    stage.reader.evaluate(SETTLED)
    assert (stage.canary.came, stage.surprises) == ([], [])
    assert stage.reader.url == address
    assert stage.reader.title() != "taken"
    assert frame.url.startswith(f"{catcher.address}/view/")
    for query in ("", "?embed=1"):
        view = f"{catcher.address}/view/{summary['ID']}.html{query}"
        stage.alone.goto(view)
        stage.reader.evaluate(SETTLED)  # where scripts may run
        assert (stage.canary.came, stage.surprises) == ([], [])
        assert stage.alone.url == view
        assert stage.alone.title() != "taken"
