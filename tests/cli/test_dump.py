"""The dump writer by itself: ids, and disks that fail."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillarbox import ThreadServer
from pillarbox.cli.sink import DumpingSink
from pillarbox.dump import Dump
from tests.cli.program import Client

NOON = 1_777_636_800_000_000_000  # 2026-05-01T12:00:00Z


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(tmp_path: Path, clock: Clock) -> Iterator[Client]:
    sink = DumpingSink(Dump(tmp_path, clock=clock))
    with ThreadServer(sink) as server, Client(server.port) as client:
        yield client


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_id_tells_the_time(tmp_path: Path, clock: Clock, client: Client) -> None:
    clock.now = NOON + 123_456_789
    client.deliver(b"x\r\n")
    eml, note = _names(tmp_path)
    assert re.fullmatch(r"20260501T120000123456Z-[0-9a-f]{10}\.eml", eml)
    assert note == eml.replace(".eml", ".json")
    assert '"time": "2026-05-01T12:00:00.123456Z"' in (tmp_path / note).read_text()


def test_ids_sort_in_the_order_of_arrival(tmp_path: Path, clock: Clock, client: Client) -> None:
    for step in (0, 0, 500, -10_000_000_000, 0, 20_000_000_000):
        clock.now += step
        client.deliver(str(step).encode() + b"\r\n")
    kept = [path.read_bytes() for path in sorted(tmp_path.glob("*.eml"))]
    assert kept == [
        b"0\r\n",
        b"0\r\n",
        b"500\r\n",
        b"-10000000000\r\n",
        b"0\r\n",
        b"20000000000\r\n",
    ]


def test_ids_of_two_processes_differ_at_the_same_time(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        sink = DumpingSink(Dump(tmp_path, clock=clock))
        with ThreadServer(sink) as server, Client(server.port) as client:
            client.deliver(b"x\r\n")
    assert len(_names(tmp_path)) == 4


def test_nothing_is_left_of_the_trial(tmp_path: Path) -> None:
    Dump(tmp_path)
    assert _names(tmp_path) == []


@pytest.mark.parametrize("size", [1, 100_000], ids=["small", "large"])
@pytest.mark.parametrize("failing", ["first", "second"])
@pytest.mark.parametrize(
    ("number", "reply", "remedy"),
    [
        (errno.ENOSPC, "452 4.3.1 No room", "make room on its file system"),
        (errno.EDQUOT, "452 4.3.1 No room", "raise the quota or remove messages"),
        (errno.EIO, "451 4.3.0 ", "see that it can be written to"),
        (errno.EMFILE, "451 4.3.0 ", "allow more open files (ulimit -n)"),
    ],
    ids=["ENOSPC", "EDQUOT", "EIO", "EMFILE"],
)
def test_disk_that_fails(
    tmp_path: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    reply: str,
    remedy: str,
    failing: str,
    size: int,
) -> None:
    with monkeypatch.context() as patch:
        rename = os.rename

        def fail(source: str, target: str) -> None:
            if failing == "second" and target.endswith(".json"):
                rename(source, target)
            else:
                raise OSError(number, os.strerror(number))

        patch.setattr(os, "rename", fail)
        assert client.deliver(b"x" * size + b"\r\n").startswith(reply)
    assert _names(tmp_path) == []
    [record] = caplog.records
    assert record.exc_info is None
    assert remedy in record.getMessage()
    assert client.deliver(b"x\r\n").startswith("250 ")
    assert len(_names(tmp_path)) == 2


def test_envelope_is_there_before_the_message(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    rename = os.rename

    def watched(source: str, target: str) -> None:
        rename(source, target)
        seen.append([name.rpartition(".")[2] for name in _names(tmp_path) if name[0] != "."])

    monkeypatch.setattr(os, "rename", watched)
    client.deliver(b"x\r\n")
    assert seen == [["json"], ["eml", "json"]]
