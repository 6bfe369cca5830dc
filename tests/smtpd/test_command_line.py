"""`python -m smtpd`: options, exit statuses, and what DebuggingServer prints, octet for octet."""

from __future__ import annotations

import ast
import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.smtpd.under_test import IS_STDLIB, SMTPD_FILE, mended, ours_only, smtpd

resource = pytest.importorskip("resource")  # POSIX

TIME_LIMIT_SECONDS = 20

# `python -m smtpd`, which tells on standard error which port it got once it listens.
PROGRAM = """
import runpy, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import asyncore
loop = asyncore.loop
def announce(*arguments, **keywords):
    (server,) = asyncore.socket_map.values()
    print(server.socket.getsockname()[1], file=sys.stderr, flush=True)
    loop(*arguments, **keywords)
asyncore.loop = announce
runpy.run_module("smtpd", run_name="__main__", alter_sys=True)
"""


def command(*arguments: str, program: str | None = None) -> dict[str, Any]:
    """Give what subprocess needs to run the module under test."""
    script = ["-m", "smtpd"] if program is None else ["-c", program]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    if not IS_STDLIB:
        environment["PYTHONPATH"] = str(SMTPD_FILE.parent)
    return {
        "args": [sys.executable, "-W", "ignore::DeprecationWarning", *script, *arguments],
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def run(*arguments: str, program: str | None = None, **more: Any) -> tuple[int, str, str]:
    done = subprocess.run(
        **command(*arguments, program=program), text=True, timeout=TIME_LIMIT_SECONDS, **more
    )
    return done.returncode, done.stdout, done.stderr


class Running:
    """The program, as long as the block runs; then what it printed."""

    def __init__(self, *arguments: str, program: str = PROGRAM) -> None:
        self.command = command(*arguments, program=program)
        self.printed = b""
        self.status: int | None = None

    def __enter__(self) -> Running:
        process: Any = subprocess.Popen(**self.command)
        self.process = process
        self.watchdog = threading.Timer(TIME_LIMIT_SECONDS, self.process.kill)
        self.watchdog.start()
        line = self.process.stderr.readline()
        assert line.strip().isdigit(), line + self.process.stderr.read()
        self.port = int(line)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.printed, self.errors = self.process.communicate()
        self.status = self.process.returncode
        self.watchdog.cancel()


def dialogue(host: str, port: int, octets: bytes) -> bytes:
    """Send all at once; give what was answered."""
    with socket.create_connection((host, port), TIME_LIMIT_SECONDS) as client:
        client.sendall(octets)
        with client.makefile("rb") as stream:
            return stream.read()


def raw(data: bytes, mail: bytes = b"") -> bytes:
    return (
        b"EHLO client.test\r\nMAIL FROM:<ann@example.org>" + mail + b"\r\n"
        b"RCPT TO:<ben@example.org>\r\nDATA\r\n" + data + b"\r\n.\r\nQUIT\r\n"
    )


BEGIN = b"---------- MESSAGE FOLLOWS ----------\n"
END = b"------------ END MESSAGE ------------\n"

MESSAGES = [
    (
        raw(b"Subject: Hello\r\nTo: ben\r\n\r\nHello!\r\n\r\nBye"),
        b"b'Subject: Hello'\nb'To: ben'\nb'X-Peer: HOST'\nb''\nb'Hello!'\nb''\nb'Bye'\n",
    ),
    (raw(b"no header"), b"b'no header'\n"),
    (raw(b"\r\nno header"), b"b'X-Peer: HOST'\nb''\nb'no header'\n"),
    (
        raw(b"A: caf\xe9\r\n\r\n\xc3\xa9 \xff \\ \" '\t\x00"),
        b"b'A: caf\\xe9'\nb'X-Peer: HOST'\nb''\nb'\\xc3\\xa9 \\xff \\\\ \" \\'\\t\\x00'\n",
    ),
    (
        raw(b"A: 1\r\n\r\n..dot\r\na\nb\rc"),
        b"b'A: 1'\nb'X-Peer: HOST'\nb''\nb'.dot'\nb'a'\nb'b'\nb'c'\n",
    ),
    (
        raw(b"A: 1\r\n\r\nx", b" body=8bitmime size=10"),
        b"mail options: ['BODY=8BITMIME', 'SIZE=10']\nb'A: 1'\nb'X-Peer: HOST'\nb''\nb'x'\n",
    ),
]


def printed(host: str, *contents: bytes) -> bytes:
    return b"".join(BEGIN + text.replace(b"HOST", host.encode()) + END for text in contents)


def test_what_it_prints() -> None:
    with Running("-n", "-c", "DebuggingServer", "127.0.0.1:0") as program:
        for octets, _ in MESSAGES:
            answered = dialogue("127.0.0.1", program.port, octets)
            assert answered.endswith(b"250 OK\r\n221 Bye\r\n")
    assert program.printed == printed("127.0.0.1", *(text for _, text in MESSAGES))
    assert (program.status, program.errors) == (0, b"")


def test_what_it_prints_of_smtplib() -> None:
    """No SIZE is announced, so that smtplib says none and there is no line about options."""
    with (
        Running("-n", "-c", "DebuggingServer", "127.0.0.1:0") as program,
        smtplib.SMTP("127.0.0.1", program.port, timeout=TIME_LIMIT_SECONDS) as client,
    ):
        client.sendmail("a@b", ["c@d"], "Subject: x\n\nx")
        client.sendmail("a@b", ["c@d"], "Subject: y\n\ny\n", mail_options=["body=8bitmime"])
    assert program.printed == printed(
        "127.0.0.1",
        b"b'Subject: x'\nb'X-Peer: HOST'\nb''\nb'x'\n",
        b"mail options: ['BODY=8BITMIME']\nb'Subject: y'\nb'X-Peer: HOST'\nb''\nb'y'\n",
    )


# No name of a test machine is sure to have an IPv6 address: this one has, for the program.
NAME_WITH_IPV6 = """
import socket
look_up, bind = socket.getaddrinfo, socket.socket.bind
def find(host, *arguments, **keywords):
    return look_up("::1" if host == "six.test" else host, *arguments, **keywords)
class Socket(socket.socket):
    def bind(self, address):
        bind(self, find(*address[:2], self.family)[0][4])
socket.getaddrinfo, socket.socket = find, Socket
"""


@pytest.mark.skipif(not socket.has_ipv6, reason="Python without IPv6")
def test_what_it_prints_under_the_ipv6_address_of_a_name() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    arguments = ["-n", "-c", "DebuggingServer", "six.test:0"]
    with Running(*arguments, program=NAME_WITH_IPV6 + PROGRAM) as program:
        dialogue("::1", program.port, MESSAGES[0][0])
    assert program.printed == printed("::1", MESSAGES[0][1])


def test_smtputf8_and_size() -> None:
    arguments = ["-n", "-c", "DebuggingServer", "-u", "-s", "1000", "127.0.0.1:0"]
    octets = raw("A: é\r\n\r\né".encode(), b" SMTPUTF8")
    with Running(*arguments) as program:
        answered = dialogue("127.0.0.1", program.port, octets)
    assert b"\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 HELP\r\n" in answered
    assert program.printed == printed(
        "127.0.0.1",
        b"mail options: ['SMTPUTF8']\nb'A: \\xc3\\xa9'\nb'X-Peer: HOST'\nb''\nb'\\xc3\\xa9'\n",
    )


@pytest.mark.parametrize("option", ["-d", "--debug"])
def test_debugging_output(option: str) -> None:
    program = PROGRAM.replace("file=sys.stderr", "file=sys.__stderr__")
    program = program.replace(
        "import asyncore\n", "import asyncore, io\nold, sys.stderr = sys.stderr, io.StringIO()\n", 1
    )
    program += "\nsys.__stdout__.write(sys.stderr.getvalue())\n"
    with Running("-n", option, "127.0.0.1:0", program=program) as running:
        dialogue("127.0.0.1", running.port, b"NOOP\r\nQUIT\r\n")
    lines = running.printed.decode().splitlines()
    assert lines[0].startswith("PureProxy started at ")
    assert lines[1:3] == ["\tLocal addr: ('127.0.0.1', 0)", "\tRemote addr:('localhost', 25)"]
    assert lines[-2:] == ["Data: b'NOOP'", "Data: b'QUIT'"]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str) -> None:
    status, out, err = run(option)
    assert (status, out) == (0, "")
    for wanted in ("--nosetuid", "--version", "--class", "--size", "--smtputf8", "--debug"):
        assert wanted in err
    assert "33554432" in err
    assert "Python SMTP proxy version 0.3" in err


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str) -> None:
    assert run(option) == (0, "Python SMTP proxy version 0.3\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--colour"], "option --colour not recognized"),
        (["-s", "big"], "Invalid size: big"),
        (["a:1", "b:2", "c:3"], "Invalid arguments: a:1, b:2, c:3"),
        (["localhost"], "Bad local spec: localhost"),
        (["localhost:smtp"], "Bad local port: localhost:smtp"),
        (["a:1", "b"], "Bad remote spec: b"),
        (["a:1", "b:x"], "Bad remote port: b:x"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.endswith(f"{said}\n")


@ours_only
def test_a_class_that_does_not_exist() -> None:
    status, _, err = run("-n", "-c", "DebugServer", "127.0.0.1:0")
    assert status == 1
    assert "No class DebugServer" in err


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], ("localhost", 8025, "localhost", 25, True, "PureProxy", None, False)),
        (["a:1"], ("a", 1, "localhost", 25, True, "PureProxy", None, False)),
        (["-nu", "a:1", "b:2"], ("a", 1, "b", 2, False, "PureProxy", None, True)),
        (["-c", "x.Y", "-s", "0", ":1"], ("", 1, "localhost", 25, True, "x.Y", 0, False)),
        (
            ["--nosetuid", "--class=x.Y", "--size=3", "--smtputf8", "a:1"],
            ("a", 1, "localhost", 25, False, "x.Y", 3, True),
        ),
    ],
)
def test_options(
    arguments: list[str], options: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smtpd", *arguments])
    found = smtpd.parseargs()
    assert (found.localhost, found.localport, found.remotehost, found.remoteport) == options[:4]
    assert (found.setuid, found.classname) == options[4:6]
    assert (found.size_limit, found.enable_SMTPUTF8) == options[6:]


def test_debug_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtpd, "DEBUGSTREAM", smtpd.DEBUGSTREAM)
    monkeypatch.setattr(sys, "argv", ["smtpd", "-d"])
    smtpd.parseargs()
    assert smtpd.DEBUGSTREAM is sys.stderr


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        smtpd.usage(3, "What is wrong")
    assert ended.value.code == 3
    assert capsys.readouterr().err.endswith("\nWhat is wrong\n")


