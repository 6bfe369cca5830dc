"""Where to listen: addresses as people write them, and the sockets they become."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pillarbox import ConfigError
from pillarbox.listen import (
    ListenAddress,
    open_sockets,
    open_unix_socket,
    plain_address,
    socket_address,
)

ADDRESSES = {
    "127.0.0.1:25": ListenAddress("127.0.0.1", 25),
    "localhost:0": ListenAddress("localhost", 0),
    "[::1]:65535": ListenAddress("::1", 65535),
    "[::]:25": ListenAddress("::", 25),
    "0.0.0.0:2525": ListenAddress("0.0.0.0", 2525),
    "unix:/run/pillarbox.sock": ListenAddress(path="/run/pillarbox.sock"),
    "unix:relative": ListenAddress(path="relative"),
}

NO_ADDRESSES = {
    "25": r"write '127.0.0.1:25' for this machine only, or '\[::\]:25' for every interface",
    ":2525": r"write '127.0.0.1:2525' for this machine only",
    "": r"write '127.0.0.1:25' for this machine only",
    "localhost": r"write '127.0.0.1:25' for this machine only",
    "localhost:": "the port is a number from 0 to 65535",
    "localhost:smtp": "the port is a number from 0 to 65535",
    "localhost:-1": "the port is a number from 0 to 65535",
    "localhost:65536": "the port is a number from 0 to 65535",
    "localhost:２５": "the port is a number from 0 to 65535",
    "localhost:+25": "the port is a number from 0 to 65535",
    "::1:25": r"an IPv6 address stands in brackets: '\[::1\]:25'",
    "unix:": "write 'unix:/run/pillarbox.sock'",
}

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="has no UNIX sockets")


@pytest.mark.parametrize(("text", "address"), ADDRESSES.items())
def test_address(text: str, address: ListenAddress) -> None:
    assert ListenAddress.parse(text) == address


@pytest.mark.parametrize(("text", "reason"), NO_ADDRESSES.items())
def test_no_address(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ListenAddress.parse(text)


ENDS: list[tuple[object, tuple[str, int] | str]] = [
    (("192.0.2.1", 4711), ("192.0.2.1", 4711)),
    (("2001:db8::1", 4711, 0, 0), ("2001:db8::1", 4711)),
    (("fe80::1%eth0", 4711, 0, 2), ("fe80::1%eth0", 4711)),
    (("::", 25, 0, 0), ("::", 25)),
    # What a socket for both families makes of IPv4; one address has one name in logs and lists.
    (("::ffff:192.0.2.1", 4711, 0, 0), ("192.0.2.1", 4711)),
    ("/run/pillarbox.sock", "/run/pillarbox.sock"),
    (b"\0pillarbox", "@pillarbox"),
    (None, ""),
]


@pytest.mark.parametrize(("end", "address"), ENDS)
def test_end_of_a_connection(end: object, address: object) -> None:
    assert plain_address(end) == address


def test_a_free_port() -> None:
    (sock,) = ListenAddress.parse("127.0.0.1:0").open()
    with sock:
        address = socket_address(sock)
        assert address == ("127.0.0.1", sock.getsockname()[1])
        assert address[1] != 0


def test_all_sockets_of_a_name_have_one_port() -> None:
    sockets = open_sockets("localhost", 0)
    try:
        assert len({socket_address(sock)[1] for sock in sockets}) == 1
        assert all(sock.proto == socket.IPPROTO_TCP for sock in sockets)
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_that_is_taken() -> None:
    (sock,) = open_sockets("127.0.0.1", 0)
    with sock:
        sock.listen()
        with pytest.raises(OSError, match="in use"):
            open_sockets("127.0.0.1", sock.getsockname()[1])


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="has no SO_REUSEPORT")
def test_a_port_for_several_processes() -> None:
    (one,) = open_sockets("127.0.0.1", 0, reuse_port=True)
    with one:
        (two,) = open_sockets("127.0.0.1", one.getsockname()[1], reuse_port=True)
        two.close()


@needs_unix
def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (sock,) = ListenAddress.parse(f"unix:{path}").open()
    with sock:
        assert socket_address(sock) == str(path)
        assert path.is_socket()


@needs_unix
def test_a_unix_socket_that_nobody_answers_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    open_unix_socket(path).close()
    with open_unix_socket(path) as sock:
        sock.listen()
        with pytest.raises(OSError, match="in use"):
            open_unix_socket(path)


@needs_unix
def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        open_unix_socket(str(path))
    assert path.read_text() == "data"


@needs_unix
def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_unix_socket(os.fspath(tmp_path / "none" / "s"))
