"""`--metrics`: what is answered, by one process and by several, whatever becomes of them."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pillarbox.cli.metrics
from pillarbox.cli.metrics import Metrics, open_metrics
from pillarbox.listen import ListenAddress
from tests.cli.program import TIME_LIMIT_SECONDS, Client, Program, error_in_process

LOCAL = ("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
ACCEPTED = 'pillarbox_messages_total{result="accepted"}'

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def ports(program: Program) -> tuple[int, int]:
    """Wait until it listens; give the port for mail and that for figures."""
    smtp = program.ready_port()
    line = program.ready()
    assert line.startswith("http://127.0.0.1:")
    return smtp, int(line.rpartition(":")[2])


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Give the status and the text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIME_LIMIT_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def scrape(port: int) -> dict[str, float]:
    """Give the figures by their names and labels."""
    status, text = get(port, "/metrics")
    assert status == 200
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again, until it is so or the time is over."""
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline


# One process.


def test_figures_and_how_it_is() -> None:
    with Program("sink", *LOCAL) as program:
        smtp, http_port = ports(program)
        with Client(smtp) as client:
            assert client.deliver(b"x\r\n").startswith("250 ")
            figures = scrape(http_port)
            assert figures[ACCEPTED] == 1
            assert figures["pillarbox_connections_open"] == 1
            assert figures["pillarbox_message_octets_total"] == 3
            if sys.platform == "linux":
                assert figures["process_resident_memory_bytes"] > 1_000_000
        assert get(http_port, "/livez") == (200, "ok\n")
        assert get(http_port, "/readyz") == (200, "ok\n")
        assert get(http_port, "/readyz?verbose") == (200, "ok\n")
        assert get(http_port, "/") == (404, "there are /metrics, /livez and /readyz\n")
        assert get(http_port, "/metrics", "POST")[0] == 405
        assert program.stop() == (0, [])


def test_not_ready_while_it_drains() -> None:
    with Program("sink", *LOCAL) as program:
        smtp, http_port = ports(program)
        with Client(smtp) as busy, Client(smtp) as idle:
            busy.begin()
            program.signal(signal.SIGTERM)
            assert idle.reply().startswith("421 ")
            assert get(http_port, "/readyz") == (503, "no clients are taken now\n")
            assert get(http_port, "/livez") == (200, "ok\n")
            busy.send(b"x\r\n.\r\n")
            assert busy.reply().startswith("250 ")
        assert program.ended() == (0, [])


# Blocks its event loop until somebody opens the pipe, which is too long after a second.
BLOCKS = """
import pillarbox.cli.board
pillarbox.cli.board.STUCK_SECONDS = 1.0

def handler(message):
    open("pipe").close()
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_alive_unless_the_event_loop_is_stuck(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BLOCKS)
    os.mkfifo(tmp_path / "pipe")
    with Program("serve", "app:handler", *LOCAL, folder=tmp_path) as program:
        smtp, http_port = ports(program)
        with Client(smtp) as client:
            client.begin()
            assert get(http_port, "/livez") == (200, "ok\n")
            client.send(b"x\r\n.\r\n")
            until(lambda: get(http_port, "/livez")[0] == 503)
            assert "has been stuck for" in get(http_port, "/livez")[1]
            assert get(http_port, "/metrics")[0] == 200
            with open(tmp_path / "pipe", "w"):
                pass
            assert client.reply().startswith("250 ")
            until(lambda: get(http_port, "/livez")[0] == 200)
        assert program.stop() == (0, [])


# Several.


def deliver(smtp: int, number: int) -> None:
    for _ in range(number):
        with Client(smtp) as client:
            assert client.deliver(b"x\r\n").startswith("250 ")


@needs_fork
def test_workers_are_added_up() -> None:
    with Program("sink", *LOCAL, "--workers", "2") as program:
        smtp, http_port = ports(program)
        deliver(smtp, 30)
        # The kernel deals out connections, and each process writes down its own once a second.
        until(lambda: scrape(http_port)[ACCEPTED] == 30)
        assert scrape(http_port)["pillarbox_connections_total"] == 30
        if sys.platform == "linux":
            memory = [name for name in scrape(http_port) if "resident_memory" in name]
            assert memory == [
                'process_resident_memory_bytes{worker="1"}',
                'process_resident_memory_bytes{worker="2"}',
            ]
        assert get(http_port, "/livez") == (200, "ok\n")
        assert get(http_port, "/readyz") == (200, "ok\n")
        assert program.stop() == (0, [])


APP = """
import os

