"""One process that serves: its ready line, its addresses, its signals, its log."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import (
    TIME_LIMIT_SECONDS,
    Client,
    Program,
    error_in_process,
)

LOCAL = ("--listen", "127.0.0.1:0")
HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


# Listening


@pytest.mark.parametrize("loop", ["auto", "asyncio", "uvloop"])
def test_takes_mail(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program("sink", *LOCAL, "--loop", loop, "--hostname", "mx.test") as program:
        address = program.ready()
        assert address.startswith("smtp://127.0.0.1:")
        with Client(int(address.rpartition(":")[2])) as client:
            assert client.greeting == "220 mx.test ESMTP"
            assert client.deliver(b"small\r\n").startswith("250 ")
            assert client.deliver(b"large\r\n" * 50_000).startswith("250 ")
        assert program.stop() == (0, [])


def test_a_line_for_each_listener(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.sock")
    listen = [*LOCAL, "--listen", "127.0.0.1:0", "--listen", f"unix:{path}"]
    if HAS_IPV6:
        listen += ["--listen", "[::1]:0"]
    with Program("sink", *listen) as program:
        ports = [program.ready_port(), program.ready_port()]
        assert ports[0] != ports[1]
        assert program.ready() == f"unix:{path}"
        if HAS_IPV6:
            assert program.ready().startswith("smtp://[::1]:")
        addresses: list[int | str] = [*ports, path]
        for address in addresses:
            with Client(address) as client:
                assert client.deliver(b"x\r\n").startswith("250 ")
        assert program.stop() == (0, [])
    assert not os.path.exists(path)


def test_limits_are_those_of_the_options() -> None:
    limits = ("--max-message-bytes", "100", "--max-recipients", "1", "--max-connections", "1")
    with Program("sink", *LOCAL, *limits) as program:
        port = program.ready_port()
        with Client(port) as client:
            assert "\n250-SIZE 100\n" in client.say("EHLO client.test")
            with Client(port) as another:
                assert another.greeting.startswith("421 ")
            assert client.deliver(b"x" * 99 + b"\r\n").startswith("552 ")


def test_silent_client_is_sent_away() -> None:
    with (
        Program("sink", *LOCAL, "--idle-timeout", "0.01") as program,
        Client(program.ready_port()) as client,
    ):
        assert client.reply().startswith("421 ")


def test_taken_port(taken_port: int) -> None:
    assert error_in_process("sink", "--listen", f"127.0.0.1:{taken_port}") == (
        f"--listen 127.0.0.1:{taken_port}: another program listens there; stop it or choose"
        " another port, 0 for a free one"
    )


def test_port_taken_between_bind_and_listen() -> None:
    """Two sockets of ours, which only the second `listen()` finds out about."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    twice = ("--listen", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{port}")
    assert "another program listens there" in error_in_process("sink", *twice)


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("no-such-host.invalid:25", "no such host is known; write an address"),
        (f"{'a' * 64}.test:25", "no such host is known; write an address"),
        ("192.0.2.1:2525", "this machine has no such address"),
        ("unix:/nowhere/at/all", "there is no such folder; make it"),
        (f"unix:/tmp/{'x' * 200}", "choose another path"),
        ("unix:/dev/null", "it is no socket"),
    ],
    ids=lambda text: text[:20],
)
def test_address_that_cannot_be(address: str, remedy: str) -> None:
    assert remedy in error_in_process("sink", "--listen", address)


def test_socket_that_somebody_listens_on(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        assert "another program listens there" in error_in_process(
            "sink", "--listen", f"unix:{path}"
        )
    assert os.path.exists(path)


def test_what_was_bound_before_an_error_is_removed(tmp_path: Path, taken_port: int) -> None:
    path = str(tmp_path / "smtp.sock")
    error_in_process("sink", "--listen", f"unix:{path}", "--listen", f"127.0.0.1:{taken_port}")
    assert not os.path.exists(path)


def test_system_without_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    assert "use a port" in error_in_process("sink", "--listen", "unix:/tmp/x")


def test_loop_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert 'pip install "pillarbox[fast]"' in error_in_process("sink", "--loop", "uvloop")


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_open_transaction_ends_first(number: signal.Signals, workers: str) -> None:
    with Program("sink", *LOCAL, "--workers", workers) as program:
        port = program.ready_port()
        with Client(port) as busy, Client(port) as idle:
            busy.begin()
            program.signal(number)
            assert idle.reply().startswith("421 ")
            busy.send(b"the rest\r\n.\r\n")
            assert busy.reply().startswith("250 ")
            assert busy.reply().startswith("421 ")
        assert program.ended() == (0, [])
        with pytest.raises(ConnectionRefusedError):
            Client(port)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_is_let_in_while_transactions_end(workers: str) -> None:
    with Program("sink", *LOCAL, "--workers", workers) as program:
        port = program.ready_port()
        with Client(port) as busy:
            busy.begin()
            with Client(port) as idle:
                program.signal(signal.SIGTERM)
                assert idle.reply().startswith("421 ")
            # Workers hear of it one after the other, so this is not at once.
            while True:
                try:
                    Client(port).close()
                except ConnectionError:
                    break
            busy.send(b".\r\n")
            assert busy.reply().startswith("250 ")
        assert program.ended() == (0, [])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_second_signal_ends_at_once(workers: str) -> None:
    with Program("sink", *LOCAL, "--workers", workers) as program:
        port = program.ready_port()
        with Client(port) as busy, Client(port) as idle:
            busy.begin()
            program.signal(signal.SIGTERM)
            assert idle.reply().startswith("421 ")
            program.signal(signal.SIGTERM)
            assert program.ended() == (-signal.SIGTERM, [])
            assert busy.reply() == ""


# systemd


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told(tmp_path: Path, options: tuple[str, ...], kind: str) -> None:
    name = str(tmp_path / "notify")
    if kind == "abstract":
        if sys.platform != "linux":
            pytest.skip("abstract sockets are Linux's")
        name = f"@{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(TIME_LIMIT_SECONDS)
        with Program("sink", *LOCAL, *options, env={"NOTIFY_SOCKET": name}) as program:
            assert systemd.recv(100) == b"READY=1"
            Client(program.ready_port()).close()
            assert program.stop() == (0, [])
            assert systemd.recv(100) == b"STOPPING=1"


def test_systemd_that_is_gone(tmp_path: Path) -> None:
    with Program("sink", *LOCAL, env={"NOTIFY_SOCKET": str(tmp_path / "gone")}) as program:
        program.ready()
        assert program.stop() == (0, [])


# The log


HANDLER = """
def handler(message):
    raise ValueError(message.data.decode())
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_cannot_be_forged_by_a_peer(tmp_path: Path, log_format: str) -> None:
    (tmp_path / "app.py").write_text(HANDLER)
    options = (*LOCAL, "--log-format", log_format)
    with Program("serve", "app:handler", *options, folder=tmp_path) as program:
        with Client(program.ready_port()) as client:
            reply = client.deliver(b"a\x1b[2J\r\n2026-01-01T00:00:00.000Z INFO all is well\r\n")
            assert reply.startswith("451 ")
        status, lines = program.stop()
    assert status == 0
    if log_format == "json":
        [record] = [json.loads(line) for line in lines]
        assert record["level"] == "error"
        assert record["logger"] == "pillarbox"
        assert record["exception"].startswith("Traceback")
    else:
        assert " ERROR " in lines[0]
        assert lines[0].endswith("the client was told to try again")
        assert all(line.startswith("    ") for line in lines[1:])
        assert r"    ValueError: a\x1b[2J\r" in lines
    assert all(line.isprintable() for line in lines)
