"""Webhooks: what is posted, and that a web server in trouble holds nothing up."""

from __future__ import annotations

import dataclasses
import http.server
import json
import logging
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pillarbox.config import ConfigError
from pillarbox.relay.event import Attempted, AttemptedRecipient
from pillarbox.relay.spool import Result
from pillarbox.relay.telling import EventLog, event_fields, rfc3339
from pillarbox.relay.webhook import Webhook, check_url

TIME_LIMIT_SECONDS = 20

EVENT = Attempted(
    id="AB12",
    mail_from="ann@example.org",
    size=1000,
    created=1_800_000_000.0,
    destination="example.net",
    server="mx.example.net (192.0.2.1:25)",
    began=1_800_000_060.5,
    seconds=0.12345,
    recipients=(
        AttemptedRecipient(
            address="ben@example.net",
            result=Result.DEFERRED,
            reply="451 4.3.0 Later",
            attempts=2,
            next_attempt=1_800_000_600.0,
            is_in_doubt=True,
        ),
    ),
)
FIELDS = {
    "event": "attempt",
    "id": "AB12",
    "mail_from": "ann@example.org",
    "size": 1000,
    "created": "2027-01-15T08:00:00.000Z",
    "destination": "example.net",
    "server": "mx.example.net (192.0.2.1:25)",
    "began": "2027-01-15T08:01:00.500Z",
    "seconds": 0.123,
    "recipients": [
        {
            "address": "ben@example.net",
            "result": "deferred",
            "reply": "451 4.3.0 Later",
            "attempts": 2,
            "next_attempt": "2027-01-15T08:10:00.000Z",
            "expired": False,
            "in_doubt": True,
        }
    ],
}


def test_fields() -> None:
    assert event_fields(EVENT) == FIELDS
    assert json.loads(json.dumps(FIELDS)) == FIELDS


def test_times() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_800_000_000.9999) == "2027-01-15T08:00:00.999Z"


def test_the_log_has_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pillarbox")
    EventLog()(EVENT)
    [record] = caplog.records
    assert record.__dict__["fields"] == FIELDS


class Site:
    """A web server that gives answers one after the other, then 200."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[int] = []
        self.posted: queue.Queue[tuple[str, dict[str, str], Any]] = queue.Queue()
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events?x=1"

    def next(self) -> tuple[str, dict[str, str], Any]:
        return self.posted.get(timeout=TIME_LIMIT_SECONDS)


@contextmanager
def site() -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            made.connections += 1

        def do_POST(self) -> None:  # its name there
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = made.answers.pop(0) if made.answers else 200
            made.posted.put((self.path, dict(self.headers), json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Site(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_events_are_posted_on_one_connection() -> None:
    with site() as made:
        hook = Webhook(made.url)
        for number in range(5):
            hook(dataclasses.replace(EVENT, id=str(number)))
        got = [made.next() for _ in range(5)]
        hook.close()
    assert [body["id"] for _, _, body in got] == list("01234")
    path, headers, body = got[0]
    assert path == "/events?x=1"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("pillarbox/")
    assert body == {**FIELDS, "id": "0"}
    assert hook.missed == 0
    assert made.connections == 1


def test_what_waits_is_posted_at_the_end() -> None:
    with site() as made:
        hook = Webhook(made.url)
        for _ in range(100):
            hook(EVENT)
        hook.close()
        assert made.posted.qsize() == 100


def test_an_error_is_tried_again() -> None:
    with site() as made:
        made.answers = [500, 503]
        hook = Webhook(made.url, pauses_seconds=(0.001, 0.001))
        hook(EVENT)
        assert [made.next()[2]["id"] for _ in range(3)] == ["AB12"] * 3
        hook.close()
    assert hook.missed == 0


def test_trouble_is_told_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with site() as made:
        made.answers = [404, 404, 404, 404]
        hook = Webhook(made.url, pauses_seconds=(0.001,))
        for _ in range(3):
            hook(EVENT)
        for _ in range(5):
            made.next()
        hook.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"webhook {made.url}: it answers 404; events are dropped until it answers",
        f"webhook {made.url} answers again; 2 events were missed",
    ]
    assert hook.missed == 2


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hook = Webhook(f"http://127.0.0.1:{port}/", pauses_seconds=())
    hook(EVENT)
    hook.close()
    [record] = caplog.records
    assert "Connection refused; events are dropped" in record.getMessage()
    assert hook.missed == 1


def test_one_that_never_answers_holds_nothing_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", max_waiting=10)
        peer, _ = silent.accept() if hook(EVENT) is None else (None, None)  # type: ignore[func-returns-value]  # it is posting now
        for _ in range(100):
            hook(EVENT)
        assert hook.missed == 90
        hook.close(seconds=0.01)
        assert peer is not None
        peer.close()
    hook.close(seconds=TIME_LIMIT_SECONDS)  # now that all are refused, it ends
    assert hook.missed == 101


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "example.org", "ftp://x/", "http://", "http:///x", "http://a b/", "http://[x/"),
        *("http://x:y/", "http://ann:secret@x/", "http://x/\r\nX: y", "http://bücher.example/"),
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address to post to; write one such as https://"):
        check_url(url)


def test_urls() -> None:
    for url in ("http://x", "https://x:8443/a?b=c", "http://[::1]:80/"):
        check_url(url)