def test_a_class_of_another_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import smtpd\n"
        "class Server(smtpd.SMTPServer):\n"
        "    def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):\n"
        "        print(mailfrom, rcpttos, data)\n"
    )
    program = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"
    with Running("-n", "-c", "mine.Server", "127.0.0.1:0", program=program) as running:
        dialogue("127.0.0.1", running.port, raw(b"x"))
    assert running.printed == b"ann@example.org ['ben@example.org'] b'x'\n"


# What the program does around the loop, seen from inside: the system's calls are written down.
RECORDER = """
import runpy, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import asyncore, os, pwd
calls = []
for name in ("setgroups", "setgid", "setuid"):
    setattr(os, name, lambda *arguments, name=name: calls.append((name, *arguments)))
pwd.getpwnam = lambda name: pwd.struct_passwd((name, "x", 65534, 65533, "", "/", ""))
def loop(*arguments, **keywords):
    (server,) = asyncore.socket_map.values()
    print([calls, keywords, server.data_size_limit])
asyncore.loop = loop
runpy.run_module("smtpd", run_name="__main__", alter_sys=True)
"""


def recorded(*arguments: str) -> Any:
    status, out, err = run(*arguments, program=RECORDER)
    assert (status, err) == (0, "")
    return ast.literal_eval(out)


