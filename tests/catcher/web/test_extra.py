"""What we tell beside Mailpit's API."""

from __future__ import annotations

import asyncio
import io
import mailbox
import threading
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.catcher.web.caller import Site, letter


@pytest.fixture
def site() -> Site:
    return Site(more={"addresses": lambda: ["127.0.0.1:1025", "[::1]:1025"]})


def test_the_server(site: Site) -> None:
    found = site.get("/api/x/server").json
    assert found.pop("Version").count(".") == 2
    assert found == {"SMTP": ["127.0.0.1:1025", "[::1]:1025"]}


# Downloads


@pytest.mark.parametrize("kind", ["mbox", "zip"])
def test_a_download(site: Site, kind: str, tmp_path: Path) -> None:
    for subject in ("one", "two", "three"):
        site.add(letter(subject), mailboxes=("team",) if subject == "two" else ())
    for address, expected in (
        (f"/api/x/export.{kind}", ["one", "two", "three"]),
        (f"/api/x/export.{kind}?query=-subject:one", ["two", "three"]),
        (f"/api/x/mailboxes/team/api/x/export.{kind}", ["two"]),
        (f"/api/x/export.{kind}?query=nothing-like-it", []),
    ):
        answer = site.get(address)
        assert (answer.status, answer.headers["content-type"]) == (200, f"application/{kind}")
        assert answer.headers["content-disposition"] == f'attachment; filename="mails.{kind}"'
        if kind == "mbox":
            (tmp_path / "mbox").write_bytes(answer.body)
            box = mailbox.mbox(tmp_path / "mbox")
            assert [message["Subject"] for message in box] == expected
            box.close()
        else:
            with zipfile.ZipFile(io.BytesIO(answer.body)) as file:
                assert [_subject(file.read(name)) for name in sorted(file.namelist())] == expected


def _subject(octets: bytes) -> str:
    return str(message_from_bytes(octets)["Subject"])


# Waiting


def test_a_message_that_is_there_already(site: Site) -> None:
    summary = site.add(letter("one"))
    site.add(letter("two"))
    assert site.get("/api/x/wait?query=one&timeout=0").json["ID"] == summary.id
    assert site.get("/api/x/wait?timeout=0").json["Subject"] == "two"


def test_a_message_that_comes(site: Site) -> None:
    async def run() -> None:
        waiting = asyncio.create_task(site.acall("GET", "/api/x/wait?query=subject:two"))
        other = asyncio.create_task(
            site.acall("GET", "/api/x/mailboxes/team/api/x/wait?timeout=50")
        )
        await asyncio.to_thread(site.add, letter("one"))
        assert not waiting.done()
        await asyncio.to_thread(site.add, letter("two"))
        assert (await waiting).json["Subject"] == "two"
        assert not other.done()
        await asyncio.to_thread(lambda: site.add(letter("three"), mailboxes=("team",)))
        assert (await other).json["Subject"] == "three"

    asyncio.run(run())


def test_a_message_that_does_not_come(site: Site) -> None:
    answer = site.get("/api/x/wait?query=one&timeout=0")
    assert (answer.status, "no message came" in answer.text) == (408, True)
    assert site.get("/api/x/wait?timeout=soon").status == 400


def test_nobody_waits_for_a_server_that_ends(site: Site) -> None:
    async def run() -> int:
        waiting = asyncio.create_task(site.acall("GET", "/api/x/wait?timeout=50"))
        await asyncio.sleep(0)
        site.service.stopping.set()
        return (await waiting).status

    assert asyncio.run(run()) == 408


def test_who_waits_leaves_nothing_behind(site: Site) -> None:
    before = threading.active_count()
    for _ in range(20):
        site.get("/api/x/wait?timeout=0")
    assert threading.active_count() <= before + 2
    assert not site.mailbox._changes


# A message


def test_the_envelope(site: Site) -> None:
    site.add(
        letter(),
        *("bob@example.org", "cy@example.org"),
        peer=("::1", 50000),
        local=("127.0.0.1", 1025),
        helo="client.test",
        tls="TLSv1.3",
        identity="ann",
        session_id="a-1",
        mail_parameters={"SIZE": "12"},
        rcpt_parameters=({}, {"NOTIFY": "NEVER"}),
        mailboxes=("team",),
    )
    assert site.get("/api/x/message/latest/envelope").json == {
        "MailFrom": "ann@example.org",
        "RcptTo": ["bob@example.org", "cy@example.org"],
        "Peer": "[::1]:50000",
        "Helo": "client.test",
        "TLS": "TLSv1.3",
        "Username": "ann",
        "Received": "2024-01-01T12:00:00Z",
        "Session": "a-1",
        "Local": "127.0.0.1:1025",
        "MailParameters": {"SIZE": "12"},
        "RcptParameters": [{}, {"NOTIFY": "NEVER"}],
        "Mailboxes": ["team"],
    }


def test_the_dialogue(site: Site) -> None:
    site.add(letter(), transcript=("S: 220 mx.test ESMTP", "C: QUIT"))
    assert site.get("/api/x/message/latest/session").json == {
        "Lines": ["S: 220 mx.test ESMTP", "C: QUIT"]
    }


def test_links_and_codes(site: Site) -> None:
    message = letter(text="Your code is 482913.\n")
    message.add_alternative('<a href="https://a.test/reset?t=1">Reset</a>', subtype="html")
    site.add(message)
    assert site.get("/api/x/message/latest/links").json == [
        {"URL": "https://a.test/reset?t=1", "Text": "Reset"}
    ]
    assert site.get("/api/x/message/latest/codes").json == [{"Code": "482913"}]


@pytest.mark.parametrize("rest", ["envelope", "session", "links", "codes"])
def test_no_such_message(site: Site, rest: str) -> None:
    assert site.get(f"/api/x/message/nope/{rest}").status == 404


# How the server is


def test_health(site: Site) -> None:
    assert site.get("/livez").text == "ok"
    assert site.get("/readyz").text == "ok"
    site.mailbox.close()
    assert site.get("/livez").status == 200
    answer = site.get("/readyz")
    assert (answer.status, "is closed" in answer.text) == (503, True)


def test_metrics(site: Site) -> None:
    site.add(letter())
    site.delete("/api/v1/messages")
    site.add(letter())
    answer = site.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for line in (
        "# TYPE pillarbox_catcher_messages gauge",
        "pillarbox_catcher_messages 1",
        "pillarbox_catcher_messages_unread 1",
        "# TYPE pillarbox_catcher_deleted_total counter",
        "pillarbox_catcher_deleted_total 1",
    ):
        assert line in answer.text.splitlines()
