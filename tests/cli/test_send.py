"""`pillarbox send`: the dialogue, the exit status, and filling a server."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pillarbox import Config, ThreadServer
from pillarbox.cli import pillarbox
from pillarbox.cli.sending import _Load
from pillarbox.envelope import Session
from pillarbox.handler import Reject
from pillarbox.protocol.reply import Reply
from pillarbox.testing import Recorder
from tests.cli.program import (
    TIME_LIMIT_SECONDS,
    clean_environment,
    error_in_process,
    run_in_process,
)

ENVELOPE = ("--from", "ann@example.org", "--to", "bob@example.org")
MAIL = b"From: ann@example.org\nTo: bob@example.org\nSubject: hi\n\n.text\n"
UNKNOWN = Reply(550, "5.1.1", "No such mailbox")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder({"ben@example.org": UNKNOWN})


@pytest.fixture
def server(recorder: Recorder) -> Iterator[str]:
    """Give the address of a server that knows nobody of the name of Ben."""
    with ThreadServer(recorder, port=0, config=Config(hostname="mx.test")) as server:
        yield f"127.0.0.1:{server.port}"


def send(*arguments: str, octets: bytes = MAIL) -> Result:
    """Run the command; it never ends by a traceback."""
    not_ours = dict.fromkeys(os.environ.keys() - clean_environment().keys())
    result = CliRunner(env=not_ours).invoke(pillarbox, ["send", *arguments], input=octets)
    assert isinstance(result.exception, SystemExit | None), result.exc_info
    return result


# One message


def test_dialogue(server: str, recorder: Recorder) -> None:
    result = send("--server", server, "--hostname", "client.test")
    assert (result.exit_code, result.stdout) == (0, "")
    assert [line for line in result.stderr.splitlines() if not line.startswith("S: 250-")] == [
        "S: 220 mx.test ESMTP",
        "C: EHLO client.test",
        "S: 250 HELP",
        "C: MAIL FROM:<ann@example.org> SIZE=66",
        "C: RCPT TO:<bob@example.org>",
        "S: 250 2.1.0 Sender OK",
        "S: 250 2.1.5 Recipient OK",
        "C: BDAT 66 LAST",
        "C: (66 octets)",
        "S: 250 2.0.0 Message accepted",
        "C: QUIT",
        "S: 221 2.0.0 Goodbye",
    ]
    [message] = recorder.messages
    assert message.data == MAIL.replace(b"\n", b"\r\n")


def test_text(server: str, recorder: Recorder) -> None:
    assert send("--server", server, *ENVELOPE, "-", octets=b"Hello\n").exit_code == 0
    message = recorder.messages[0].parse()
    assert message["From"] == "ann@example.org"
    assert message.get_content() == "Hello\r\n"


def test_file(server: str, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "hello.eml").write_bytes(MAIL)
    assert send("--server", server, str(tmp_path / "hello.eml"), octets=b"").exit_code == 0
    assert len(recorder.messages) == 1


@pytest.mark.parametrize(
    ("body_type", "data"),
    [
        ("7bit", b"Subject: hi\r\n\r\na\r\nb\r\n"),
        ("8bitmime", b"Subject: hi\r\n\r\na\r\nb\r\n"),
        ("binarymime", b"Subject: hi\n\na\rb\n"),
    ],
)
def test_body_type(server: str, recorder: Recorder, body_type: str, data: bytes) -> None:
    octets = b"Subject: hi\n\na\rb\n"
    result = send("--server", server, *ENVELOPE, "--body-type", body_type, octets=octets)
    assert result.exit_code == 0
    assert recorder.messages[0].data == data
    assert recorder.messages[0].envelope.mail.body == body_type.upper()


def test_header_beyond_ascii(server: str, recorder: Recorder) -> None:
    octets = "From: é@example.org\nTo: bob@example.org\nSubject: Grüße\n\n".encode()
    assert send("--server", server, octets=octets).exit_code == 0
    assert recorder.messages[0].mail_from == "é@example.org"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
def test_who_types_is_told_what_to_do(server: str, recorder: Recorder) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"Hello\n\x04")
        result = subprocess.run(
            [sys.executable, "-m", "pillarbox", "send", "--server", server, *ENVELOPE],
            env=clean_environment(),
            stdin=theirs,
            capture_output=True,
            timeout=TIME_LIMIT_SECONDS,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.stderr.startswith(b"Type the message; Ctrl-D on a line of its own ends it.\nS: ")
    assert recorder.messages[0].data.endswith(b"\r\n\r\nHello\r\n")


def test_unix_socket(tmp_path: Path, recorder: Recorder) -> None:
    path = tmp_path / "smtp"
    with socketserver.ThreadingUnixStreamServer(str(path), _Refusing) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        result = send("--server", f"unix:{path}")
        thread.join()
    assert result.exit_code == 1
    assert result.stderr.endswith("refused: 554 5.7.1 Not you\n")


class _Refusing(socketserver.StreamRequestHandler):
    """A server that does not want anybody."""

    def handle(self) -> None:
        self.wfile.write(b"554 5.7.1 Not you\r\n")
        assert self.rfile.readline() == b"QUIT\r\n"
        self.wfile.write(b"221 Bye\r\n")


# Several files


def test_several_files(tmp_path: Path, server: str, recorder: Recorder) -> None:
    paths = []
    for name in ("one", "two"):
        paths.append(tmp_path / f"{name}.eml")
        paths[-1].write_bytes(MAIL.replace(b"hi", name.encode()))
    result = send("--server", server, "--count", "2", *map(str, paths))
    assert result.exit_code == 0
    assert result.stdout.startswith("4 messages in ")
    subjects = [message.data.split(b"Subject: ")[1][:3] for message in recorder.messages]
    assert subjects == [b"one", b"two", b"one", b"two"]


def test_one_of_several_files_is_wrong(tmp_path: Path, server: str, recorder: Recorder) -> None:
    mail, text, absent = tmp_path / "mail.eml", tmp_path / "text.txt", tmp_path / "absent.eml"
    mail.write_bytes(MAIL)
    text.write_bytes(b"Hello\n")
    for wrong, error in (
        (text, "there is no sender; give one by --from ann@example.org"),
        (absent, "No such file or directory; name a file, or - for standard input"),
    ):
        result = send("--server", server, str(mail), str(wrong))
        assert result.exit_code == 2
        assert result.stderr == f"pillarbox: error: {wrong}: {error}\n"
    assert not recorder.messages


# Refusals: status 1


def test_one_recipient_refused(server: str, recorder: Recorder) -> None:
    result = send("--server", server, *ENVELOPE, "--to", "ben@example.org")
    assert result.exit_code == 1
    assert result.stderr.endswith("refused: ben@example.org: 550 5.1.1 No such mailbox\n")
    assert len(recorder.messages) == 1


def test_message_refused(recorder: Recorder, server: str) -> None:
    recorder.reply = Reply(554, "5.7.1", "Spam")
    result = send("--server", server)
    assert result.exit_code == 1
    assert result.stderr.endswith("refused: bob@example.org: 554 5.7.1 Spam\n")


def test_message_that_the_server_is_not_asked_to_take(recorder: Recorder) -> None:
    config = Config(hostname="mx.test", max_message_bytes=10)
    with ThreadServer(recorder, config=config) as server:
        result = send("--server", f"127.0.0.1:{server.port}")
    assert result.exit_code == 1
    assert "C: MAIL" not in result.stderr
    assert result.stderr.endswith(" of up to 10 octets (the message was not sent)\n")


def test_text_of_the_server_does_not_drive_the_terminal() -> None:
    class Evil:
        def connect(self, _session: Session) -> None:
            raise Reject(554, "5.7.1", "\u202enot you")

    with ThreadServer(Evil()) as server:
        result = send("--server", f"127.0.0.1:{server.port}")
    assert result.exit_code == 1
    assert result.stderr.replace("\n", "").isprintable()


# Wrong usage, or no connection: status 2 and one line


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--server", "mx.test"), "--server: 'mx.test' is no server; write '127.0.0.1:1025'"),
        (("--server", "127.0.0.1:0"), "--server: '127.0.0.1:0' is no server"),
        (("--server", "127.0.0.1:x"), "--server: '127.0.0.1:x' is no server"),
        (("--hostname", "a b", *ENVELOPE), "--hostname 'a b' is no host name; write one such"),
        (("--hostname", "a b", *ENVELOPE, "--count", "2"), "--hostname 'a b' is no host name"),
        (("--to", "bob@example.org"), "there is no sender; give one by --from"),
        (("--from", "ann@example.org"), "there is no recipient; give one by --to"),
        (("--from", "ann", "--to", "bob@example.org"), "--from 'ann' is no address"),
        (("--count", "0"), "--count: 0 is not in the range"),
        (("--body-type", "9bit"), "--body-type: '9bit' is not one of"),
        (("/there/is/no/such/file",), "No such file or directory; name a file, or -"),
        (("\0",), "name a file, or -"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], error: str) -> None:
    assert error.lower() in error_in_process("send", *arguments).lower()


def test_help_has_what_there_is() -> None:
    text = run_in_process("send", "--help")
    options = ("--from", "--to", "--server", "--body-type", "--count", "--connections")
    for option in (*options, "--starttls", "--tls", "--auth", "--ca-file", "--insecure"):
        assert f"\n  {option} " in text


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give an address that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("count", ["1", "3"])
def test_no_server(nobody: str, count: str) -> None:
    result = send("--server", nobody, "--count", count, "--connections", "2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"pillarbox: error: no connection to {nobody}: Connection refused; is --server right,"
        " and does it run? 'pillarbox catch' starts one\n"
    )


def test_no_socket(tmp_path: Path) -> None:
    result = send("--server", f"unix:{tmp_path}/none")
    assert result.exit_code == 2
    assert "none: No such file or directory; is --server right" in result.stderr


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ((), "the server closed the connection; the message was not delivered, try again"),
        (("hello",), "'hello\\r\\n' is no reply; the message was not delivered, try again"),
        (("220 a", "250 a", "250 OK", "250 OK"), "was not delivered, try again"),
        (("220 a", "250 a", "250 OK", "250 OK", "354 Go"), "may have been delivered all the same"),
    ],
)
@pytest.mark.parametrize("count", ["1", "2"])
def test_lost_connection(said: tuple[str, ...], error: str, count: str) -> None:
    class Closing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in said:
                self.wfile.write(line.encode() + b"\r\n")
                self.rfile.readline()
            if said[-1:] == ("354 Go",):
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Closing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        result = send("--server", f"127.0.0.1:{server.server_address[1]}", "--count", count)
        server.shutdown()
        thread.join()
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("pillarbox: error: 127.0.0.1:")
    assert last.endswith(error)
    if count == "2" and len(said) > 2:
        assert re.fullmatch(r"2 messages in .*, 2 failures\n", result.stdout)


# Many messages


@pytest.mark.parametrize("connections", ["1", "3", "50"])
def test_filling_a_server(server: str, recorder: Recorder, connections: str) -> None:
    result = send("--server", server, "--count", "20", "--connections", connections)
    assert result.exit_code == 0
    assert re.fullmatch(r"20 messages in [0-9.]+ s, [0-9]+ messages/s, 0 failures\n", result.stdout)
    assert result.stderr == ""
    assert len(recorder.messages) == 20
    sessions = {message.session.id for message in recorder.messages}
    assert len(sessions) <= int(connections)


def test_a_connection_that_comes_up_when_all_is_sent() -> None:
    """It has nothing to send; once it sent one more, and then without end."""
    all_sent = asyncio.Event()
    sessions = itertools.count()
    sent: list[int] = []

    @asynccontextmanager
    async def session() -> AsyncIterator[object]:
        if next(sessions):
            await all_sent.wait()
        await asyncio.sleep(0)  # the other one begins
        yield SimpleNamespace(is_open=True)

    async def over(client: object, number: int) -> object:
        sent.append(number)
        assert len(sent) <= 3
        if len(sent) == 3:
            all_sent.set()
        return SimpleNamespace(is_accepted=True)

    sending: Any = SimpleNamespace(access=SimpleNamespace(session=session), over=over)
    asyncio.run(_Load(sending, 3, lambda: None).run(2))
    assert sent == [0, 1, 2]


def test_many_texts_are_different_messages(server: str, recorder: Recorder) -> None:
    assert send("--server", server, *ENVELOPE, "--count", "5", octets=b"Hello").exit_code == 0
    assert len({message.parse()["Message-ID"] for message in recorder.messages}) == 5


def test_many_messages_of_which_each_is_refused(server: str) -> None:
    result = send("--server", server, "--to", "ben@example.org", "--count", "5")
    assert result.exit_code == 1
    assert result.stdout.endswith(" 5 failures\n")
    assert result.stderr == "for example, refused: ben@example.org: 550 5.1.1 No such mailbox\n"


def test_connections_that_are_refused_leave_the_work_to_others(recorder: Recorder) -> None:
    config = Config(max_connections=1)
    with ThreadServer(recorder, config=config) as server:
        address = f"127.0.0.1:{server.port}"
        result = send("--server", address, "--count", "20", "--connections", "5")
    assert result.exit_code == 0
    assert result.stdout.endswith(" 0 failures\n")
    assert len(recorder.messages) == 20


def test_all_connections_refused() -> None:
    class Closed:
        def connect(self, _session: Session) -> None:
            raise Reject(554, "5.7.1", "Not you")

    with ThreadServer(Closed()) as server:
        result = send("--server", f"127.0.0.1:{server.port}", "--count", "3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "refused: 554 5.7.1 Not you\n"


def test_server_that_says_goodbye_after_each_message(recorder: Recorder) -> None:
    recorder.reply = Reply(421, "4.3.2", "Enough")
    with ThreadServer(recorder) as server:
        result = send("--server", f"127.0.0.1:{server.port}", "--count", "3")
    assert result.exit_code == 1
    assert result.stdout.endswith(" 3 failures\n")
    assert len(recorder.calls) > 3