def handler(message):
    if message.mail_from == "ann@example.org":
        return None
    os.kill(os.getpid(), 9)
"""


@needs_fork
def test_no_total_falls_when_a_worker_dies(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = (*LOCAL, "--workers", "2")
    with Program("serve", "app:handler", *options, folder=tmp_path) as program:
        smtp, http_port = ports(program)
        delivered = 0
        for _ in range(2):
            deliver(smtp, 20)
            delivered += 20
            until(lambda wanted=delivered: scrape(http_port)[ACCEPTED] == wanted)  # type: ignore[misc]  # mypy has no type for it
            with Client(smtp) as client:
                client.say("EHLO client.test")
                client.say("MAIL FROM:<kill@example.org>")
                client.say("RCPT TO:<bob@example.org>")
                client.say("DATA")
                assert client.say(".") == ""
            assert "was ended by SIGKILL; starting it again" in program.line()
            # Whoever answers now, and whether or not the other one is there again.
            for _ in range(50):
                assert scrape(http_port)[ACCEPTED] == delivered
        deliver(smtp, 20)
        until(lambda: scrape(http_port)[ACCEPTED] == delivered + 20)
        until(lambda: scrape(http_port)["pillarbox_connections_open"] == 0)
        assert program.stop() == (0, [])


# What cannot be.


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert error_in_process("sink", *LOCAL, "--metrics", address) == (
            f"--metrics {address}: another program listens there; stop it or choose another port,"
            " 0 for a free one"
        )


def test_no_unix_socket() -> None:
    error = error_in_process("sink", "--metrics", "unix:/run/x")
    assert error == "--metrics takes no UNIX socket; write an address such as 127.0.0.1:9100"


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillarbox.metrics", None)
    assert error_in_process("sink", *LOCAL) == (
        '--metrics needs the library prometheus-client; pip install "pillarbox[metrics]",'
        " or leave --metrics out"
    )


# Clients of the port for figures, which may be anybody.


@contextlib.contextmanager
def answering() -> Iterator[tuple[Metrics, int]]:
    """Answer in this process, for a server that is not there."""
    metrics = open_metrics(ListenAddress(host="127.0.0.1", port=0), processes=1)
    metrics.start()
    try:
        yield metrics, metrics.sockets[0].getsockname()[1]
    finally:
        metrics.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIME_LIMIT_SECONDS)


def test_not_ready_before_it_listens() -> None:
    with answering() as (_, port):
        assert get(port, "/readyz") == (503, "no clients are taken now\n")
        assert get(port, "/livez") == (200, "ok\n")
        assert scrape(port)[ACCEPTED] == 0


@pytest.mark.parametrize("octets", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_stops(monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr(pillarbox.cli.metrics, "REQUEST_SECONDS", 0.05)
    with answering() as (_, port), connect(port) as client:
        client.sendall(octets)
        assert client.recv(1) == b""


def test_a_client_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillarbox.cli.metrics, "REQUEST_SECONDS", 0.2)
    with answering() as (_, port), connect(port) as client:
        client.settimeout(0.02)
        for _ in range(1000):  # each octet is in time; all of them together are not
            try:
                client.sendall(b"x")
                said = client.recv(100)
            except TimeoutError:
                continue
            except ConnectionError:
                said = b""
            assert said == b""
            break
        else:
            pytest.fail("it was never cut off")


def test_only_some_are_served_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillarbox.cli.metrics, "MAX_REQUESTS", 2)

    def answers(port: int) -> bool:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            return get(port, "/livez") == (200, "ok\n")
        return False

    with answering() as (_, port):
        with connect(port), connect(port), connect(port) as third:
            with contextlib.suppress(ConnectionError):
                assert third.recv(1) == b""
            assert not answers(port)
        until(lambda: answers(port))


@pytest.mark.parametrize(
    "octets", [b"\0" * 100, b"x" * 70_000 + b"\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200]
)
def test_what_is_no_request(octets: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with answering() as (_, port):
        with connect(port) as client, contextlib.suppress(ConnectionError):
            client.sendall(octets + b"\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        assert get(port, "/livez") == (200, "ok\n")
    assert capsys.readouterr().err == ""
