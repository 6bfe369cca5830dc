"""The program: in a process of its own, or in this one where no server need run.

And a client that knows octets and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import click
from click.testing import CliRunner

from pillarbox.cli import pillarbox

TIME_LIMIT_SECONDS = 20.0

_COMMAND = [sys.executable, "-m", "pillarbox"]


def clean_environment(**more: str) -> dict[str, str]:
    """Give an environment without what whoever runs the tests has set for us."""
    ours = ("PILLARBOX_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # The page's port is a fixed one unless it is said; tests run side by side.
    return {**kept, "PILLARBOX_CATCH_HTTP": "none", **more}


class Program:
    """`pillarbox ARGUMENTS`, running.

    Args:
        arguments: What stands behind the program's name.
        folder: Where it runs.
        env: More of the environment.
        prefix: A command that runs the program.
        stdin: A descriptor to read from.
        pass_fds: Descriptors that it keeps.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path | None = None,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, *_COMMAND, *arguments],
            cwd=folder,
            env=clean_environment(**(env or {})),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        """Give the next line of standard error."""
        line = self._lines.get(timeout=TIME_LIMIT_SECONDS)
        assert line is not None, f"the program ended with {self.process.wait()}"
        return line

    def ready(self) -> str:
        """Wait until it listens, and give the address, as `smtp://127.0.0.1:1025`."""
        line = self.line()
        assert line.startswith("listening on "), line
        return line.removeprefix("listening on ")

    def ready_port(self) -> int:
        """Wait until it listens, and give the port."""
        return int(self.ready().rpartition(":")[2])

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> tuple[int, list[str]]:
        """Wait for the end; give the status and what it said on standard error meanwhile."""
        lines = []
        while (line := self._lines.get(timeout=TIME_LIMIT_SECONDS)) is not None:
            lines.append(line)
        return self.process.wait(TIME_LIMIT_SECONDS), lines

    def stop(self) -> tuple[int, list[str]]:
        """Ask it to end, and wait for that."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its workers as well, were there any left
        self.process.wait()
        self._reader.join(TIME_LIMIT_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Client:
    """A connection to a server, its greeting read.

    Args:
        address: A TCP port of this machine, or the path of a UNIX socket.
        first: What to send before anything is heard, such as a PROXY header.
    """

    def __init__(self, address: int | str, first: bytes = b"") -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(TIME_LIMIT_SECONDS)
        self._replies = self._socket.makefile("rb")
        try:
            self._socket.connect(address if isinstance(address, str) else ("127.0.0.1", address))
            self.send(first)
            self.greeting = self.reply()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Our own end of the connection."""
        host, port = self._socket.getsockname()
        return host, port

    def reply(self) -> str:
        """Read a reply; empty when the server has closed."""
        lines = []
        while line := self._replies.readline().decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def say(self, line: str) -> str:
        """Send a line, and give the reply."""
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self._socket.sendall(octets)

    def begin(self) -> None:
        """Open a transaction and a message."""
        assert self.say("EHLO client.test").startswith("250")
        assert self.say("MAIL FROM:<ann@example.org>").startswith("250")
        assert self.say("RCPT TO:<bob@example.org>").startswith("250")
        assert self.say("DATA").startswith("354")

    def deliver(self, octets: bytes) -> str:
        """Send a message that needs no dot-stuffing, and give the reply."""
        self.begin()
        self.send(octets + b".\r\n")
        return self.reply()

    def close(self) -> None:
        """Close without a word."""
        self._replies.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def run_in_process(
    *arguments: str,
    group: click.Command = pillarbox,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a command that succeeds, and give its output."""
    result = CliRunner().invoke(group, list(arguments), env=env, input=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def error_in_process(
    *arguments: str,
    group: click.Command = pillarbox,
    env: dict[str, str] | None = None,
    stdin: str | bytes | None = None,
) -> str:
    """Run a command that fails as it should: status 2, one line and no other word."""
    result = CliRunner().invoke(group, list(arguments), env=env, input=stdin)
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("pillarbox: error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr[:-1].isprintable()
    return result.stderr.removeprefix("pillarbox: error: ").rstrip("\n")
