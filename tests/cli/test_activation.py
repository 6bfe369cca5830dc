"""Sockets that systemd passes: a parent that binds them as it does, and what becomes of them."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Client, Program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs descriptors of POSIX")

# Puts the descriptors where they are expected, and tells the process that the program will be.
PASS = """
import fcntl, os, sys
names, descriptors, command = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
# Out of the way first: one may stand where another has to be.
spare = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 100) for descriptor in descriptors]
for number, descriptor in enumerate(spare, 3):
    os.dup2(descriptor, number)
os.environ.update(
    LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=names
)
os.execv(command[0], command)
"""
APP = """
import os
from pillarbox import Reply

def handler(message):
    left = [name for name in os.environ if name.startswith("LISTEN_")]
    return Reply(250, "2.0.0", f"process {os.getpid()} {left}")
"""


def activated(
    *arguments: str, sockets: list[socket.socket], names: str = "", folder: Path | None = None
) -> Program:
    """Start the program as systemd does."""
    descriptors = [sock.fileno() for sock in sockets]
    prefix = (sys.executable, "-c", PASS, names, " ".join(map(str, descriptors)))
    return Program(*arguments, prefix=prefix, pass_fds=descriptors, folder=folder)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def port_of(sock: socket.socket) -> int:
    port = sock.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize(
    ("loop", "options"),
    [("asyncio", ()), ("uvloop", ()), ("uvloop", ("--workers", "2")), ("asyncio", ("--reload",))],
)
def test_it_takes_the_place_of_listen(
    sock: socket.socket, tmp_path: Path, options: tuple[str, ...], loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "app.py").write_text(APP)
    command = ("serve", "app:handler", "--loop", loop, *options)
    with activated(*command, sockets=[sock], folder=tmp_path) as program:
        assert program.ready() == f"smtp://127.0.0.1:{port_of(sock)}"
        with Client(port_of(sock)) as client:
            # No child takes the sockets for its own.
            assert client.deliver(b"x\r\n").endswith(" []")
        assert program.stop() == (0, [])
    # Who comes meanwhile waits for the next one to start.
    with (
        socket.create_connection(("127.0.0.1", port_of(sock)), timeout=20) as early,
        activated(*command, sockets=[sock], folder=tmp_path) as program,
    ):
        program.ready()
        assert early.recv(100).startswith(b"220 ")


def test_workers_share_it(sock: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    found = set()
    command = ("serve", "app:handler", "--workers", "2")
    with activated(*command, sockets=[sock], folder=tmp_path) as program:
        program.ready()
        for _ in range(1000):
            with Client(port_of(sock)) as client:
                found.add(client.deliver(b"x\r\n"))
            if len(found) == 2:
                break
        assert len(found) == 2


def test_beside_listen_where_that_is_given(sock: socket.socket) -> None:
    with activated("sink", "--listen", "127.0.0.1:0", sockets=[sock]) as program:
        ports = {program.ready_port(), program.ready_port()}
        assert port_of(sock) in ports
        for port in ports:
            Client(port).close()


def test_its_name_says_whether_tls_begins_at_once(sock: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tls:
        command = ("sink", "--tls", "auto")
        with activated(*command, sockets=[tls, sock], names="smtps:mail.socket") as program:
            program.line()  # the fingerprint
            assert program.ready() == f"smtp://127.0.0.1:{port_of(sock)}"
            assert program.ready() == f"smtps://127.0.0.1:{port_of(tls)}"
            Client(port_of(sock)).close()
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with smtplib.SMTP_SSL("127.0.0.1", port_of(tls), context=context) as client:
                assert client.noop()[0] == 250


@pytest.mark.parametrize("workers", ["1", "2"])
def test_its_path_is_not_ours_to_remove(tmp_path: Path, workers: str) -> None:
    path = str(tmp_path / "smtp.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        with activated("sink", "--workers", workers, sockets=[sock]) as program:
            assert program.ready() == f"unix:{path}"
            Client(path).close()
            assert program.stop() == (0, [])
        assert os.path.exists(path)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0{tmp_path}")
        sock.listen()
        with activated("sink", "--dump", str(tmp_path / "mails"), sockets=[sock]) as program:
            assert program.ready() == f"unix:@{tmp_path}"
            with Client(f"\0{tmp_path}") as client:
                assert client.deliver(b"x\r\n").startswith("250 ")
            assert program.stop() == (0, [])


def test_passwords_do_not_cross_a_network_in_the_clear() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as sock,
        activated("sink", "--auth", "ann:secret", sockets=[sock]) as program,
    ):
        status, [line] = program.ended()
    assert status == 2
    assert line.endswith("or --allow-plaintext-auth if that is what you want")


def test_socket_named_smtps_without_a_certificate(sock: socket.socket) -> None:
    with activated("sink", sockets=[sock], names="smtps") as program:
        status, [line] = program.ended()
    assert status == 2
    assert "a socket named smtps needs a certificate; write --tls-cert FILE" in line


@pytest.mark.parametrize("kind", ["datagram", "connected", "not listening", "no socket"])
def test_what_is_no_listening_stream_socket(kind: str, tmp_path: Path) -> None:
    datagram = kind == "datagram"
    with (
        socket.socket(type=socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM) as sock,
        socket.create_server(("127.0.0.1", 0)) as other,
        open(os.devnull) as null,
    ):
        if kind == "connected":
            sock.connect(other.getsockname())
        passed = null if kind == "no socket" else sock
        descriptor = passed.fileno()
        prefix = (sys.executable, "-c", PASS, "mail.socket", str(descriptor))
        with Program("sink", prefix=prefix, pass_fds=[descriptor]) as program:
            status, [line] = program.ended()
    assert status == 2
    assert line == (
        "pillarbox: error: socket 3 (mail.socket) that systemd passed is no stream socket that"
        " listens; write ListenStream= in the socket unit, and Accept=no"
    )


def test_what_is_not_passed_to_us(sock: socket.socket) -> None:
    """The variables of another process, as a shell script that systemd started leaves them."""
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    with Program("sink", "--listen", "127.0.0.1:0", env=env) as program:
        Client(program.ready_port()).close()
        assert program.stop() == (0, [])
