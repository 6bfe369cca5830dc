"""`pillarbox catch`, from a client to what is printed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.cli.program import TIME_LIMIT_SECONDS, Client, Program, clean_environment
from tests.cli.program import error_in_process as error

LOCAL = ("--listen", "127.0.0.1:0", "--http", "none")
LARGE = b"Subject: large\r\n\r\n" + b"text\r\n" * 1_000_000


def letter(subject: str = "Grüße") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Jörg <joerg@example.org>"
    message["To"] = "ben@example.org"
    message["Subject"] = subject
    message.set_content("Hello\x1b[31m\n")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    return message


def send(port: int, *subjects: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=TIME_LIMIT_SECONDS) as client:
        for subject in subjects or ("Grüße",):
            client.send_message(letter(subject))


def printed(program: Program) -> str:
    """Give the next block of standard output."""
    assert program.process.stdout is not None
    lines: list[str] = []
    while len(lines) < 2 or lines[-1] != "\n" or lines.count("\n") < 2:
        lines.append(program.process.stdout.readline())
        assert lines[-1], lines
    return "".join(lines)


VIEW = """\
── TIME  SIZE ──
From      Jörg <joerg@example.org>
To        ben@example.org
Subject   Grüße
Attached  a.pdf  application/pdf, 4 bytes

