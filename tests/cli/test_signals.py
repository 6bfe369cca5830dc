"""SIGHUP: files that are read again, a terminal that is closed; and what systemd is told."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.cli.program import TIME_LIMIT_SECONDS, Client, Program, run_in_process

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")

LOCAL = ("--listen", "127.0.0.1:0")
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@dataclass(frozen=True)
class Files:
    """A certificate and logins."""

    certificate: Path
    logins: Path

    @property
    def options(self) -> tuple[str, ...]:
        auth = ("--auth-file", str(self.logins), "--allow-plaintext-auth")
        return (*LOCAL, "--tls-cert", str(self.certificate), *auth)

    @property
    def lines(self) -> list[str]:
        """What is logged when they are read again, by one process."""
        read = [f"certificate read again: {self.certificate}", f"logins read again: {self.logins}"]
        return [f" INFO {text}" for text in read]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    files = Files(folder / "cert.pem", folder / "logins")
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        str(files.certificate)
    )
    files.logins.write_text(run_in_process("passwd", "ann", stdin="secret\n"))
    return files


@pytest.fixture
def files(made: Files, tmp_path: Path) -> Files:
    """A test's own."""
    return Files(*(Path(shutil.copy(path, tmp_path)) for path in (made.certificate, made.logins)))


def _logged(program: Program, number: int) -> list[str]:
    """Give so many log lines, without their times."""
    return sorted(program.line()[24:] for _ in range(number))


def _logs_in(port: int, user: str) -> bool:
    with Client(port) as client:
        client.say("EHLO client.test")
        answer = base64.b64encode(f"\0{user}\0secret".encode()).decode()
        return client.say(f"AUTH PLAIN {answer}").startswith("235 ")


# Reading again


