"""A catcher that runs, mail for it, and what a person does on its page."""

from __future__ import annotations

import json
import smtplib
import urllib.request
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.cli.program import TIME_LIMIT_SECONDS, Program

__all__ = ["Catcher", "Reading", "mail"]


def mail(
    subject: str = "Lunch",
    text: str | None = "At noon?\n",
    html: str | None = None,
    *,
    sender: str = "Ann Example <ann@example.org>",
    to: str = "ben@example.org",
    attachments: Sequence[tuple[str, str, bytes]] = (),
    **headers: str,
) -> bytes:
    """Write a message; attachments are a file name, a type and octets each."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    if text is not None:
        message.set_content(text)
    if html is not None:
        if text is None:
            message.set_content(html, subtype="html")
        else:
            message.add_alternative(html, subtype="html")
    for file_name, kind, octets in attachments:
        main, _, sub = kind.partition("/")
        message.add_attachment(octets, maintype=main, subtype=sub, filename=file_name)
    return message.as_bytes(policy=SMTP)


class Catcher:
    """`pillarbox catch`, with a page, on ports of its own.

    Args:
        arguments: More for the command line.
        smtp: The port for mail, 0 for any.
        http: The port of the page, 0 for any.
    """

    def __init__(self, *arguments: str, smtp: int = 0, http: int = 0) -> None:
        self.program = Program(
            "catch",
            *("--quiet", "--listen", f"127.0.0.1:{smtp}", "--http", f"127.0.0.1:{http}"),
            *arguments,
        )
        try:
            self.smtp_port = self.program.ready_port()
            self.address = self.program.ready()
        except BaseException:
            self.program.__exit__(None, None, None)
            raise
        self.http_port = int(self.address.rpartition(":")[2])

    def __enter__(self) -> Catcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.__exit__(None, None, None)

    def send(self, *mails: bytes, to: str = "ben@example.org", user: str = "") -> None:
        """Send messages over one connection."""
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=TIME_LIMIT_SECONDS) as client:
            if user:
                client.login(user, "secret")
            for octets in mails:
                client.sendmail("ann@example.org", [to], octets)

    def ask(self, path: str, *, method: str = "GET", **body: Any) -> Any:
        """Call the API."""
        request = urllib.request.Request(
            f"{self.address}/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"} if body else {},
        )
        with urllib.request.urlopen(request, timeout=TIME_LIMIT_SECONDS) as answer:
            octets = answer.read()
            return json.loads(octets) if "json" in answer.headers["Content-Type"] else octets

    def summaries(self) -> list[dict[str, Any]]:
        """List the messages, the newest first."""
        found: list[dict[str, Any]] = self.ask("api/v1/messages?limit=1000")["messages"]
        return found

    def subjects(self) -> list[str]:
        """List their subjects."""
        return [str(summary["Subject"]) for summary in self.summaries()]

    def clear(self) -> None:
        """Delete all mail."""
        self.ask("api/v1/messages", method="DELETE")


class Reading:
    """Somebody who looks at the page.

    Args:
        page: Where they look.
        catcher: Whose page it is.
    """

    def __init__(self, page: Page, catcher: Catcher) -> None:
        self.page = page
        self.catcher = catcher
        self.rows = page.locator("#list li:not(.hole)")
        self.reader = page.get_by_role("article", name="Message")
        self.panel = page.get_by_role("tabpanel")

    def arrive(self, fragment: str = "") -> None:
        """Open the page, and wait until it is connected and the list is there."""
        self.page.goto(f"{self.catcher.address}/{fragment}")
        expect(self.page.locator("body.live #count:not(:empty)")).to_be_attached()

    def row(self, subject: str) -> Locator:
        """Find a row of the list."""
        return self.rows.filter(has_text=subject)

    def open(self, subject: str) -> None:
        """Click on a row, and wait for the message."""
        self.row(subject).get_by_role("link").click()
        expect(self.reader.get_by_role("heading", level=1)).to_have_text(subject)

    def tab(self, name: str) -> Locator:
        """Turn to a view of the message."""
        self.page.get_by_role("tab", name=name).click()
        expect(self.panel.locator(":scope > *").first).to_be_attached()
        return self.panel

    def tabs(self) -> Iterator[str]:
        """Turn to each view in turn, and give its name."""
        for tab in self.page.get_by_role("tab").all():
            tab.click()
            expect(self.panel.locator(":scope > *").first).to_be_attached()
            yield tab.text_content() or ""

    def shown(self) -> list[str]:
        """List the subjects in sight."""
        return self.page.locator("#list .subject").all_text_contents()
