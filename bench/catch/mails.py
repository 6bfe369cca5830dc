"""Mail to fill a mailbox with: as many different messages as wanted, the same ones each time.

The words are made up, a few of them common and most of them seldom, as in a language. What the
searches of reading.py look for is put in on purpose.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.fetch import CACHE
from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.mailbox import Limits, Mailbox
from pillarbox.catcher.schema import VERSION as SCHEMA

_VERSION = 1  # of what is made here
_BATCH = 500

# One message in so many has it.
SELDOM_WORD, SELDOM = "zwetschge", 1_000
PHRASE, PHRASES = "on its way", 100
COMMON_WORD = "order"  # each of them
SENDERS = 50


def filled(count: int) -> Path:
    """Give a file with so many messages; it is kept for the next time."""
    path = CACHE / f"mails-{count}-{SCHEMA}.{_VERSION}.db"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with Mailbox(unfinished, limits=Limits(max_messages=0)) as mailbox:
            batch: list[Arrival] = []
            for arrival in _arrivals(count):
                batch.append(arrival)
                if len(batch) == _BATCH:
                    mailbox.add_all(batch)
                    batch.clear()
            mailbox.add_all(batch)
        unfinished.replace(path)
    return path


def _arrivals(count: int) -> Iterator[Arrival]:
    source = random.Random(count)
    syllables = [a + b for a in "bdfgklmnprstvwz" for b in "aeiou"]
    words = ["".join(source.choices(syllables, k=source.randint(2, 4))) for _ in range(5_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        text = source.choices(words, weights, k=60)
        text.append(COMMON_WORD)
        if number % SELDOM == 0:
            text.insert(30, SELDOM_WORD)
        if number % PHRASES == 0:
            text.insert(20, PHRASE)
        sender, recipient = f"sender{number % SENDERS}@example.com", "ann@example.org"
        lines = [" ".join(text[at : at + 10]) for at in range(0, len(text), 10)]
        octets = "\r\n".join(
            [
                f"From: Sender {number % SENDERS} <{sender}>",
                f"To: Ann <{recipient}>",
                f"Subject: {' '.join(source.choices(words, weights, k=5))} {number}",
                f"Message-ID: <{number}.{source.getrandbits(64):x}@example.com>",
                "Date: Thu, 01 Jan 2026 00:00:00 +0000",
                "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8",
                "",
                *lines,
                "",
            ]
        ).encode()
        yield Arrival(
            id=f"{number:022}",
            time=begin + timedelta(seconds=number),
            mail_from=sender,
            rcpt_tos=(recipient,),
            peer=("127.0.0.1", 50_000),
            helo="client.example.com",
            octets=octets,
        )