Hello␛[31m

"""


def without_time(view: str) -> str:
    first, rest = view.split("\n", 1)
    return re.sub(r"[0-9:]{8}  [0-9]+ bytes ─+$", "TIME  SIZE ──", first) + "\n" + rest


@pytest.mark.parametrize("arguments", [("catch", *LOCAL), LOCAL], ids=["named", "by default"])
def test_shows_each_message_at_once(arguments: tuple[str, ...]) -> None:
    with Program(*arguments, env={"PYTHONUTF8": "1"}) as program:
        port = program.ready_port()
        for _ in range(2):
            send(port)
            assert without_time(printed(program)) == VIEW
        assert program.stop() == (0, [])


def test_full() -> None:
    with Program("catch", "--full", *LOCAL, env={"PYTHONUTF8": "1"}) as program:
        send(program.ready_port())
        assert "\nEnvelope  <joerg@example.org> to <ben@example.org>\n" in (
            view := printed(program)
        )
        assert "\nMIME-Version: 1.0\n" in view


def test_json() -> None:
    with Program("catch", "--json", *LOCAL) as program:
        port = program.ready_port()
        assert program.process.stdout is not None
        for subject in ("one", "two"):
            send(port, subject)
            found = json.loads(program.process.stdout.readline())
            assert (found["subject"], found["text"]) == (subject, "Hello\x1b[31m\n")
            assert found["peer"][0] == "127.0.0.1"
            assert found["attachments"] == [{"name": "a.pdf", "type": "application/pdf", "size": 4}]
        assert program.stop() == (0, [])


def test_dump_and_what_is_printed_have_the_same_ids(tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    with Program("catch", "--json", "--dump", str(folder), *LOCAL) as program:
        send(program.ready_port())
        assert program.process.stdout is not None
        found = json.loads(program.process.stdout.readline())
        kept = json.loads((folder / f"{found['id']}.json").read_text())
        assert len((folder / f"{found['id']}.eml").read_bytes()) == found["size"]
        for name in ("id", "mail_from", "rcpt_tos", "peer", "helo"):
            assert kept[name] == found[name]


def test_quiet(tmp_path: Path) -> None:
    with Program("catch", "--quiet", "--dump", str(tmp_path), *LOCAL) as program:
        send(program.ready_port())
        assert program.stop() == (0, [])
        assert program.process.stdout is not None
        assert program.process.stdout.read() == ""
    assert len(list(tmp_path.glob("*.eml"))) == 1


def test_workers() -> None:
    with Program("catch", "--json", "--workers", "2", *LOCAL) as program:
        port = program.ready_port()
        assert program.process.stdout is not None
        subjects = [f"{number}" for number in range(8)]
        for subject in subjects:
            send(port, subject)
        lines = [json.loads(program.process.stdout.readline()) for _ in subjects]
        assert [line["subject"] for line in lines] == subjects
        assert program.stop() == (0, [])


# Who reads what is printed


@contextlib.contextmanager
def unread(*arguments: str) -> Iterator[Program]:
    """Run with nobody at the other end of standard output."""
    with Program("catch", *LOCAL, *arguments) as program:
        assert program.process.stdout is not None
        program.process.stdout.close()
        yield program


@pytest.mark.parametrize("more", [(), ("--json",), ("--workers", "2")], ids=" ".join)
def test_ends_when_nobody_reads(more: tuple[str, ...]) -> None:
    with unread(*more) as program:
        with Client(program.ready_port()) as client:
            assert client.deliver(b"Subject: x\r\n\r\n").startswith("451 4.3.0 ")
        status, [why, line] = program.ended()
        assert status == 0
        assert why.endswith(
            "WARNING standard output is closed, so that nobody sees the mail: stopping"
        )
        assert "message turned down: from='ann@example.org'" in line


def test_goes_on_keeping_when_nobody_reads(tmp_path: Path) -> None:
    with unread("--dump", str(tmp_path)) as program:
        send(program.ready_port(), "one", "two")
        assert "messages are kept, and shown no more" in program.line()
        assert program.stop() == (0, [])
    assert len(list(tmp_path.glob("*.eml"))) == 2


def test_reader_that_waits_holds_up_messages_and_no_more() -> None:
    with Program("catch", "--full", *LOCAL) as program:
        port = program.ready_port()
        with Client(port) as sender, Client(port) as other:
            sender.begin()
            sender.send(LARGE + b".\r\n")
            assert other.say("EHLO client.test").startswith("250")
            assert other.say("NOOP").startswith("250")
            assert program.process.stdout is not None
            for line in program.process.stdout:
                if line == "text\n":
                    break
            reader = threading.Thread(target=program.process.stdout.read, daemon=True)
            reader.start()
            assert sender.reply().startswith("250")
        assert program.stop() == (0, [])
        reader.join(TIME_LIMIT_SECONDS)


def test_ends_at_a_second_signal_though_nobody_reads() -> None:
    with Program("catch", "--full", *LOCAL) as program:
        port = program.ready_port()
        with Client(port) as sender, Client(port) as other:
            sender.begin()
            sender.send(LARGE + b".\r\n")
            assert program.process.stdout is not None
            assert program.process.stdout.readline()  # it is being shown, and held up
            program.signal(signal.SIGTERM)
            assert other.reply().startswith("421")
            program.signal(signal.SIGTERM)
            assert program.ended() == (-signal.SIGTERM, [])


def test_standard_output_that_is_closed() -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m pillarbox catch --listen 127.0.0.1:0 >&-"],
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "pillarbox: error: standard output is closed; open it, or write --quiet to show nothing\n"
    )


# A terminal


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._screen, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pillarbox", "catch", *arguments],
            env=clean_environment(TERM="xterm-256color", PYTHONUTF8="1"),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> str:
        """Wait until there is a text on the screen; give all up to it."""
        while text not in self.shown:
            self.shown += os.read(self._screen, 4096).decode()
        return self.shown

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


def test_terminal_gets_colours_and_a_hint() -> None:
    with Terminal(*LOCAL) as terminal:
        start = terminal.until("--to bob@example.org\r\n")
        assert "listening on smtp://127.0.0.1:" in start
        port = int(start.split("listening on smtp://127.0.0.1:")[1].split()[0])
        send(port)
        shown = terminal.until("Hello␛[31m\r\n")
    assert "\x1b[1mGrüße\x1b[0m" in shown
    assert "\x1b[31m" not in shown


# Wrong options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--quiet --json", "--quiet shows nothing and --json shows much; leave one of them out"),
        ("--quiet --full", "--quiet shows nothing and --full shows much; leave one of them out"),
        (
            "--dump /dev/null/x",
            "--dump /dev/null/x: Not a directory; give a folder that you may write to",
        ),
    ],
)
def test_wrong_options(arguments: str, message: str) -> None:
    assert error("catch", *LOCAL, *arguments.split()) == message
