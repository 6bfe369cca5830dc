"""`pillarbox relay`, as a program: mail comes in, is kept, and goes out; and every wrong option."""

from __future__ import annotations

import base64
import http.server
import json
import os
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.cli.program import TIME_LIMIT_SECONDS, Client, Program, error_in_process, run_in_process
from tests.cli.test_metrics import scrape

HERE = ("--listen", "127.0.0.1:0")
STRANGER = b"PROXY TCP4 203.0.113.9 127.0.0.1 49152 25\r\n"
FROM_PROXY = ("--proxy-protocol", "127.0.0.1/32")
MESSAGE = b"Subject: Lunch\r\n\r\nAt noon?\r\n"


@contextmanager
def relaying(folder: Path, *options: str, to: int | None = None) -> Iterator[tuple[Program, int]]:
    """Run a relay with its spool in a folder; give it, and its port."""
    hop = ("--to", f"127.0.0.1:{to}") if to is not None else ()
    with Program("relay", *HERE, "--spool", str(folder / "spool"), *hop, *options) as program:
        yield program, program.ready_port()


@contextmanager
def sinking(folder: Path, port: int = 0) -> Iterator[int]:
    """Run a next server that keeps what it gets in a folder."""
    options = ("--listen", f"127.0.0.1:{port}", "--dump", str(folder))
    with Program("sink", *options) as program:
        yield program.ready_port()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def mails(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.eml"))]


def listed(folder: Path, *options: str) -> list[dict[str, object]]:
    output = run_in_process("queue", "list", "--json", "--spool", str(folder / "spool"), *options)
    found: list[dict[str, object]] = json.loads(output)
    return found


def line_with(program: Program, text: str) -> str:
    """Read the log up to a line that has a text."""
    for _ in range(100):
        if text in (line := program.line()):
            return line
    raise AssertionError(text)


# Mail.


def test_mail_goes_to_the_next_server(tmp_path: Path) -> None:
    with sinking(tmp_path / "out") as to, relaying(tmp_path, to=to) as (program, port):
        with Client(port) as client:
            assert re.fullmatch(r"250 2\.0\.0 Queued as [0-9A-F]+", client.deliver(MESSAGE))
        until(lambda: len(mails(tmp_path / "out")) == 1)
        [octets] = mails(tmp_path / "out")
        assert octets.endswith(b"\r\n" + MESSAGE)
        assert octets.startswith(b"Received: from client.test ([127.0.0.1])\r\n\tby ")
        assert octets.count(b"Received:") == 1
        assert line_with(program, "INFO relaying ").endswith(
            f" INFO relaying to smtp://127.0.0.1:{to} for this machine"
        )
        until(lambda: listed(tmp_path) == [])
        assert program.stop() == (0, [])


def test_mail_survives_the_relay(tmp_path: Path) -> None:
    to = free_port()
    with relaying(tmp_path, to=to) as (program, port):
        with Client(port) as client:
            assert client.deliver(MESSAGE).startswith("250 ")
        assert "no connection: Connection refused" in line_with(program, "WARNING")
        assert program.stop()[0] == 0
    [message] = listed(tmp_path)
    assert message["mail_from"] == "ann@example.org"
    with sinking(tmp_path / "out", to), relaying(tmp_path, to=to) as (program, _):
        until(lambda: len(mails(tmp_path / "out")) == 1)
        until(lambda: listed(tmp_path) == [])
        assert program.stop()[0] == 0
    assert mails(tmp_path / "out")[0].endswith(b"\r\n" + MESSAGE)


def test_a_large_message(tmp_path: Path) -> None:
    octets = b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * 20_000
    with sinking(tmp_path / "out") as to, relaying(tmp_path, to=to) as (program, port):
        with Client(port) as client:
            assert client.deliver(octets).startswith("250 ")
        until(lambda: len(mails(tmp_path / "out")) == 1)
        assert mails(tmp_path / "out")[0].endswith(b"\r\n" + octets)
        assert program.stop()[0] == 0


def test_addresses_with_tokens_in_them(tmp_path: Path) -> None:
    """Such as lists and senders make that want to know whose mail came back."""
    sender = f"<bounces+{'0123456789abcdef' * 6}@example.org>"
    with relaying(tmp_path, to=free_port()) as (program, port):
        with Client(port) as client:
            assert client.say("EHLO client.test").startswith("250")
            assert client.say(f"MAIL FROM:{sender}").startswith("250 ")
            assert client.say(f"RCPT TO:{sender}").startswith("250 ")
            assert client.say(f"RCPT TO:<{'a' * 250}@example.org>").startswith("501 ")
        assert program.stop()[0] == 0


def test_a_sender_is_told(tmp_path: Path) -> None:
    (tmp_path / "hop.py").write_text(REFUSES)
    with (
        Program("serve", "hop:Refuses", *HERE, folder=tmp_path) as hop,
        relaying(tmp_path, "--hostname", "relay.test", to=hop.ready_port()) as (program, port),
    ):
        with Client(port) as client:
            assert client.deliver(MESSAGE).startswith("250 ")
        until((tmp_path / "told").exists)
        until(lambda: listed(tmp_path) == [])
        assert program.stop()[0] == 0
    report = message_from_bytes((tmp_path / "told").read_bytes())
    assert report["To"] == "<ann@example.org>"
    assert report["From"] == "Mail delivery <MAILER-DAEMON@relay.test>"
    status = report.get_payload(1)
    assert status.get_payload(1)["Final-Recipient"] == "rfc822; bob@example.org"  # type: ignore[union-attr,index]  # Message has no better type for it
    assert status.get_payload(1)["Diagnostic-Code"] == "smtp; 550 5.1.1 Nobody"  # type: ignore[union-attr,index]  # the same


REFUSES = """
import os
from pillarbox import Reject

class Refuses:
    def rcpt(self, session, rcpt):
        if rcpt.path.mailbox != "ann@example.org":
            raise Reject(550, "5.1.1", "Nobody")

    def message(self, session, envelope, body):
        assert envelope.mail_from == ""
        with open("told.new", "wb") as file:
            file.write(body.data)
        os.rename("told.new", "told")
"""


def test_what_is_put_in_front(tmp_path: Path) -> None:
    pytest.importorskip("dkim")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = form.PrivateFormat.TraditionalOpenSSL
    (tmp_path / "key").write_bytes(key.private_bytes(form.Encoding.PEM, pem, form.NoEncryption()))
    dkim = (
        "--dkim-key",
        str(tmp_path / "key"),
        "--dkim-selector",
        "mail",
        "--dkim-domain",
        "x.org",
    )
    options = (*dkim, "--add-header", "X-Site: here", "--add-header", "X-More: 1")
    octets = b"From: <ann@example.org>\r\n" + MESSAGE
    with sinking(tmp_path / "out") as to, relaying(tmp_path, *options, to=to) as (program, port):
        with Client(port) as client:
            assert client.deliver(octets).startswith("250 ")
        until(lambda: len(mails(tmp_path / "out")) == 1)
        assert program.stop()[0] == 0
    [sent] = mails(tmp_path / "out")
    names = [line.partition(b":")[0] for line in sent.split(b"\r\n") if line[:1].isalpha()]
    assert names[:4] == [b"Received", b"DKIM-Signature", b"X-Site", b"X-More"]
    assert sent.endswith(b"X-Site: here\r\nX-More: 1\r\n" + octets)


# Who may.


def test_strangers(tmp_path: Path) -> None:
    options = (*FROM_PROXY, "--allow-domain", "here.example", "--auth", "ann:secret")
    with relaying(tmp_path, *options, to=9) as (program, port), Client(port, STRANGER) as client:
        client.say("EHLO localhost")
        client.say("MAIL FROM:<>")
        assert client.say("RCPT TO:<bob@elsewhere.example>") == "550 5.7.1 Relaying denied"
        assert client.say("RCPT TO:<bob@sub.here.example>") == "550 5.7.1 Relaying denied"
        assert client.say("RCPT TO:<bob@HERE.example>").startswith("250 ")
        client.say("RSET")
        login = base64.b64encode(b"\0ann\0secret").decode()
        assert client.say(f"AUTH PLAIN {login}").startswith("235 ")
        client.say("MAIL FROM:<>")
        assert client.say("RCPT TO:<bob@elsewhere.example>").startswith("250 ")
        assert "those who log in; for anybody to here.example" in line_with(
            program, "INFO relaying "
        )
        assert "refused to relay for 203.0.113.9:49152 to 'bob@elsewhere.example'" in line_with(
            program, "refused"
        )


def test_listed_networks(tmp_path: Path) -> None:
    options = (*FROM_PROXY, "--allow-network", "203.0.113.0/24")
    with relaying(tmp_path, *options, to=9) as (_, port), Client(port, STRANGER) as client:
        client.say("EHLO localhost")
        client.say("MAIL FROM:<>")
        assert client.say("RCPT TO:<bob@elsewhere.example>").startswith("250 ")


def test_not_even_this_machine(tmp_path: Path) -> None:
    with relaying(tmp_path, "--no-allow-local", to=9) as (_, port), Client(port) as client:
        client.say("EHLO localhost")
        client.say("MAIL FROM:<>")
        assert client.say("RCPT TO:<bob@elsewhere.example>").startswith("550 5.7.1 ")


# What is told.


def test_figures(tmp_path: Path) -> None:
    options = ("--metrics", "127.0.0.1:0")
    with sinking(tmp_path / "out") as to, relaying(tmp_path, *options, to=to) as (program, port):
        figures = int(program.ready().rpartition(":")[2])
        with Client(port) as client:
            assert client.deliver(MESSAGE).startswith("250 ")
        name = 'pillarbox_relay_recipients_total{result="delivered"}'
        until(lambda: scrape(figures)[name] == 1)
        told = scrape(figures)
        assert told["pillarbox_relay_submitted_total"] == 1
        assert told["pillarbox_relay_spool_commits_total"] >= 1
        assert "pillarbox_relay_queue_messages" in told
        assert told["pillarbox_relay_queue_oldest_seconds"] == 0
        assert told['pillarbox_messages_total{result="accepted"}'] == 1
        assert program.stop()[0] == 0


def test_events_in_the_log(tmp_path: Path) -> None:
    options = ("--log-format", "json")
    with sinking(tmp_path / "out") as to, relaying(tmp_path, *options, to=to) as (program, port):
        with Client(port) as client:
            name = client.deliver(MESSAGE).rpartition(" ")[2]
        event = json.loads(line_with(program, '"event": "attempt"'))
        assert (event["id"], event["mail_from"]) == (name, "ann@example.org")
        assert event["destination"] == f"smtp://127.0.0.1:{to}"
        [recipient] = event["recipients"]
        assert recipient == {
            "address": "bob@example.org",
            "result": "delivered",
            "reply": "250 2.0.0 Message accepted",
            "attempts": 1,
            "next_attempt": None,
            "expired": False,
            "in_doubt": False,
        }


def test_a_webhook(tmp_path: Path) -> None:
    posted: queue.Queue[dict[str, object]] = queue.Queue()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # its name there
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        to = stack.enter_context(sinking(tmp_path / "out"))
        url = f"http://127.0.0.1:{server.server_port}/events"
        program, port = stack.enter_context(relaying(tmp_path, "--webhook", url, to=to))
        with Client(port) as client:
            name = client.deliver(MESSAGE).rpartition(" ")[2]
        event = posted.get(timeout=TIME_LIMIT_SECONDS)
        assert (event["event"], event["id"]) == ("attempt", name)
        assert program.stop()[0] == 0


# Wrong options. None of these gets as far as to listen.


def error(*options: str, folder: Path | None = None) -> str:
    spool = ("--spool", str(folder / "spool")) if folder else ()
    return error_in_process("relay", *HERE, *spool, *options)


TO = ("--to", "127.0.0.1:9")
LOGIN = ("--to", "smtps://ann@smtp.example")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "where mail goes is not said; write --to HOST:PORT for a next server, or --mx"),
        ((*TO, "--mx"), "--to names one server for all mail, and --mx asks DNS; leave one out"),
        (("--to", "http://x"), "--to 'http://x' begins with none of smtp://, "),
        (("--to", "x:99999"), "--to 'x:99999': the port is a number from 1 to 65535"),
        (("--to", "smtps://ann:secret@x"), "--to a password does not belong here"),
        (LOGIN, "--to logs in as ann and there is no password; write --to-password-file FILE"),
        ((*TO, "--to-password-file", "x"), "--to-password-file is for a login, and --to has none"),
        (("--mx", "--to-password-file", "x"), "--to-password-file is for a login, and --to has"),
        ((*LOGIN, "--to-password-file", "/none"), "--to-password-file /none: No such file or"),
        ((*TO, "--ca-file", "/none"), "--ca-file /none: No such file or directory; give a PEM"),
        ((*TO, "--allow-network", "x"), "--allow-network: 'x' is not a network; write one such"),
        ((*TO, "--allow-network", "10.0.0.1/8"), "--allow-network: '10.0.0.1/8' is not a network"),
        (
            (*TO, "--allow-network", "0.0.0.0/0"),
            "--allow-network: network 0.0.0.0/0 is a good part of the Internet: whoever is there"
            " could send mail to anybody, and spammers would; list networks of your own, or write"
            " --open-relay-on-purpose as well",
        ),
        (
            (*TO, "--allow-network", "0.0.0.0/1", "--allow-network", "128.0.0.0/1"),
            "--allow-network: network 0.0.0.0/0 is a good part",
        ),
        ((*TO, "--allow-network", "::/0"), "--allow-network: network ::/0 is a good part"),
        ((*TO, "--allow-domain", "*"), "--allow-domain: '*' is no domain; write one such as"),
        ((*TO, "--workers", "2"), "--workers: one process has the spool"),
        ((*TO, "--spool", "mysql://ann:secret@x"), "--spool mysql://ann@x: a spool is a folder or"),
        ((*TO, "--spool", ""), "--spool is empty; write a folder such as ./pillarbox-spool"),
        ((*TO, "--first-retry", "5x"), "--first-retry: '5x' is no time; write one such as 90s,"),
        ((*TO, "--lifetime", "0"), "--lifetime: '0' is no time; write one such as 90s, 5m, 4h"),
        ((*TO, "--first-retry", "5h"), "--first-retry is longer than --longest-retry; write a"),
        ((*TO, "--lifetime", "5m"), "--first-retry is not shorter than --lifetime, so nothing"),
        ((*TO, "--max-sessions", "0"), "--max-sessions: 0 is not in the range x>=1"),
        *(
            (
                (*TO, "--max-rate-per-destination", rate),
                f"--max-rate-per-destination: {rate!r} is no rate; write how many messages in which"
                " time, such as 100/1m or 20/1s",
            )
            for rate in ("", "100", "0/1m", "-1/1m", "1.5/1m", "100/", "/1m", "100/1w", "9/9/1m")
        ),
        (
            (*TO, "--max-rate-per-destination", "1/0.5s"),
            "--max-rate-per-destination: '1/0.5s' has a time of less than a second; write 20/1s",
        ),
        ((*TO, "--add-header", "X"), "--add-header 'X' is no header line; write 'X-Site: example'"),
        ((*TO, "--add-header", "X: a\nB: c"), r"--add-header 'X: a\nB: c' is no header line"),
        ((*TO, "--dkim-key", "x"), "a DKIM signature needs a key, its selector and a domain; write"
         " --dkim-selector and --dkim-domain"),
        ((*TO, "--dkim-domain", "x"), "a DKIM signature needs a key, its selector and a domain;"
         " write --dkim-key and --dkim-selector"),
        ((*TO, "--webhook", "example.org"), "--webhook 'example.org' is no address to post to;"),
    ],
)  # fmt: skip
def test_wrong_options(options: Sequence[str], text: str) -> None:
    assert error(*options).startswith(text)


