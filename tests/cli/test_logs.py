"""Log lines: one for each record, with nothing in it that a terminal obeys."""

from __future__ import annotations

import json
import logging
import re

import pytest

from pillarbox.cli.logs import configure_logs
from pillarbox.envelope import Session
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.server import ServerConnection

EVIL = "a\r\nb\x1b[31m\x9b\x00\u2028\u202e\ud800é"


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.endswith("\n")
    return text[:-1]


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "info")
    logging.getLogger("pillarbox").warning("from %s", EVIL)
    line = _line(capsys)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING from a", line)
    assert line.endswith(r"a\r\nb\x1b[31m\x9b\x00\u2028\u202e\ud800é")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    logging.getLogger("pillarbox.relay").warning("from %s", EVIL)
    line = _line(capsys)
    assert line.isascii()
    assert line.isprintable()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {"level": "warning", "logger": "pillarbox.relay", "message": f"from {EVIL}"}


def _session() -> Session:
    protocol = ServerConnection(Offer(hostname="mx.test"))
    return Session(protocol, id="3f9a1c-17", peer=("2001:db8::1", 49152), local=("::1", 25))


def test_session_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "info")
    _session().log.warning("100%%, from %s", EVIL)
    assert _line(capsys).endswith(
        r" WARNING 3f9a1c-17: 100%, from a\r\nb\x1b[31m\x9b\x00\u2028\u202e\ud800é"
    )


def test_session_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    _session().log.warning("100% sure")
    record = json.loads(_line(capsys))
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "warning",
        "logger": "pillarbox",
        "message": "100% sure",
        "session": "3f9a1c-17",
        "peer": "[2001:db8::1]:49152",
    }


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "error")
    logging.getLogger("pillarbox").warning("no")
    assert capsys.readouterr().err == ""


def test_each_record_once_however_often_configured(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "info")
    configure_logs("text", "info")
    logging.getLogger("pillarbox").info("once")
    assert _line(capsys).endswith(" INFO once")


def test_traceback_is_indented(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("text", "info")
    try:
        raise ValueError("x\n2026-01-01 INFO fine\x1b")
    except ValueError:
        logging.getLogger("pillarbox").exception("failed")
    first, *rest = _line(capsys).split("\n")
    assert first.endswith(" ERROR failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-2:] == ["    ValueError: x", r"    2026-01-01 INFO fine\x1b"]
