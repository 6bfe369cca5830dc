"""Load: what sends the messages, and checks that every one was accepted.

Postfix's smtp-source does where it can. What it cannot do, a client here does on blocking
sockets: TLS, pipelining, connections that only wait, several messages interleaved.
"""

import os
import selectors
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Literal, Self, TypeAlias

from bench.certificate import client_context
from bench.fetch import Postfix

Security: TypeAlias = Literal["clear", "starttls", "tls"]
"""Whether a connection is encrypted: not, after STARTTLS, or from the first octet on."""

_TIMEOUT_SECONDS = 60
_LINE = b"x" * 76 + b"\r\n"
_PIECE_OCTETS = 65536


class LoadError(Exception):
    """The receiver refused something, said nothing in time or went away."""


class SmtpSource:
    """Postfix's load generator; exits with status 0 only if every message was accepted."""

    def __init__(self, postfix: Postfix) -> None:
        self._program = str(postfix.smtp_source)
        self._environment = {**os.environ, **postfix.environment}

    def send(
        self, port: int, messages: int, *, octets: int, sessions: int = 1, reuse: bool = True
    ) -> None:
        """Send so many messages of one recipient, of this size beside a short header."""
        command = [self._program, "-4", "-M", "client.example.com"]
        command += ["-f", "sender@example.com", "-t", "recipient@example.net"]
        command += ["-s", str(sessions), "-m", str(messages), "-l", str(octets)]
        command += ["-d"] if reuse else []
        done = subprocess.run(
            [*command, f"inet:127.0.0.1:{port}"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
            raise LoadError(f"smtp-source exited with {done.returncode} and said: {said[-1]}")


class Dialogue:
    """One connection of our own; replies are read and checked, not understood."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._encrypt(context)
        self._replies = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self.socket.close()

    def say(self, octets: bytes) -> None:
        """Send in one write."""
        self.socket.sendall(octets)

    def expect(self, code: bytes, replies: int = 1) -> None:
        """Read so many replies, of any number of lines each, which must all have this code."""
        while replies:
            line = self._replies.readline()
            if not line.startswith(code):
                raise LoadError(f"expected {code!r}, got {line!r}" if line else "connection lost")
            if line[3:4] != b"-":
                replies -= 1

    def greet(self) -> None:
        """Go as far as to be ready for MAIL."""
        self.expect(b"220")
        self.hello()

    def hello(self) -> None:
        """Say EHLO."""
        self.say(b"EHLO client.example.com\r\n")
        self.expect(b"250")

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Encrypt from here on."""
        self.say(b"STARTTLS\r\n")
        self.expect(b"220")
        self._replies.close()
        self._encrypt(context)
        self._replies = self.socket.makefile("rb")

    def _encrypt(self, context: ssl.SSLContext) -> None:
        clear = self.socket
        try:
            self.socket = context.wrap_socket(clear)
        except ssl.SSLError as error:
            raise LoadError(f"TLS failed: {error}") from error

    def quit(self) -> None:
        """End as a polite client does."""
        self.say(b"QUIT\r\n")
        self.expect(b"221")


def send_pipelined(
    port: int, messages: int, *, recipients: int, octets: int, connections: int = 1
) -> None:
    """Send messages over a few connections in turn; MAIL, every RCPT and DATA in one write.

    A connection begins a message when its last one is done; the others have the receiver
    busy meanwhile.
    """
    to = [b"RCPT TO:<recipient%d@example.net>\r\n" % number for number in range(recipients)]
    envelope = b"MAIL FROM:<sender@example.com>\r\n" + b"".join(to) + b"DATA\r\n"
    text = _text(octets) + b".\r\n"
    with ExitStack() as stack:
        dialogues = [stack.enter_context(Dialogue(port)) for _ in range(connections)]
        for dialogue in dialogues:
            dialogue.greet()
        for sent in range(0, messages, connections):
            turn = dialogues[: messages - sent]
            for dialogue in turn:
                dialogue.say(envelope)
            for dialogue in turn:
                dialogue.expect(b"250", replies=1 + recipients)
                dialogue.expect(b"354")
                dialogue.say(text)
            for dialogue in turn:
                dialogue.expect(b"250")
        for dialogue in dialogues:
            dialogue.quit()


def send_secured(
    port: int, messages: int, *, security: Security, octets: int, connections: int
) -> None:
    """Send messages in lock-step, a TLS connection for each, so many connections at a time."""
    context = client_context()
    text = _text(octets) + b".\r\n"

    def send(_number: int) -> None:
        with Dialogue(port, context if security == "tls" else None) as dialogue:
            dialogue.greet()
            if security == "starttls":
                dialogue.start_tls(context)
                dialogue.hello()
            for command, code in (
                (b"MAIL FROM:<sender@example.com>\r\n", b"250"),
                (b"RCPT TO:<recipient@example.net>\r\n", b"250"),
                (b"DATA\r\n", b"354"),
                (text, b"250"),
            ):
                dialogue.say(command)
                dialogue.expect(code)
            dialogue.quit()

    with ThreadPoolExecutor(connections) as threads:
        for _ in threads.map(send, range(messages)):
            pass


def send_at_once(port: int, *, connections: int, octets: int) -> None:
    """Send a message over each of several connections, a piece of each in turn.

    None is ended before all are complete but for the last dot: a receiver that buffers has
    to hold them all.
    """
    text = _text(octets)
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        dialogues = [stack.enter_context(Dialogue(port)) for _ in range(connections)]
        for dialogue in dialogues:
            dialogue.greet()
            for command in (b"MAIL FROM:<sender@example.com>", b"RCPT TO:<r@example.net>"):
                dialogue.say(command + b"\r\n")
                dialogue.expect(b"250")
            dialogue.say(b"DATA\r\n")
            dialogue.expect(b"354")
            selector.register(dialogue.socket, selectors.EVENT_WRITE, data=dialogue)
        sent = dict.fromkeys(dialogues, 0)
        while selector.get_map():
            ready = selector.select(_TIMEOUT_SECONDS)
            if not ready:
                raise LoadError(f"the receiver has read nothing for {_TIMEOUT_SECONDS} seconds")
            for key, _events in ready:
                dialogue = key.data
                start = sent[dialogue]
                piece = memoryview(text)[start : start + _PIECE_OCTETS]
                sent[dialogue] += dialogue.socket.send(piece)
                if sent[dialogue] == len(text):
                    selector.unregister(dialogue.socket)
        for dialogue in dialogues:
            dialogue.say(b".\r\n")
        for dialogue in dialogues:
            dialogue.expect(b"250")
            dialogue.quit()


@contextmanager
def idle_connections(port: int, connections: int, security: Security = "clear") -> Iterator[None]:
    """Hold connections that were greeted and say nothing, opened in batches: 1, 2, 4 ... 64."""
    context = client_context() if security == "tls" else None
    with ExitStack() as stack:
        opened, batch = 0, 1
        while opened < connections:
            batch = min(batch, connections - opened)
            for dialogue in [stack.enter_context(Dialogue(port, context)) for _ in range(batch)]:
                dialogue.expect(b"220")
            opened += batch
            batch = min(2 * batch, 64)
        yield


def _text(octets: int) -> bytes:
    header = b"Subject: benchmark\r\n\r\n"
    return header + _LINE * ((octets - len(header)) // len(_LINE))
