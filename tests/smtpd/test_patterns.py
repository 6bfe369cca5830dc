"""Programs in the manner of those that use `smtpd`, on threads, maps, AUTH, TLS and tricks."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
import threading
import warnings
from typing import Any

import pytest

from tests.smtpd.house import ENVELOPE, Collector, House, looping
from tests.smtpd.under_test import asynchat, asyncore, smtpd

MESSAGE = "Subject: Hello\r\n\r\nHello!\r\n"


def send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=10) as client:
        client.sendmail("ann@example.org", ["ben@example.org"], MESSAGE)


# Threads.


class ThreadFirst(Collector, threading.Thread):
    """Server and thread in one: the shape of most tests that use the module."""

    def __init__(self) -> None:
        threading.Thread.__init__(self, name="mail", daemon=True)
        self.is_ready = threading.Event()
        super().__init__(("127.0.0.1", 0), None, decode_data=True)

    def run(self) -> None:
        while asyncore.socket_map and not self.is_ready.is_set():
            asyncore.loop(timeout=0.01, count=1)


class ServerFirst(Collector, threading.Thread):
    def __init__(self) -> None:
        self.is_ready = threading.Event()
        smtpd.SMTPServer.__init__(self, ("127.0.0.1", 0), None, decode_data=True)
        self.messages = []
        threading.Thread.__init__(self)

    run = ThreadFirst.run


@pytest.mark.parametrize("made", [ThreadFirst, ServerFirst])
def test_server_and_thread_in_one(made: Any) -> None:
    server = made()
    try:
        server.start()
        assert server.is_alive()
        send(server.socket.getsockname()[1])
    finally:
        server.is_ready.set()
        server.join()
        asyncore.close_all()
    assert server.messages[0][2] == "Subject: Hello\n\nHello!"


def test_a_thread_on_a_map_of_its_own() -> None:
    channels: dict[int, Any] = {}
    server = Collector(("127.0.0.1", 0), None, map=channels)
    listener: Any = server.socket
    with looping(channels):
        send(listener.getsockname()[1])
    assert asyncore.socket_map == {}
    assert server.messages[0][2] == b"Subject: Hello\n\nHello!"


def test_a_message_ends_the_loop() -> None:
    class Once(Collector):
        def process_message(self, *args: Any, **kwargs: Any) -> str | None:
            self.close()
            return super().process_message(*args, **kwargs)

    channels: dict[int, Any] = {}
    server = Once(("127.0.0.1", 0), None, map=channels)
    listener: Any = server.socket
    client = threading.Thread(target=send, args=[listener.getsockname()[1]])
    client.start()
    asyncore.loop(timeout=0.01, map=channels)
    client.join()
    assert len(server.messages) == 1


def test_exit_now() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
            super().smtp_QUIT(arg)
            raise asyncore.ExitNow

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        with pytest.raises(asyncore.ExitNow):
            client.ask(b"QUIT\r\n")
        client.read()
        assert client.received == b"221 Bye\r\n"


# Channels of their own.


def test_the_class_of_channels_on_server_or_object() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_XVERSION(self, arg: str | None) -> None:  # noqa: N802
            self.push(f"250 {arg}")

    class Server(Collector):
        channel_class = Channel

    with House(Server) as house:
        assert house.connect().ask("XVERSION 3\r\n") == "250 3"
    with House() as house:
        house.server.channel_class = Channel
        assert house.connect().ask("xversion 3\r\n") == "250 3"


def test_an_accept_of_their_own() -> None:
    class Server(Collector):
        def handle_accept(self) -> None:
            conn, addr = self.accept()  # type: ignore[misc]  # so they are written
            smtpd.SMTPChannel(self, conn, addr, map=self._map)

    with House(Server) as house:
        assert house.connect().deliver(b"x") == "250 OK"


def test_a_channel_without_a_server() -> None:
    class Anything:
        messages: list[Any] = []  # noqa: RUF012

        def process_message(self, *args: Any, **kwargs: Any) -> str:
            self.messages.append(args)
            return "250 Fine"

    ours, theirs = socket.socketpair()
    channels: dict[int, Any] = {}
    with theirs:
        theirs.settimeout(1)
        channel: Any = smtpd.SMTPChannel(Anything(), ours, ("client", 1), map=channels)
        theirs.sendall(b"HELO x\r\n" + ENVELOPE + b"x\r\n.\r\n")
        channel.handle_read()
        received = b""
        while not received.endswith(b"250 Fine\r\n"):
            received += theirs.recv(1000)
        asyncore.close_all(channels)
    assert Anything.messages[0][1:] == ("ann@example.org", ["ben@example.org"], b"x")


def test_a_method_put_into_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(self: Any, arg: str) -> None:
        self.push(f"250 Hello {arg}")

    monkeypatch.setattr(smtpd.SMTPChannel, "smtp_HELO", greet)
    with House() as house:
        assert house.connect(greeting=None).ask("HELO you\r\n") == "250 Hello you"


def test_a_banner_of_their_own() -> None:
    """It is said in __init__(), so push() is turned off meanwhile."""

    class Channel(smtpd.SMTPChannel):
        is_ready = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.is_ready = True
            self.push("220 my banner")

        def push(self, msg: str) -> None:  # type: ignore[override]  # as in the module
            if self.is_ready:
                asynchat.async_chat.push(self, msg.encode() + b"\r\n")

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect(greeting=None)
        assert client.ask("NOOP\r\n") == "250 OK"


def test_an_init_of_their_own() -> None:
    """It leaves ours out: no banner, and everything set by hand."""

    class Channel(smtpd.SMTPChannel):
        def __init__(self, server: Any, conn: Any, addr: Any, *args: Any) -> None:
            asynchat.async_chat.__init__(self, conn, map=server._map)
            self.smtp_server, self.conn, self.addr, self.peer = server, conn, addr, addr
            self.data_size_limit = 1000
            self.enable_SMTPUTF8 = self.extended_smtp = self._decode_data = False
            self._emptystring, self._linesep, self._newline = b"", b"\r\n", b"\n"
            self._dotsep = ord(b".")
            self.seen_greeting = ""
            self.fqdn = "mx.test"
            self._set_rset_state()
            self.push("220 no banner")

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect(greeting=None)
        assert client.ask("EHLO client.test\r\n").splitlines()[0] == "250-mx.test"
        assert client.deliver(b"x") == "250 OK"


def test_a_quota_on_recipients() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
            if self.rcpttos:
                self.push("451 One recipient is enough")
            else:
                super().smtp_RCPT(arg)

    with House() as house:
        house.server.channel_class = Channel
        house.connect().talk("""
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<ben@example.org>
            S: 250 OK
            C: RCPT TO:<cleo@example.org>
            S: 451 One recipient is enough
        """)


class SMTPChannel(smtpd.SMTPChannel):
    """A class of the same name: its `self.__line` is the module's."""

    def __init__(self, server: Any, conn: Any, addr: Any, *args: Any, **kwargs: Any) -> None:
        smtpd.SMTPChannel.__init__(self, server, conn, addr, *args, **kwargs)
        self.users: list[str] = []
        self.is_asking = False

    def collect_incoming_data(self, data: Any) -> None:
        if not isinstance(data, str):
            data = data.decode("utf-8")
        self.__line.append(data)

    def smtp_EHLO(self, arg: str | None) -> None:  # noqa: N802
        if self.__greeting:
            self.push("503 Duplicate HELO/EHLO")
        else:
            self.__greeting = arg
            self.push(f"250-{self.__fqdn}")
            self.push("250 AUTH LOGIN")

    def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802
        self.is_asking = True
        self.push("334 " + base64.b64encode(b"Username:").decode())

    def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        if not self.users:
            self.push("530 Authentication required")
            return
        address = self._getaddr(self._strip_command_keyword("FROM:", arg or ""))[0]
        self.__mailfrom = address
        self.push("250 OK")

    def found_terminator(self) -> None:
        if not self.is_asking:
            smtpd.SMTPChannel.found_terminator(self)
            return
        line = "".join(self.__line)
        self.__line = []
        self.is_asking = False
        self.users.append(base64.b64decode(line).decode())
        self.push("235 Authentication successful")


