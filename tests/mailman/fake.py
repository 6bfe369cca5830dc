"""A Mailman that follows a script: its LMTP runner as 3.3.10 answers, and its faults."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["FakeMailman", "Post", "until"]

TIME_LIMIT_SECONDS = 20.0

SUBADDRESS = re.compile(
    r"(.+)-(bounces|confirm|join|leave|owner|request|subscribe|unsubscribe)", re.DOTALL
)
MAX_OCTETS = 33_554_432


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so, which must be soon."""
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@dataclass(frozen=True)
class Post:
    """What Mailman took."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes


class FakeMailman:
    """Mailman's LMTP runner with some lists, on a free port.

    Attributes:
        replies: What to say in place of the usual, by verb; `None` closes the connection. `dot` is
            the answer to a message: one line for all recipients.
        posts: What was taken.
        asked: The recipients that it was asked of, in capitals or not.
        verbs: All commands.
    """

    def __init__(self, *lists: str) -> None:
        self.lists = {name.lower() for name in lists}
        self.replies: dict[str, str | None] = {}
        self.posts: list[Post] = []
        self.asked: list[str] = []
        self.verbs: list[str] = []
        self.sessions = 0
        self.max_octets = MAX_OCTETS
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._server: socketserver.ThreadingTCPServer | None = None
        self._connections: set[socket.socket] = set()
        self.address = ("127.0.0.1", 0)
        self.start()

    # What a Mailman goes through

    def start(self) -> None:
        """Listen, where it has listened before."""
        mailman = self

        class Runner(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mailman._connections.add(self.request)
                with contextlib.suppress(OSError, EOFError, ValueError):
                    _Session(mailman, self.rfile, self.wfile).run()
                mailman._connections.discard(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 50

        self._server = Server(self.address, Runner)
        self.address = ("127.0.0.1", self._server.server_address[1])
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        """End, and all connections with it."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self.drop()

    def drop(self) -> None:
        """Close what is open, as after five minutes in which nobody has said anything."""
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Take connections and octets, and say nothing, as after SIGSTOP."""
        self._goes_on.clear()

    def thaw(self) -> None:
        """Go on."""
        self._goes_on.set()

    def wait(self) -> None:
        """Wait while it is frozen."""
        assert self._goes_on.wait(TIME_LIMIT_SECONDS)

    def __enter__(self) -> FakeMailman:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.stop()

    # What it knows

    def knows(self, address: str) -> bool:
        """Tell whether an address is a list's, as Mailman's own parser does."""
        local_part, _, domain = address.lower().replace('"', "").rpartition("@")
        local_part = local_part.partition("+")[0]
        found = SUBADDRESS.fullmatch(local_part)
        names = [local_part, *([found[1]] if found else [])]
        return any(f"{name}@{domain}" in self.lists for name in names)

    def posts_to(self, address: str) -> list[Post]:
        """Give what went to an address, in whatever case."""
        return [
            post
            for post in self.posts
            for recipient in post.recipients
            if recipient.lower() == address
        ]


class _Session:
    def __init__(self, mailman: FakeMailman, read: Any, write: Any) -> None:
        self.mailman = mailman
        self.read = read
        self.write = write
        self.sender: str | None = None
        self.recipients: list[str] = []

    def say(self, verb: str, usual: str) -> str:
        self.mailman.wait()
        reply = self.mailman.replies.get(verb, usual)
        if reply is None:
            raise EOFError
        self.write.write(reply.encode() + b"\r\n")
        return reply

    def run(self) -> None:
        self.mailman.sessions += 1
        self.say("greeting", "220 fake GNU Mailman LMTP runner 2.0")
        while line := self.read.readline().decode():
            verb, _, argument = line.rstrip("\r\n").partition(" ")
            self.mailman.verbs.append(verb.upper())
            match verb.upper():
                case "LHLO":
                    offered = f"250-fake\r\n250-SIZE {self.mailman.max_octets}\r\n250-8BITMIME"
                    self.say("LHLO", f"{offered}\r\n250 HELP")
                case "MAIL":
                    self.mail(argument)
                case "RCPT":
                    self.rcpt(argument)
                case "DATA":
                    self.data()
                case "RSET":
                    self.sender, self.recipients = None, []
                    self.say("RSET", "250 OK")
                case "QUIT":
                    self.say("QUIT", "221 Bye")
                    return
                case _:
                    self.say(verb, "500 Error")

    def mail(self, argument: str) -> None:
        path, _, parameters = argument.partition(">")
        if self.sender is not None:
            self.say("MAIL", "503 Error: nested MAIL command")
        elif "SMTPUTF8" in parameters:
            self.say("MAIL", "501 Error: SMTPUTF8 disabled")
        elif self.say("MAIL", "250 OK").startswith("2"):
            self.sender = path.removeprefix("FROM:<")

    def rcpt(self, argument: str) -> None:
        path, _, parameters = argument.partition(">")
        address = path.removeprefix("TO:<")
        self.mailman.asked.append(address)
        if self.sender is None:
            self.say("RCPT", "503 Error: need MAIL command")
        elif parameters:
            self.say("RCPT", "555 RCPT TO parameters not recognized or not implemented")
        elif not self.mailman.knows(address):
            self.say("RCPT", "550 Requested action not taken: mailbox unavailable")
        elif self.say("RCPT", "250 Ok").startswith("2"):
            self.recipients.append(address)

    def data(self) -> None:
        if not self.recipients:
            self.say("DATA", "503 Error: need RCPT command")
            return
        self.say("DATA", "354 End data with <CR><LF>.<CR><LF>")
        lines: list[bytes] = []
        while (line := self.read.readline()) != b".\r\n":
            if not line:
                raise EOFError
            lines.append(line.removeprefix(b"."))
        data = b"".join(lines)
        sender, recipients = self.sender or "", tuple(self.recipients)
        self.sender, self.recipients = None, []
        if len(data) > self.mailman.max_octets:
            self.say("dot", "552 Error: Too much mail data")
        elif b"\r\nX-Defect:" in data:
            self.say("dot", "501 Message has defects")
        else:
            self.mailman.wait()
            if "dot" not in self.mailman.replies:
                self.mailman.posts.append(Post(sender, recipients, data))
            self.say("dot", "\r\n".join(["250 Ok"] * len(recipients)))
