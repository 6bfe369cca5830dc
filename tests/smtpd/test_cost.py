"""Fault 11: time is linear, and a message is in memory once."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.smtpd.house import ENVELOPE, Collector
from tests.smtpd.under_test import IS_STDLIB, SMTPD_FILE, mended, ours_only, smtpd

MIB = 1 << 20


class Discard(Collector):
    """A server whose programs keep nothing."""

    octets = 0

    def process_message(self, *args: Any, **kwargs: Any) -> str | None:
        self.octets += len(args[3])
        return None


class Pipe(smtpd.SMTPChannel):
    """A channel without a network: what it costs is its own."""

    packets: list[bytes]
    replies = 0

    def recv(self, buffer_size: int) -> bytes:
        return self.packets.pop()

    def send(self, data: Any) -> int:
        self.replies += 1
        return len(data)

    def take(self, octets: bytes, packet: int = 65536) -> None:
        packets = [octets[start : start + packet] for start in range(0, len(octets), packet)]
        self.packets = packets[::-1]
        while self.packets:
            self.handle_read()


class Connection:
    """A socket that agrees to everything."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None

    def fileno(self) -> int:
        return -1


def new_pipe(**arguments: Any) -> Any:
    """Give a greeted channel; its server discards what it gets."""
    channels: dict[int, Any] = {}
    server = Discard(("127.0.0.1", 0), None, map=channels, **arguments)

    decode_data = arguments.get("decode_data", False)
    connection: Any = Connection()
    channel = Pipe(server, connection, "test", map=channels, decode_data=decode_data)
    server.close()
    channel.take(b"EHLO client.test\r\n")
    return channel


def cpu_seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def assert_linear(make: Callable[[int], Callable[[], None]], size: int) -> None:
    """Four times the work takes four times the time, where quadratic cost would take 16 times.

    What else the machine does can only add to a time: the least of some is compared.
    """
    small, large = [], []
    for _ in range(1 if IS_STDLIB else 4):
        small.append(cpu_seconds(make(size)))
        large.append(cpu_seconds(make(4 * size)))
        ratio = min(large) / min(small)
        if ratio < 8:
            return
    raise AssertionError(f"four times as much took {ratio:.1f} times as long")


@mended(11)
def test_recipients() -> None:
    def make(recipients: int) -> Callable[[], None]:
        channel = new_pipe()
        channel.take(b"MAIL FROM:<ann@example.org>\r\n")
        line = b"RCPT TO:<someone.with.a.name@department.example.org>\r\n"

        def work() -> None:
            channel.take(line * recipients)
            assert len(channel.rcpttos) == recipients

        return work

    assert_linear(make, 2_000)


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"\r\n", b"x" * 100 + b"\r\n"])
def test_commands(line: bytes) -> None:
    def make(commands: int) -> Callable[[], None]:
        channel = new_pipe()

        def work() -> None:
            channel.take(line * commands)

        return work

    assert_linear(make, 25_000)


def test_a_line_without_an_end() -> None:
    def make(octets: int) -> Callable[[], None]:
        channel = new_pipe()

        def work() -> None:
            channel.take(b"x" * octets)
            assert sum(map(len, channel.received_lines)) <= 65536 + 512

        return work

    assert_linear(make, 8 * MIB)


TEXT = (b"x" * 76 + b"\r\n") * 13_440  # 1 MiB
MESSAGE = TEXT * 32  # nearly what fits
DOTS = (b"." * 76 + b"\r\n") * 13_440


@pytest.mark.parametrize("text", [TEXT, DOTS, b"\r\n" * (MIB // 2), b"\r" * MIB], ids=range(4))
@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}], ids=["bytes", "str"])
def test_a_message(text: bytes, arguments: dict[str, Any]) -> None:
    def make(copies: int) -> Callable[[], None]:
        channel = new_pipe(**arguments)
        channel.take(ENVELOPE)
        octets = text * copies + b"\r\n.\r\n"

        def work() -> None:
            channel.take(octets)
            assert channel.smtp_state == channel.COMMAND

        return work

    assert_linear(make, 8)


def peak(channel: Any, packets: Iterable[bytes]) -> int:
    """Give the most memory that is taken while packets come in."""
    tracemalloc.start()
    try:
        for packet in packets:
            channel.take(packet)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@mended(11)
@pytest.mark.parametrize(
    ("arguments", "copies"), [({}, 1.2), ({"decode_data": True}, 2.2)], ids=["bytes", "str"]
)
def test_the_memory_that_a_message_takes(arguments: dict[str, Any], copies: float) -> None:
    """Once, and once more while it is decoded."""
    channel = new_pipe(**arguments)
    channel.take(ENVELOPE)

    parts = range(0, len(MESSAGE), 65536)
    packets = chain((MESSAGE[start : start + 65536] for start in parts), [b"\r\n.\r\n"])
    assert peak(channel, packets) < copies * len(MESSAGE)
    assert channel.smtp_server.octets == len(MESSAGE) * 77 // 78


@mended(11)
def test_the_memory_that_small_packets_take() -> None:
    channel = new_pipe()
    channel.take(ENVELOPE)
    text = b"xy" * 100_000
    packets = (text[start : start + 2] for start in range(0, len(text), 2))
    assert peak(channel, packets) < 3 * len(text)
    channel.take(b"\r\n.\r\n")
    assert channel.received_data == text


# A process of its own: its memory as the system sees it.
RESIDENT = """
import sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import asyncore, smtpd
class Server(smtpd.SMTPServer):
    def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
        global octets
        octets = len(data)
def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024
server = Server(("127.0.0.1", 0), None)
print(server.socket.getsockname()[1], flush=True)
while len(asyncore.socket_map) < 2:
    asyncore.loop(count=1)
before = memory("VmRSS")
while len(asyncore.socket_map) > 1:
    asyncore.loop(count=1)
print((memory("VmHWM") - before) / octets)
"""


@ours_only
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux")
def test_the_memory_that_the_system_sees() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RESIDENT],
        env={"PYTHONPATH": str(SMTPD_FILE.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(b"HELO x\r\n" + ENVELOPE + MESSAGE + b"\r\n.\r\nQUIT\r\n")
            while client.recv(1000):
                pass
        assert float(process.stdout.readline()) < 1.3
    finally:
        process.kill()
        process.communicate()