@pytest.mark.parametrize(("workers", "loop"), [(1, "asyncio"), (1, "uvloop"), (2, "asyncio")])
def test_files_are_read_again(files: Files, workers: int, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    options = (*files.options, "--workers", str(workers), "--loop", loop)
    with Program("sink", *options) as program:
        port = program.ready_port()
        program.signal(signal.SIGHUP)
        assert program.line().endswith(" INFO SIGHUP: reading files again")
        assert _logged(program, 2 * workers) == sorted(files.lines * workers)
        assert _logs_in(port, "ann")
        assert program.stop()[0] == 0


@WORKERS
def test_new_logins(files: Files, workers: int) -> None:
    with Program("sink", *files.options, "--workers", str(workers)) as program:
        port = program.ready_port()
        assert not _logs_in(port, "ben")
        files.logins.write_text(files.logins.read_text().replace("ann:", "ben:"))
        program.signal(signal.SIGHUP)
        # The server may have seen it by itself, and reads it once more.
        told = 0
        for _ in range(10):
            told += "certificate read again" in program.line()
            if told == workers:
                break
        assert _logs_in(port, "ben")
        assert not _logs_in(port, "ann")


@WORKERS
def test_files_that_broke(files: Files, workers: int) -> None:
    with Program("sink", *files.options, "--workers", str(workers)) as program:
        port = program.ready_port()
        files.certificate.write_text("x")
        files.logins.write_text("x")
        program.signal(signal.SIGHUP)
        lines: list[str] = []
        kinds = {"new certificate is not used": workers, "new logins are not used": workers}
        while any(sum(kind in line for line in lines) < n for kind, n in kinds.items()):
            lines.append(program.line())
        assert any("give the certificate and the private key" in line for line in lines)
        assert any("make such a line by `pillarbox passwd USER`" in line for line in lines)
        assert _logs_in(port, "ann")


@WORKERS
def test_nothing_to_read_again(workers: int) -> None:
    options = ("--tls", "auto", "--auth", "ann:secret", "--workers", str(workers))
    with Program("sink", *LOCAL, *options) as program:
        program.line()  # the fingerprint
        port = program.ready_port()
        program.signal(signal.SIGHUP)
        assert program.line().endswith(
            " INFO SIGHUP: nothing to read again, there are no --tls-cert and no --auth-file"
        )
        Client(port).close()
        assert program.stop() == (0, [])


def test_server_that_is_reloaded_in_development(files: Files, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(message): ...\n")
    command = ("serve", "app:handler", "--reload", *files.options)
    with Program(*command, folder=tmp_path) as program:
        port = program.ready_port()
        for _ in range(2):
            program.signal(signal.SIGHUP)
            assert program.line().endswith(" INFO SIGHUP: reading files again")
            assert _logged(program, 2) == sorted(files.lines)
        assert _logs_in(port, "ann")
        assert program.stop()[0] == 0


def test_at_the_start_it_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\ndef handler(message): ...\n"
    )
    with Program("serve", "app:handler", *LOCAL, folder=tmp_path) as program:
        program.ready()
        # uvloop keeps the signal until it can be heard, and asyncio does not.
        status, lines = program.stop()
        assert status == 0
        assert all("nothing to read again" in line for line in lines)


def test_worker_that_starts_late_reads_what_is_new(files: Files, tmp_path: Path) -> None:
    """The parent, which it is forked from, keeps what it read at first."""
    (tmp_path / "app.py").write_text(
        "import os\n"
        "from pillarbox import Reply\n"
        "handler = lambda message: Reply(250, None, str(os.getpid()))\n"
    )
    options = (*files.options, "--workers", "2")
    with Program("serve", "app:handler", *options, folder=tmp_path) as program:
        port = program.ready_port()
        with Client(port) as client:
            victim = int(client.deliver(b"x\r\n").split()[1])
        os.utime(files.certificate, (1, 1))
        assert _logged(program, 2) == [files.lines[0]] * 2
        os.kill(victim, signal.SIGKILL)
        assert "starting it again" in program.line()
        assert program.line().endswith(files.lines[0])


# Terminals


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends: the user's, and the program's."""
    ends = os.openpty()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # a test closes one


@WORKERS
def test_in_a_terminal_it_ends(files: Files, terminal: tuple[int, int], workers: int) -> None:
    options = (*files.options, "--workers", str(workers))
    with Program("sink", *options, stdin=terminal[1]) as program:
        port = program.ready_port()
        with Client(port) as busy, Client(port) as idle:
            busy.begin()
            # To all, and twice: from the shell and from the kernel.
            for _ in range(2):
                os.killpg(program.process.pid, signal.SIGHUP)
            assert idle.reply().startswith("421 ")
            os.killpg(program.process.pid, signal.SIGHUP)
            busy.send(b"the rest\r\n.\r\n")
            assert busy.reply().startswith("250 ")
        assert program.ended() == (0, [])


# Makes the terminal at standard input that of the session.
TAKE = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@WORKERS
def test_terminal_that_is_closed(terminal: tuple[int, int], workers: int) -> None:
    prefix = (sys.executable, "-c", TAKE)
    options = (*LOCAL, "--workers", str(workers))
    with Program("catch", *options, stdin=terminal[1], prefix=prefix) as program:
        port = program.ready_port()
        os.close(terminal[1])
        with Client(port) as idle:
            os.close(terminal[0])
            assert idle.reply().startswith("421 ")
        assert program.ended() == (0, [])


def test_nohup_outlives_its_terminal(terminal: tuple[int, int]) -> None:
    ignore = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    prefix = (sys.executable, "-c", ignore)
    with Program("sink", *LOCAL, stdin=terminal[1], prefix=prefix) as program:
        port = program.ready_port()
        program.signal(signal.SIGHUP)
        assert "nothing to read again" in program.line()
        Client(port).close()
        assert program.stop() == (0, [])


# What systemd is told


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """What it listens on, and what it says of that in the environment."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(TIME_LIMIT_SECONDS)
        yield sock, {"NOTIFY_SOCKET": path}


@WORKERS
@pytest.mark.parametrize("has_files", [False, True])
def test_systemd_waits_for_files_to_be_read(
    systemd: tuple[socket.socket, dict[str, str]], files: Files, workers: int, has_files: bool
) -> None:
    sock, env = systemd
    options = (*(files.options if has_files else LOCAL), "--workers", str(workers))
    with Program("sink", *options, env=env) as program:
        assert sock.recv(100) == b"READY=1"
        program.ready()
        for _ in range(2):
            program.signal(signal.SIGHUP)
            reloading, since = sock.recv(100).decode().split("\n")
            assert reloading == "RELOADING=1"
            assert since.removeprefix("MONOTONIC_USEC=").isdigit()
            assert sock.recv(100) == b"READY=1"
            _logged(program, 1 + 2 * workers if has_files else 1)
        assert program.stop() == (0, [])
        assert sock.recv(100) == b"STOPPING=1"


@WORKERS
def test_watchdog(systemd: tuple[socket.socket, dict[str, str]], workers: int) -> None:
    sock, env = systemd
    env |= {"WATCHDOG_USEC": "40000"}
    with Program("sink", *LOCAL, "--workers", str(workers), env=env) as program:
        heard = [sock.recv(100) for _ in range(20)]
        assert set(heard) == {b"READY=1", b"WATCHDOG=1"}
        program.ready()
        assert program.stop() == (0, [])


def test_watchdog_of_another_process(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    sock, env = systemd
    env |= {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    with Program("sink", *LOCAL, env=env) as program:
        program.ready()
        assert program.stop() == (0, [])
        assert [sock.recv(100), sock.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_watchdog_sees_a_worker_that_hangs(
    systemd: tuple[socket.socket, dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("import time\n\ndef handler(message):\n    time.sleep(1000)\n")
    sock, env = systemd
    env |= {"WATCHDOG_USEC": "400000"}
    options = (*LOCAL, "--workers", "2")
    with (
        Program("serve", "app:handler", *options, folder=tmp_path, env=env) as program,
        Client(program.ready_port()) as client,
    ):
        client.begin()
        client.send(b".\r\n")
        # Silence for as long as systemd would wait.
        sock.settimeout(0.4)
        with pytest.raises(TimeoutError):
            _hear_for_ever(sock)


def _hear_for_ever(sock: socket.socket) -> None:
    for _ in range(100):
        sock.recv(100)
