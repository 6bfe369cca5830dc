"""Sending into the mailbox, and releasing out of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from pillarbox.catcher.message import ParsedMessage
from pillarbox.catcher.release import ReleaseError
from tests.catcher.web.caller import Site, letter

FROM = {"Email": "ann@example.org", "Name": 'Ann "The" Ä'}


def sent(body: dict[str, Any]) -> tuple[Site, ParsedMessage]:
    site = Site()
    answer = site.post("/api/v1/send", {"From": FROM} | body)
    assert answer.status == 200, answer.text
    stored = site.mailbox.get(answer.json["ID"])
    return site, stored.parse()


def test_everything_that_can_be_sent() -> None:
    site, message = sent(
        {
            "To": [{"Email": "bob@example.org", "Name": "Bob"}, {"Email": "bob2@example.org"}],
            "Cc": [{"Email": "cy@example.org"}],
            "Bcc": ["dan@example.org", "bob@example.org"],
            "ReplyTo": [{"Email": "r@example.org"}],
            "Subject": "Grüße 🎉",
            "Text": "Hallo\nJörg",
            "HTML": "<p>Hallo</p><img src=cid:logo>",
            "Headers": {"X-One": "1", "Message-ID": "<mine@example.org>"},
            "Tags": ["red", "two words"],
            "Attachments": [
                {"Filename": "ä.pdf", "Content": base64.b64encode(b"%PDF-1").decode()},
                {
                    "Filename": "logo.png",
                    "Content": "data:image/png;base64,iVBORw0KGgo=",
                    "ContentType": "image/png",
                    "ContentID": "logo",
                },
                {"Filename": "m.eml", "Content": "", "ContentType": "message/rfc822"},
            ],
        }
    )
    arrival = site.mailbox.get(site.mailbox.find()[0].id).arrival
    assert arrival.mail_from == "ann@example.org"
    assert arrival.rcpt_tos == (
        *("bob@example.org", "bob2@example.org", "cy@example.org", "dan@example.org"),
    )
    assert arrival.peer == ("127.0.0.1", 50000)
    assert message.from_[0].name == 'Ann "The" Ä'
    assert [to.address for to in message.to] == ["bob@example.org", "bob2@example.org"]
    assert [bcc.address for bcc in message.bcc] == ["dan@example.org"]
    assert message.header("bcc") is None
    assert (message.subject, message.message_id) == ("Grüße 🎉", "mine@example.org")
    assert (message.text or "").strip() == "Hallo\nJörg"
    assert message.html is not None
    assert message.header("X-One") == "1"
    assert message.header("X-Tags") == "red, two words"
    files = {part.file_name: part for part in (*message.attachments, *message.inline)}
    assert files["ä.pdf"].content_type == "application/pdf"
    assert (files["logo.png"].content_id, files["logo.png"].content_type) == ("logo", "image/png")
    assert files["m.eml"].content_type == "application/octet-stream"
    assert site.service.tally.accepted == 1


def test_the_least_that_can_be_sent() -> None:
    _, message = sent({})
    assert (message.subject, message.to, message.text) == ("", (), "\n")


INJECTIONS: list[dict[str, Any]] = [
    {"Subject": "a\r\nX-Evil: 1"},
    {"Subject": "a\nX-Evil: 1\n\nbody"},
    {"Subject": "a\x00b\x85X-Evil: 1\u2028X-Evil: 1"},
    {"From": {"Email": "a@b.c", "Name": "a\r\nX-Evil: 1"}},
    {"To": [{"Email": "a@b.c", "Name": "b\nX-Evil: 1"}]},
    {"Headers": {"X-One": "1\r\nX-Evil: 1"}},
    {"Tags": ["a\r\nX-Evil: 1"]},
    {"Attachments": [{"Filename": "a\r\nX-Evil: 1\r\n\r\n<script>", "Content": ""}]},
    {"Attachments": [{"Filename": "a", "Content": "", "ContentType": "text/html\r\nX-Evil: 1"}]},
    {"HTML": "x", "Attachments": [{"Content": "", "ContentID": "a>\r\nX-Evil: 1\r\n\r\nb"}]},
]


@pytest.mark.parametrize("body", INJECTIONS, ids=repr)
def test_nothing_begins_a_header_of_its_own(body: dict[str, Any]) -> None:
    site, message = sent(body)
    octets = site.mailbox.octets(site.mailbox.find()[0].id)
    assert b"\nX-Evil" not in octets
    assert b"\rX-Evil" not in octets
    assert message.header("X-Evil") is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"From": {"Email": "ann"}}, "is no address"),
        ({"From": {"Email": "a@b.c\r\nX: y"}}, "is no address"),
        ({"From": None}, "From is no object"),
        ({"To": [{"Email": "a@b.c, d@e.f"}]}, "is no address"),
        ({"To": [{"Email": "<a@b.c>"}]}, "is no address"),
        ({"Bcc": ["a b@c.d"]}, "is no address"),
        ({"To": "a@b.c"}, "To is no list of objects"),
        ({"Headers": {"Subject": "x"}}, "cannot be overwritten"),
        ({"Headers": {"content-TYPE": "x"}}, "cannot be overwritten"),
        ({"Headers": {"X: y\r\nZ": "x"}}, "is no name of a header"),
        ({"Headers": {"X-A": 1}}, "Headers is no object of strings"),
        ({"Attachments": [{"Filename": "a", "Content": "%%%"}]}, "is no base64"),
        ({"Bcc": [f"{number}@x.test" for number in range(1001)]}, "more than 1000 recipients"),
    ],
)
def test_what_cannot_be_sent(body: dict[str, Any], error: str) -> None:
    site = Site()
    answer = site.post("/api/v1/send", {"From": FROM} | body)
    assert answer.status == 400
    assert set(answer.json) == {"Error"}
    assert error in answer.json["Error"]
    assert site.mailbox.counts().total == 0


def test_who_logged_in_is_known() -> None:
    site = Site(logins={"ann": "secret"})
    answer = site.post("/api/v1/send", {"From": FROM}, authorization="Basic YW5uOnNlY3JldA==")
    assert site.mailbox.summary(answer.json["ID"]).identity == "ann"


def test_a_message_has_a_limit() -> None:
    site = Site(more={"max_message_octets": 3_000_000})
    content = "A" * 4_000_000
    answer = site.post("/api/v1/send", {"From": FROM, "Attachments": [{"Content": content}]})
    assert (answer.status, "larger than 3000000" in answer.json["Error"]) == (413, True)
    answer = site.call("POST", "/api/v1/send", [b" " * 1_000_000] * 7)
    assert answer.status == 413


# Release


class Server:
    """Where messages are released to."""

    name = "smtp.test:25"

    def __init__(self) -> None:
        self.sent: list[tuple[str, Sequence[str], bytes]] = []

    async def send(self, mail_from: str, rcpt_tos: Sequence[str], octets: bytes) -> None:
        if "refused@example.org" in rcpt_tos:
            raise ReleaseError("smtp.test:25 refused refused@example.org: 550 5.1.1 No")
        self.sent.append((mail_from, rcpt_tos, octets))


def test_release() -> None:
    relay = Server()
    site = Site(more={"relay": relay})
    summary = site.add(letter())
    address = f"/api/v1/message/{summary.id}/release"
    assert site.post(address, {"To": ["bob@example.org"]}).text == "ok"
    octets = site.mailbox.octets(summary.id)
    assert relay.sent == [("ann@example.org", ["bob@example.org"], octets)]
    refused = site.post(address, {"To": ["refused@example.org"]})
    assert (refused.status, "550 5.1.1 No" in refused.text) == (502, True)
    wrong: tuple[dict[str, Any], ...] = (
        *({}, {"To": []}, {"To": "bob@example.org"}, {"To": ["bob"]}, {"To": ["a@b\r\n"]}),
    )
    for body in wrong:
        assert site.post(address, body).status == 400
    nobody = site.post("/api/v1/message/nope/release", {"To": ["bob@example.org"]})
    assert nobody.status == 404
    assert len(relay.sent) == 1
    webui = site.get("/api/v1/webui").json["MessageRelay"]
    assert (webui["Enabled"], webui["SMTPServer"]) == (True, "smtp.test:25")


def test_nowhere_to_release_to() -> None:
    site = Site()
    site.add(letter())
    answer = site.post("/api/v1/message/latest/release", {"To": ["bob@example.org"]})
    assert (answer.status, "--relay-to" in answer.text) == (400, True)
    assert site.get("/api/v1/webui").json["MessageRelay"]["Enabled"] is False