@pytest.mark.filterwarnings("ignore:(Access to|Setting) __:DeprecationWarning")
def test_private_names_and_auth() -> None:
    with House(decode_data=True) as house:
        house.server.channel_class = SMTPChannel
        client = house.connect(greeting=None)
        client.talk(f"""
            C: EHLO client.test
            S: 250-{socket.getfqdn()}
            S: 250 AUTH LOGIN
            C: EHLO client.test
            S: 503 Duplicate HELO/EHLO
            C: MAIL FROM:<ann@example.org>
            S: 530 Authentication required
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: YW5u
            S: 235 Authentication successful
            C: MAIL FROM:<ann@example.org>
            S: 250 OK
            C: RCPT TO:<ben@example.org>
            S: 250 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: ..x
            C: .
            S: 250 OK
        """)
        assert house.server.messages == [("ann@example.org", ["ben@example.org"], ".x", {})]


def test_a_state_of_their_own() -> None:
    """AUTH as a third value of `smtp_state`, in the manner of smtplib's tests."""

    class Channel(smtpd.SMTPChannel):
        AUTH = 99
        everything: list[Any] = []  # noqa: RUF012

        def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802
            self.smtp_state = self.AUTH
            self.push("334 ")

        def found_terminator(self) -> None:
            self.everything.append(self.received_lines)
            if self.smtp_state != self.AUTH:
                super().found_terminator()
                return
            self.answer = self._emptystring.join(self.received_lines)
            self.received_lines = []
            self.smtp_state = self.COMMAND
            self.push("235 Welcome")

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        client.ask("AUTH PLAIN\r\n")
        assert client.ask("x" * 2000 + "\r\n") == "235 Welcome"
        assert house.channel.answer == b"x" * 2000
        assert client.deliver(b"text") == "250 OK"
        assert Channel.everything[1] == [b"AUTH PLAIN"]
        assert Channel.everything[-1] == [b"text"]


