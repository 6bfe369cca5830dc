"""One JSON object a line, which a terminal can be shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.record import JSONLines
from tests.catcher.mails import MAILS, arrival
from tests.catcher.ugly import UGLY, Ugly


def record(octets: bytes) -> Any:
    line = JSONLines().render(arrival(octets))
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert line.isascii()
    return json.loads(line)


def test_all_fields() -> None:
    line = JSONLines().render(MAILS["attachments"])
    assert json.loads(line) == {
        "id": "1",
        "time": "2026-05-01T12:34:56.789012Z",
        "mail_from": "ann@example.org",
        "rcpt_tos": ["ben@example.org"],
        "peer": ["127.0.0.1", 40000],
        "helo": "client.test",
        "subject": "Report",
        "from": [{"name": "", "address": "ann@example.org"}],
        "to": [{"name": "", "address": "ben@example.org"}],
        "cc": [],
        "date": None,
        "message_id": None,
        "size": len(MAILS["attachments"].octets),
        "text": "Here it is.",
        "html": None,
        "attachments": [
            {"name": "Bärlauch.pdf", "type": "application/pdf", "size": 12_008},
            {"name": None, "type": "image/png", "size": 64},
            {"name": None, "type": "application/octet-stream", "size": 0},
        ],
        "headers": {
            "From": ["ann@example.org"],
            "To": ["ben@example.org"],
            "Subject": ["Report"],
            "Content-Type": ["multipart/mixed; boundary=b"],
        },
    }


def test_dates_and_ids() -> None:
    found = record(b"Date: Fri, 1 May 2026 12:00:00 +0200\r\nMESSAGE-ID: <a@b>\r\n\r\n")
    assert found["date"] == "2026-05-01T12:00:00+02:00"
    assert found["message_id"] == "a@b"
    assert list(found["headers"]) == ["Date", "Message-Id"]


def test_headers_of_one_name_stand_together() -> None:
    found = record(b"Received: one\r\nSubject: x\r\nRECEIVED: =?utf-8?q?tw=C3=B6?=\r\n\r\n")
    assert found["headers"] == {"Received": ["one", "twö"], "Subject": ["x"]}


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.name)
def test_ugly(ugly: Ugly) -> None:
    assert record(ugly.octets)["subject"] == ugly.subject


@given(st.text(st.characters(codec="utf-8")), st.binary())
def test_anything_is_a_line(subject: str, text: bytes) -> None:
    record(f"Subject: {subject}\r\n\r\n".encode() + text)


@given(st.binary())
def test_fallback_has_the_octets(octets: bytes) -> None:
    line = JSONLines().fallback(arrival(octets))
    assert line[:-1].isprintable()
    found = json.loads(line)
    assert found["text"].encode("latin-1") == octets
    assert (found["id"], found["size"]) == ("1", len(octets))