def test_a_password_file_that_is_empty(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\nsecret\n")
    said = error(*LOGIN, "--to-password-file", str(tmp_path / "password"))
    assert said.endswith("/password: its first line is empty; write the password")


def test_a_relay_that_would_relay_to_itself() -> None:
    port = free_port()
    said = error_in_process("relay", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{port}")
    assert said.startswith(f"--to 127.0.0.1:{port} is this relay itself, and mail would go round;")


DKIM = ("--dkim-selector", "mail", "--dkim-domain", "example.org", "--dkim-key")


def test_a_key_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("dkim")
    (tmp_path / "key").write_text("x")
    said = error(*TO, *DKIM, str(tmp_path / "key"))
    assert "/key: this is no private key; make one by 'openssl genrsa" in said
    assert error(*TO, *DKIM, "/none").startswith("--dkim-key /none: No such file or directory;")


def test_signatures_are_made_in_memory() -> None:
    for most in ("0", "100000000"):
        assert error(*TO, *DKIM, "key", "--max-message-bytes", most) == (
            "--dkim-key has messages signed in memory; write --max-message-bytes of at most"
            " 67108864"
        )


@pytest.mark.parametrize(
    ("missing", "options", "text"),
    [
        ("dns", ("--mx",), '--mx needs the library dnspython; pip install "pillarbox[mx]"'),
        ("pillarbox.relay.sign", (*TO, *DKIM, "x"), "--dkim-key needs the library dkimpy; pip"),
    ],
)
def test_a_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, missing: str, options: Sequence[str], text: str
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert error(*options).startswith(text)


# A spool that cannot be used.


def test_a_spool_in_use(tmp_path: Path) -> None:
    with relaying(tmp_path, to=9) as (program, _):
        said = error(*TO, folder=tmp_path)
        assert f"is in use by another relay (process {program.process.pid}); stop that one" in said
        assert program.stop()[0] == 0


def test_a_spool_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("x")
    assert error(*TO, folder=tmp_path) == (
        f"--spool {tmp_path}/spool: it is a file; name a folder, which is made if need be"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where even root cannot write")
def test_a_spool_where_nothing_can_be_written() -> None:
    said = error(*TO, "--spool", "/proc/spool")
    assert said.startswith("--spool: /proc/spool cannot be used: ")


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """Files of this program end at half a megabyte, as a full disk would have them end."""
    large = b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * 10_000
    little = ("sh", "-c", 'ulimit -f 1000; exec "$@"', "sh")
    spool = ("--spool", str(tmp_path / "spool"))
    with (
        sinking(tmp_path / "out") as to,
        Program("relay", *HERE, *spool, "--to", f"127.0.0.1:{to}", prefix=little) as program,
    ):
        with Client(program.ready_port()) as client:
            assert client.deliver(large).startswith("451 4.3.0 ")
            line = line_with(program, "a message could not be kept: ")
            assert line.endswith("/spool cannot be used: File too large; look after its disk")
            # Nothing else has come to harm.
            assert client.deliver(MESSAGE).startswith("250 ")
        until(lambda: len(mails(tmp_path / "out")) == 1)
        assert list((tmp_path / "spool/bodies").rglob("*.*")) == []
        assert program.stop()[0] == 0
    assert mails(tmp_path / "out")[0].endswith(b"\r\n" + MESSAGE)
