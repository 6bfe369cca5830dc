"""Webhooks: each attempt, posted as JSON to a URL, from a thread of its own.

What is posted waits in a queue with a bound: a web server that is slow or gone never holds up a
delivery. What it misses is counted, and told in the log once it answers again.
"""

from __future__ import annotations

import http.client
import json
import logging
import queue
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from pillarbox import __version__
from pillarbox.config import ConfigError
from pillarbox.log import visible
from pillarbox.relay.event import Attempted
from pillarbox.relay.telling import event_fields

__all__ = ["Webhook", "check_url"]

log = logging.getLogger("pillarbox")

# Events of some kilobytes each at the most.
MAX_WAITING = 1000
ANSWER_SECONDS = 10.0
# How long to wait before an event is posted again, and how often that is done.
PAUSES_SECONDS = (1.0, 5.0)


class Webhook:
    """Posts events; a subscriber of `Relay.subscribe()`. Call `close()` at the end.

    Args:
        url: Where to, such as `https://example.org/mail-events`.
        max_waiting: How many events may wait to be posted.
        pauses_seconds: How long to wait before each further attempt with one event.
        context: Whom to trust where the URL is `https`; the system's authorities if not given.

    Raises:
        ConfigError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        max_waiting: int = MAX_WAITING,
        pauses_seconds: tuple[float, ...] = PAUSES_SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.missed = 0
        """How many events nobody took."""
        self._connect, self._path = _target(url, context)
        self._url = url
        self._pauses_seconds = pauses_seconds
        self._waiting: queue.Queue[Attempted | None] = queue.Queue(max_waiting)
        self._closing = threading.Event()
        self._is_failing = False
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="pillarbox webhook", daemon=True)
        self._thread.start()

    def __call__(self, event: Attempted) -> None:
        """Take an event, to be posted soon; never waits."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self.missed += 1

    def close(self, *, seconds: float = ANSWER_SECONDS) -> None:
        """Post what waits, for so long at most, and end."""
        self._closing.set()  # nothing is tried twice any more
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    # On the thread

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            body = json.dumps(event_fields(event)).encode()
            if not self._post(body):
                self.missed += 1
        self._hang_up()

    def _post(self, body: bytes) -> bool:
        """Post one event, more than once where that fails."""
        trouble = ""
        for pause in (*self._pauses_seconds, None):
            trouble = self._post_once(body)
            if not trouble:
                self._tell_good()
                return True
            if pause is None or self._closing.wait(pause):
                break
        if not self._is_failing:
            self._is_failing = True
            log.error(
                "webhook %s: %s; events are dropped until it answers",
                visible(self._url),
                visible(trouble),
            )
        return False

    def _post_once(self, body: bytes) -> str:
        """Post it; give what went wrong, empty for nothing."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"pillarbox/{__version__}",
        }
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request("POST", self._path, body, headers)
            response = self._connection.getresponse()
            response.read(65_536)
            if not response.isclosed():
                self._hang_up()  # it has more to say than anybody wants to hear
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._hang_up()
            return str(error) or type(error).__name__
        return "" if 200 <= response.status < 300 else f"it answers {response.status}"

    def _tell_good(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.warning("webhook %s answers again; %d events were missed", self._url, self.missed)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def check_url(url: str) -> None:
    """See whether this is an address to post to.

    Raises:
        ConfigError: It is none.
    """
    _target(url, None)


def _target(
    url: str, context: ssl.SSLContext | None
) -> tuple[Callable[[], http.client.HTTPConnection], str]:
    """Take a URL apart: how to connect, and what to ask for."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not is_plain or parts.username:
        raise ConfigError(
            f"{url!r} is no address to post to; write one such as https://example.org/mail-events"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return lambda: http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS), path
    trusted = context or ssl.create_default_context()
    return (
        lambda: http.client.HTTPSConnection(host, port, timeout=ANSWER_SECONDS, context=trusted),
        path,
    )
