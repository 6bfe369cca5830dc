"""What is measured of a running catcher, from outside: times, and memory.

Mail in is measured as all else in bench/, by workloads.py.
"""

import http.client
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from websockets.sync.client import connect

from bench import measure
from bench.catch import mails
from bench.catch.running import catching, get
from bench.load import Dialogue, SmtpSource

_LIST = "/api/v1/messages?limit=50"

QUERIES = (
    # What is asked, whether it finds something, and what to call it.
    (mails.SELDOM_WORD, True, "a word, one in 1,000 has it"),
    (mails.COMMON_WORD, True, "a word that each has"),
    (f'"{mails.PHRASE}"', True, "a phrase, one in 100 has it"),
    (f"subject:{mails.SELDOM_WORD[:3]}", False, "subject:, no hits"),
    ("subject:99", True, "subject:, two characters"),
    ("subject:9999", True, "subject:, some hits"),
    ("from:sender7@example.com", True, "from:, one in 50"),
    (f"{mails.SELDOM_WORD} from:sender0@", True, "a word and from:"),
    (f"-{mails.SELDOM_WORD}", True, "not a word"),
    ("qxqxqx", False, "no hits"),
    ("zw", True, "two letters"),
    ("or", True, "two letters that each has"),
    ("o", True, "one letter that each has"),
    ("subject:9 order", True, "subject:, one character, and a word"),
    ("header:message-id", True, "a header that each has"),
    ("header:mime-version=1.0", True, "a header's text that each has"),
    ("header:subject=99", True, "a header's text, some hits"),
    ("header:x-mailer", False, "a header, no hits"),
    ("is:unread", True, "unread"),
    (f"{mails.COMMON_WORD} is:unread larger:100", True, "a word that each has, unread, larger:"),
    ("addressed:@example.org", True, "addressed:, a domain that each has"),
)


@dataclass(frozen=True, slots=True)
class Times:
    """Some durations of the same kind, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """The least."""
        return min(self.seconds)

    @property
    def worst(self) -> float:
        """The most."""
        return max(self.seconds)

    @property
    def slow(self) -> float:
        """What nineteen of twenty are faster than."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


def timed(action: Callable[[], object], times: int) -> Times:
    """Do something once for nothing, then so many times."""
    action()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return Times(tuple(seconds))


# Start


@dataclass(frozen=True, slots=True)
class Starts:
    """Some starts.

    Attributes:
        listening: How long until it said that it listens.
        answered: How long until the first page was there, or the greeting without a page.
        cpu: What it took of a core until then.
        resident_octets: The least memory it had then.
    """

    listening: Times
    answered: Times
    cpu: Times
    resident_octets: float


def start(*options: str, times: int, core: int | None) -> Starts:
    """Start and stop."""
    listening, answered, cpu, resident = [], [], [], []
    for _ in range(times):
        with catching(*options, core=core) as catcher:
            if catcher.http:
                connection = http.client.HTTPConnection("127.0.0.1", catcher.http, timeout=30)
                get(connection, "/")
                connection.close()
            else:
                with Dialogue(catcher.smtp) as dialogue:
                    dialogue.expect(b"220")
            answered.append(time.perf_counter() - catcher.started)
            cpu.append(measure.cpu_seconds(catcher.pid))
            listening.append(catcher.listening_seconds)
            resident.append(measure.resident_octets(catcher.pid))
    return Starts(Times(tuple(listening)), Times(tuple(answered)), Times(tuple(cpu)), min(resident))


# A mailbox in a file


@dataclass(frozen=True, slots=True)
class Answer:
    """How long a question to the API takes."""

    title: str
    path: str
    has_hits: bool | None
    """`None` for a list."""
    found: int
    times: Times
    cpu_seconds: float
    """Of the catcher, for each time."""


def questions(path: Path, *, times: int, core: int | None) -> list[Answer]:
    """Ask for lists and searches of a mailbox."""
    answers = []
    with catching("--db", str(path), "--max-messages", "0", core=core) as catcher:
        connection = http.client.HTTPConnection("127.0.0.1", catcher.http, timeout=60)
        asked: list[tuple[str, str, bool | None]] = [
            ("the newest 50", _LIST, None),
            ("50 from the middle", f"{_LIST}&start=50000", None),
            *(
                (title, f"/api/v1/search?limit=50&query={quote(query)}", has_hits)
                for query, has_hits, title in QUERIES
            ),
        ]
        for title, address, has_hits in asked:
            found = json.loads(get(connection, address))["messages_count"]
            before = measure.cpu_seconds(catcher.pid)
            answered = timed(partial(get, connection, address), times)
            cpu = (measure.cpu_seconds(catcher.pid) - before) / (times + 1)
            answers.append(Answer(title, address, has_hits, found, answered, cpu))
        connection.close()
    return answers


def resident_with(messages: int, source: SmtpSource, path: Path, *, core: int | None) -> float:
    """Give the memory of a catcher that has taken so many messages into a file, and shown some."""
    path.unlink(missing_ok=True)
    with catching("--db", str(path), "--max-messages", "0", core=core) as catcher:
        for count in [*[1_000] * (messages // 1_000), messages % 1_000]:  # each in its own time
            if count:
                source.send(catcher.smtp, count, octets=1024, sessions=4, reuse=False)
        connection = http.client.HTTPConnection("127.0.0.1", catcher.http, timeout=60)
        for _ in range(20):
            get(connection, _LIST)
            get(connection, "/api/v1/search?query=XXXX")
        total = json.loads(get(connection, _LIST))["total"]
        assert total >= messages, f"{total} of {messages} are there"
        connection.close()
        resident = measure.resident_octets(catcher.pid)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return resident


# Push


def pushes(times: int, *, core: int | None) -> Times:
    """Measure from the last octet of a message to the page that hears of it by WebSocket."""
    seconds = []
    with catching(core=core) as catcher:
        address = f"ws://127.0.0.1:{catcher.http}/api/events"
        with connect(address) as websocket, Dialogue(catcher.smtp) as dialogue:
            dialogue.greet()
            for number in range(times + 10):
                _begin(dialogue, number)
                started = time.perf_counter()
                dialogue.say(b".\r\n")
                while json.loads(websocket.recv(timeout=10))["Type"] != "new":
                    pass
                seconds.append(time.perf_counter() - started)
                dialogue.expect(b"250")
    return Times(tuple(seconds[10:]))


def _begin(dialogue: Dialogue, number: int) -> None:
    for command, code in (
        (b"MAIL FROM:<sender@example.com>", b"250"),
        (b"RCPT TO:<recipient@example.net>", b"250"),
        (b"DATA", b"354"),
    ):
        dialogue.say(command + b"\r\n")
        dialogue.expect(code)
    dialogue.say(b"Subject: number %d\r\n\r\ntext\r\n" % number)