@mended(14)
def test_it_becomes_nobody_with_all_that_belongs_to_it() -> None:
    calls = recorded("127.0.0.1:0")[0]
    assert calls == [("setgroups", []), ("setgid", 65533), ("setuid", 65534)]


def test_it_stays_who_it_is() -> None:
    assert recorded("-n", "127.0.0.1:0")[0] == []


@mended(14)
def test_it_has_the_limit_that_its_help_tells() -> None:
    assert recorded("-n", "127.0.0.1:0")[2] == 33554432


@mended(14)
def test_it_keeps_that_limit() -> None:
    with Running("-n", "-c", "DebuggingServer", "127.0.0.1:0") as program:
        answered = dialogue("127.0.0.1", program.port, raw(b"x" * 33554433))
    assert b"\r\n552 Error: Too much mail data\r\n221 Bye\r\n" in answered
    assert program.printed == b""


@pytest.mark.parametrize(("size", "limit"), [("0", 0), ("5", 5)])
def test_it_has_the_limit_that_it_is_given(size: str, limit: int) -> None:
    assert recorded("-n", "-s", size, "127.0.0.1:0")[2] == limit


@mended(2)
def test_more_than_a_thousand_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"this machine allows {hard} descriptors")
    program = (
        "import os, resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({max(soft, 1200)}, {hard}))\n"
        "kept = [os.dup(0) for _ in range(1100)]\n"
    )
    with Running("-n", "127.0.0.1:0", program=program + PROGRAM) as running:
        assert dialogue("127.0.0.1", running.port, b"QUIT\r\n").endswith(b"221 Bye\r\n")
    assert running.errors == b""


def test_only_root_can_become_nobody() -> None:
    program = (
        "import os\ndef refuse(*_):\n    raise PermissionError\nos.setgroups = os.setuid = refuse\n"
    ) + RECORDER.replace('("setgroups", "setgid", "setuid")', "()")
    status, _, err = run("127.0.0.1:0", program=program)
    assert (status, err) == (1, 'Cannot setuid "nobody"; try running with -n option.\n')


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back what -d changes."""
    stream = smtpd.DEBUGSTREAM
    yield
    smtpd.DEBUGSTREAM = stream
