"""Mailpit's API: its addresses, keys, defaults, errors."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.catcher.web.caller import Site, letter

GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
PLAIN = "text/plain; charset=utf-8"


@pytest.fixture
def site() -> Site:
    return Site()


def subjects(site: Site, address: str = "/api/v1/messages") -> list[str]:
    return [message["Subject"] for message in site.get(address).json["messages"]]


# The program


def test_info(site: Site) -> None:
    site.add(letter())
    info = site.get("/api/v1/info").json
    assert info["Version"].startswith("v")
    assert info.pop("Version") == info.pop("LatestVersion")
    stats = info.pop("RuntimeStats")
    assert stats.pop("Memory") > 1_000_000
    assert stats.pop("Uptime") >= 0
    assert stats == {
        "MessagesDeleted": 0,
        "SMTPAccepted": 0,
        "SMTPAcceptedSize": 0,
        "SMTPRejected": 0,
        "SMTPIgnored": 0,
    }
    assert info == {"Database": "", "DatabaseSize": 0, "Messages": 1, "Unread": 1, "Tags": {}}


# Lists


def test_no_messages(site: Site) -> None:
    assert site.get("/api/v1/messages").json == {
        "total": 0,
        "unread": 0,
        "count": 0,
        "messages_count": 0,
        "messages_unread": 0,
        "start": 0,
        "tags": [],
        "messages": [],
    }


def test_a_line_of_the_list(site: Site) -> None:
    message = letter(Message_ID="<1@example.org>", Cc="Cy <cy@example.org>", Reply_To="r@x.test")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    rcpt_tos = ("bob@example.org", "cy@example.org", "blind@example.org")
    summary = site.add(message, *rcpt_tos, identity="ann")
    [line] = site.get("/api/v1/messages").json["messages"]
    assert len(line["ID"]) == 22
    assert line == {
        "ID": summary.id,
        "MessageID": "1@example.org",
        "Read": False,
        "From": {"Name": "Ann Example", "Address": "ann@example.org"},
        "To": [{"Name": "Bob", "Address": "bob@example.org"}],
        "Cc": [{"Name": "Cy", "Address": "cy@example.org"}],
        "Bcc": [{"Name": "", "Address": "blind@example.org"}],
        "ReplyTo": [{"Name": "", "Address": "r@x.test"}],
        "Subject": "Hello",
        "Created": "2024-01-01T12:00:00Z",
        "Username": "ann",
        "Tags": [],
        "Size": summary.size,
        "Attachments": 1,
        "Snippet": "Hello Bob",
    }


def test_pages(site: Site) -> None:
    for number in range(60):
        site.add(letter(f"{number}"))
    first = site.get("/api/v1/messages").json
    assert (first["total"], first["count"], first["messages_count"]) == (60, 50, 60)
    assert subjects(site)[:2] == ["59", "58"]
    assert subjects(site, "/api/v1/messages?start=58&limit=5") == ["1", "0"]
    assert subjects(site, "/api/v1/messages?limit=0") == []
    assert subjects(site, f"/api/v1/messages?start={10**30}") == []


@pytest.mark.parametrize("wrong", ["start=-1", "limit=many", "start=1.5", "limit=%C2%B2"])
def test_a_number_that_is_none(site: Site, wrong: str) -> None:
    answer = site.get(f"/api/v1/messages?{wrong}")
    assert (answer.status, answer.headers["content-type"]) == (400, PLAIN)
    assert "is no number; write 0 or more" in answer.text


def test_search(site: Site) -> None:
    for subject in ("one", "two", "one more"):
        site.add(letter(subject))
    found = site.get("/api/v1/search?query=one&limit=1").json
    assert (found["total"], found["messages_count"], found["count"]) == (3, 2, 1)
    assert found["messages_unread"] == 2
    assert subjects(site, "/api/v1/search?query=one") == ["one more", "one"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("query", ["", "?query=", "?query=%20"])
def test_search_for_nothing(site: Site, method: str, query: str) -> None:
    site.add(letter())
    answer = site.call(method, f"/api/v1/search{query}")
    assert (answer.status, site.mailbox.counts().total) == (400, 1)
    assert "no search query" in answer.text


def test_time_zones(site: Site) -> None:
    assert site.get("/api/v1/search?query=x&tz=Europe/Berlin").status == 200
    for wrong in ("Nowhere", "../../etc/passwd", "/etc/passwd", "Europe", "%00"):
        answer = site.get(f"/api/v1/search?query=x&tz={wrong}")
        assert (answer.status, "is no time zone" in answer.text) == (400, True), wrong


def test_set_read(site: Site) -> None:
    one, two = site.add(letter("one")), site.add(letter("two"))
    for body, left in (
        ({"IDs": [one.id, "nope"], "Read": True}, ["two"]),
        ({"Read": True}, []),
        ({"Search": "two", "Read": False}, ["two"]),
        ({"IDs": [], "Search": ""}, ["two", "one"]),
        ({"IDs": [two.id], "Read": True}, ["one"]),
    ):
        answer = site.put("/api/v1/messages", body)
        assert (answer.status, answer.text) == (200, "ok")
        assert subjects(site, "/api/v1/search?query=is:unread") == left


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"IDs": ["a"], "Search": "b"}, "IDs and Search exclude each other"),
        ({"IDs": "a"}, "IDs is no list of strings"),
        ({"IDs": [1]}, "IDs is no list of strings"),
        ({"Search": 1}, "Search is no string"),
        ({"Read": "yes"}, "Read is no boolean"),
        ([], "the body is no JSON object"),
    ],
)
def test_set_read_wrong(site: Site, body: object, message: str) -> None:
    site.add(letter())
    answer = site.put("/api/v1/messages", body)
    assert answer.status == 400
    assert message in answer.text
    assert site.mailbox.counts().unread == 1


def test_delete(site: Site) -> None:
    one = site.add(letter("one"))
    for subject in ("two", "three", "four"):
        site.add(letter(subject))
    assert site.delete("/api/v1/messages", {"IDs": [one.id, "nope"]}).text == "ok"
    assert subjects(site) == ["four", "three", "two"]
    assert site.delete("/api/v1/search?query=two").text == "ok"
    assert subjects(site) == ["four", "three"]
    assert site.delete("/api/v1/messages").text == "ok"
    assert subjects(site) == []
    assert site.get("/api/v1/info").json["RuntimeStats"]["MessagesDeleted"] == 4


def test_what_cannot_be_read_deletes_nothing(site: Site) -> None:
    site.add(letter())
    for body in (
        b"{",
        b'{"IDs":',
        b"[]",
        b'{"IDs": "all"}',
        b'{"id": "a"}',
        b"[" * 100_000,
        b"\xff",
    ):
        assert site.call("DELETE", "/api/v1/messages", body).status == 400
    assert subjects(site) == ["Hello"]
    assert site.delete("/api/v1/messages", {}).text == "ok"
    assert subjects(site) == []


def test_keys_in_any_case(site: Site) -> None:
    one = site.add(letter("one"))
    site.add(letter("two"))
    assert site.put("/api/v1/messages", {"ids": [one.id], "read": True}).text == "ok"
    assert subjects(site, "/api/v1/search?query=is:unread") == ["two"]
    assert site.delete("/api/v1/messages", {"ids": [one.id]}).text == "ok"
    assert subjects(site) == ["two"]


def test_forms(site: Site) -> None:
    one = site.add(letter("one"))
    site.add(letter("two"))
    form = {"content_type": "application/x-www-form-urlencoded"}
    body = f"ids={one.id}&Read=True".encode()
    assert site.call("PUT", "/api/v1/messages", body, **form).text == "ok"
    assert subjects(site, "/api/v1/search?query=is:unread") == ["two"]
    assert site.call("DELETE", "/api/v1/messages", f"ids={one.id}".encode(), **form).text == "ok"
    assert subjects(site) == ["two"]
    for wrong in (b"nonsense", b"{", b"&=&"):
        assert site.call("DELETE", "/api/v1/messages", wrong, **form).status == 400
    assert subjects(site) == ["two"]


def test_a_body_has_a_limit(site: Site) -> None:
    answer = site.call("PUT", "/api/v1/messages", [b" " * (1 << 20)] * 3)
    assert (answer.status, "too large" in answer.text) == (413, True)


# One message


def test_a_message(site: Site) -> None:
    message = letter(
        Message_ID="<1@example.org>",
        Date="Mon, 1 Jan 2024 09:00:00 +0100",
        List_Unsubscribe="<mailto:u@example.org>, <https://example.org/u>",
        List_Unsubscribe_Post="List-Unsubscribe=One-Click",
    )
    message.add_alternative("<p>Hello <img src=cid:g1></p>", subtype="html")
    alternative = message.get_payload(1)
    alternative.add_related(GIF, maintype="image", subtype="gif", cid="<g1>")  # type: ignore[union-attr]  # a part
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="ä.pdf")
    summary = site.add(message)
    found = site.get(f"/api/v1/message/{summary.id}").json
    [inline], [attachment] = found.pop("Inline"), found.pop("Attachments")
    assert found == {
        "ID": summary.id,
        "MessageID": "1@example.org",
        "From": {"Name": "Ann Example", "Address": "ann@example.org"},
        "To": [{"Name": "Bob", "Address": "bob@example.org"}],
        "Cc": [],
        "Bcc": [],
        "ReplyTo": [],
        "ReturnPath": "ann@example.org",
        "Subject": "Hello",
        "ListUnsubscribe": {
            "Header": "<mailto:u@example.org>, <https://example.org/u>",
            "Links": ["mailto:u@example.org", "https://example.org/u"],
            "Errors": "",
            "HeaderPost": "List-Unsubscribe=One-Click",
        },
        "Date": "2024-01-01T09:00:00+01:00",
        "Tags": [],
        "Username": "",
        "Text": "Hello Bob\n",
        "HTML": "<p>Hello <img src=cid:g1></p>\n",
        "Size": summary.size,
    }
    assert inline["ContentID"] == "g1"
    assert attachment == {
        "PartID": attachment["PartID"],
        "FileName": "ä.pdf",
        "ContentType": "application/pdf",
        "ContentID": "",
        "Size": 4,
        "Checksums": {
            "MD5": hashlib.md5(b"%PDF").hexdigest(),
            "SHA1": hashlib.sha1(b"%PDF").hexdigest(),
            "SHA256": hashlib.sha256(b"%PDF").hexdigest(),
        },
    }
    assert site.get(f"/api/v1/message/latest/part/{attachment['PartID']}").body == b"%PDF"


def test_only_the_message_itself_is_set_read(site: Site) -> None:
    summary = site.add(letter())
    for rest in ("/headers", "/raw", "/part/1"):
        assert site.get(f"/api/v1/message/{summary.id}{rest}").status == 200
    assert site.mailbox.counts().unread == 1
    assert site.get(f"/api/v1/message/{summary.id}").status == 200
    assert site.mailbox.counts().unread == 0


def test_latest(site: Site) -> None:
    assert site.get("/api/v1/message/latest").status == 404
    site.add(letter("one"))
    site.add(letter("two"))
    assert site.get("/api/v1/message/latest").json["Subject"] == "two"
    assert site.get("/api/v1/message/latest?query=one").json["Subject"] == "one"


@pytest.mark.parametrize("rest", ["", "/headers", "/raw", "/part/1"])
def test_no_such_message(site: Site, rest: str) -> None:
    answer = site.get(f"/api/v1/message/nope{rest}")
    assert (answer.status, answer.headers["content-type"]) == (404, PLAIN)


def test_headers(site: Site) -> None:
    site.add(b"x-ONE-two: a\r\nSubject: =?utf-8?q?=C3=A4?=\r\nReceived: 1\r\nReceived: 2\r\n\r\n")
    assert site.get("/api/v1/message/latest/headers").json == {
        "Received": ["1", "2"],
        "Subject": ["ä"],
        "X-One-Two": ["a"],
    }


def test_raw(site: Site) -> None:
    octets = b"Subject: \xff\r\n\r\n\x00<script>alert(1)</script>\r\n"
    summary = site.add(octets)
    answer = site.get("/api/v1/message/latest/raw")
    assert (answer.body, answer.headers["content-type"]) == (octets, PLAIN)
    assert "content-disposition" not in answer.headers
    saved = site.get("/api/v1/message/latest/raw?dl=1").headers["content-disposition"]
    assert saved == f'attachment; filename="{summary.id}.eml"'


# Tags


def test_tags(site: Site) -> None:
    one, two = site.add(letter("one")), site.add(letter("two"))
    assert site.get("/api/v1/tags").json == []
    body = {"IDs": [one.id, two.id], "Tags": ["Red", "b-1 _.@x", "failed test[a/b]", "  "]}
    assert site.put("/api/v1/tags", body).text == "ok"
    assert set(site.get("/api/v1/tags").json) == {"b-1 _.@x", "failed test a b", "Red"}
    assert site.put("/api/v1/tags/Red", {"Name": "Green"}).text == "ok"
    assert "Green" in site.mailbox.summary(one.id).tags
    assert site.delete("/api/v1/tags/Green").text == "ok"
    assert "Green" not in site.get("/api/v1/tags").json
    assert site.put("/api/v1/tags", {"IDs": [one.id, two.id]}).text == "ok"
    assert site.get("/api/v1/tags").json == []
    assert site.put("/api/v1/tags/x", {"Name": "[]"}).status == 400


# The whole


def test_answers_are_json_in_ascii(site: Site) -> None:
    site.add(b"Subject: \xf0\x9f\x92\x8c \xed\xa0\x80\r\n\r\n")
    answer = site.get("/api/v1/messages")
    assert answer.body.isascii()
    assert len(json.loads(answer.body)["messages"]) == 1


def test_one_mailbox_by_its_address(site: Site) -> None:
    site.add(letter("all"))
    site.add(letter("team"), mailboxes=("team a",))
    base = "/api/x/mailboxes/team%20a"
    assert subjects(site, f"{base}/api/v1/messages") == ["team"]
    assert site.get(f"{base}/api/v1/message/latest").json["Subject"] == "team"
    assert site.get("/api/x/mailboxes").json == [{"Name": "team a", "Total": 1, "Unread": 0}]
    assert site.delete(f"{base}/api/v1/messages").text == "ok"
    assert subjects(site) == ["all"]
