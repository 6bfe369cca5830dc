"""`make demo`: the mail that it makes, and that all of it is caught."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from pillarbox.catcher.message import ParsedMessage, parse_message
from tests.cli.program import TIME_LIMIT_SECONDS, clean_environment

DEMO = [sys.executable, str(Path(__file__).parents[1] / "tools" / "demo.py")]


def names(mail: ParsedMessage) -> list[str | None]:
    return [part.file_name for part in (*mail.inline, *mail.attachments)]


def test_the_mail_is_as_varied_as_it_says(tmp_path: Path) -> None:
    subprocess.run([*DEMO, "--write", str(tmp_path)], check=True, timeout=TIME_LIMIT_SECONDS)
    mails = {path.stem[3:]: parse_message(path.read_bytes()) for path in tmp_path.iterdir()}
    assert mails["japanese"].subject == "ご注文ありがとうございます 🍎"
    assert "البستان" in (mails["arabic"].text or "")
    assert "<table>" in (mails["receipt-with-pdf"].html or "")
    assert mails["receipt-with-pdf"].attachments[0].octets.startswith(b"%PDF-1.4")
    assert [part.content_type for part in mails["invitation"].parts][1] == "text/calendar"
    assert names(mails["newsletter-with-pictures"]) == ["apples.png", "plums.png"]
    assert mails["five-megabytes"].attachments[0].size == 5_000_000
    assert "Schlüssel und Matten.csv" in names(mails["forwarded-twice"])
    assert mails["broken-charset"].subject == "Grüße, unencoded"
    assert mails["no-subject-and-no-end"].subject is None
    assert mails["report-of-the-night"].header("X-Tags") == "cron, backup"
    assert "493027" in (mails["password-reset"].text or "")


def test_all_of_it_is_caught() -> None:
    demo = subprocess.Popen(
        [*DEMO, "--listen", "127.0.0.1:0", "--http", "none", "--json"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    assert demo.stderr is not None
    try:
        caught = [demo.stdout.readline() for _ in range(17)]
        assert "filled with 17 messages\n" in iter(demo.stderr.readline, "")
        demo.send_signal(signal.SIGTERM)
        rest, _ = demo.communicate(timeout=TIME_LIMIT_SECONDS)
    finally:
        demo.kill()
    assert (demo.returncode, rest) == (0, "")
    assert '"mail_from": "", "rcpt_tos": ["ann@example.org"]' in caught[-1]


def test_wrong_options_are_told_by_catch() -> None:
    done = subprocess.run(
        [*DEMO, "--no-such-option"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr
