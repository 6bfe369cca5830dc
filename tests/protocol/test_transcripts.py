"""The dialogues of tests/transcripts, which the documentation shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillarbox.protocol.reply import Reply
from pillarbox.testing import Recorder, Transcript
from tests.conftest import Talk

TRANSCRIPTS = sorted((Path(__file__).parent.parent / "transcripts").glob("*.txt"))

REFUSALS = {
    "nobody@example.org": Reply(550, "5.1.1", "No such mailbox"),
    "spammer@example.org": Reply(550, "5.7.1", "Not from you"),
    "ungültig@example.org": Reply(550, "5.1.1", "Kein Postfach „ungültig“"),
}

TAKEN: dict[str, list[tuple[str, list[str], bytes]]] = {
    "message": [
        (
            "ann@example.org",
            ["ben@example.org"],
            b"Subject: Hello\r\n\r\nHello Ben,\r\n"
            b".a line that begins with a dot has one more on the way\r\n",
        )
    ],
    "pipelining": [
        ("ann@example.org", ["ben@example.org"], b"one\r\n"),
        ("", ["ben@example.org"], b"two\r\n"),
    ],
    "refused-group": [],
    "chunking": [("ann@example.org", ["ben@example.org"], b"one\n.\r\n.\r\nt\0wo\r\n")],
    "smuggling": [],
    "out-of-order": [],
    "addresses": [
        (
            "",
            [
                r'"ann @ home, > : \"she\""@example.org',
                "Ben@Example.ORG",
                "cat@[IPv6:2001:db8::1]",
                "pOSTMASTER",
            ],
            b"text\r\n",
        )
    ],
    "smtputf8": [
        ("rené@example.org", ["δοκιμή@παράδειγμα.example"], "Subject: γειά σου\r\n\r\n".encode())
    ],
}


class Refuses(Recorder):
    def __init__(self) -> None:
        super().__init__(REFUSALS)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(talk: Talk, path: Path) -> None:
    messages = talk(Transcript.load(path), handler=Refuses)
    assert [(message.mail_from, message.rcpt_tos, message.data) for message in messages] == TAKEN[
        path.stem
    ]


def test_every_transcript_is_here() -> None:
    assert {path.stem for path in TRANSCRIPTS} == set(TAKEN)