def test_a_state_that_nobody_knows() -> None:
    with House() as house:
        client = house.connect()
        house.channel.smtp_state = "LOST"
        assert client.ask(b"NOOP\r\n") == "451 Internal confusion"


def test_numbers_of_octets_as_terminators() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_XBDAT(self, arg: str | None) -> None:  # noqa: N802
            self.smtp_state = "XBDAT"  # type: ignore[assignment]  # any value is a state
            self.set_terminator(int(arg or ""))

        def found_terminator(self) -> None:
            if self.get_terminator() != 0:
                super().found_terminator()
                return
            octets = b"".join(self.received_lines)
            self.received_lines = []
            self.smtp_state = self.COMMAND
            self.set_terminator(b"\r\n")
            self.push(f"250 {octets!r}")

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        assert client.ask(b"XBDAT 7\r\nab\r\n.\r\nNOOP\r\n", 2) == "250 b'ab\\r\\n.\\r\\n'\n250 OK"
        client.send(b"XBDAT 3\r\na")
        client.send(b"b")
        assert client.ask(b"cNOOP\r\n", 2) == "250 b'abc'\n250 OK"


def test_no_terminator_at_all() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_XRAW(self, arg: str | None) -> None:  # noqa: N802
            self.smtp_state = "XRAW"  # type: ignore[assignment]
            self.set_terminator(None)

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        client.send(b"XRAW\r\na\r\n.\r\n")
        client.send(b"b")
        assert b"".join(house.channel.received_lines) == b"a\r\n.\r\nb"


def test_an_error_of_theirs_is_theirs_to_handle() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_XFAIL(self, arg: str | None) -> None:  # noqa: N802
            raise RuntimeError(arg)

        def handle_error(self) -> None:
            self.push("451 Internal error")

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        client.talk("""
            C: XFAIL now
            S: 451 Internal error
            C: NOOP
            S: 250 OK
        """)


def test_a_buffer_that_they_empty() -> None:
    """What RFC 3207 asks of STARTTLS: nothing that came before TLS may count."""

    class Channel(smtpd.SMTPChannel):
        def smtp_XFLUSH(self, arg: str | None) -> None:  # noqa: N802
            self.push(f"250 {self.ac_in_buffer!r}")  # type: ignore[has-type, attr-defined, unused-ignore]
            self.ac_in_buffer = b""

    with House() as house:
        house.server.channel_class = Channel
        client = house.connect()
        said = client.ask(b"NOOP\r\nXFLUSH\r\nQUIT\r\nNOO", 2)
        assert said == "250 OK\n250 b'QUIT\\r\\nNOO'"
        assert client.ask(b"NOOP\r\n") == "250 OK"


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give a server's TLS context and one of a client that trusts it."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_starttls_of_their_own(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_EHLO(self, arg: str | None) -> None:  # noqa: N802
            self.seen_greeting = arg or ""
            self.push("250-localhost")
            self.push("250 STARTTLS")

        def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
            self.push("220 Ready to start TLS")
            self.conn.settimeout(10)
            self.conn = contexts[0].wrap_socket(self.conn, server_side=True)
            asynchat.async_chat.__init__(self, self.conn, map=self.smtp_server._map)
            self.conn.settimeout(None)
            self.set_terminator(b"\r\n")
            self.received_lines = []
            self.smtp_state = self.COMMAND
            self.seen_greeting = ""

    channels: dict[int, Any] = {}
    server = Collector(("127.0.0.1", 0), None, map=channels)
    server.channel_class = Channel
    listener: Any = server.socket
    port = listener.getsockname()[1]
    with looping(channels), smtplib.SMTP("localhost", port, "client.test", timeout=10) as client:
        client.starttls(context=contexts[1])
        client.sendmail("ann@example.org", ["ben@example.org"], MESSAGE)
    assert server.messages[0][2] == b"Subject: Hello\n\nHello!"


def test_warnings_are_for_old_names_alone() -> None:
    with warnings.catch_warnings(), House() as house:
        warnings.simplefilter("error")
        assert house.connect().deliver(b"x") == "250 OK"
