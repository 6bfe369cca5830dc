"""`pillarbox sink`: forgets mail, or keeps it to the octet."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pillarbox.cli.sink import Sink
from pillarbox.handler import questions
from tests.cli.program import Client, Program, error_in_process

LOCAL = ("--listen", "127.0.0.1:0")


def test_asks_for_messages_alone() -> None:
    """What a handler does not ask for costs nothing: this is the server that is measured."""
    asks = questions(Sink())
    assert asks.message is not None
    assert asks.message_streams
    assert (asks.connect, asks.mail, asks.rcpt, asks.disconnect) == (None, None, None, None)


# --dump


@dataclass
class Dumping:
    """A sink that runs, and its folder."""

    port: int
    folder: Path

    def newest(self) -> tuple[bytes, dict[str, object]]:
        """Give the last message in the order of the ids."""
        eml = max(self.folder.glob("*.eml"))
        return eml.read_bytes(), json.loads(eml.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def dumping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumping]:
    folder = tmp_path_factory.mktemp("sink") / "made" / "when missing"
    with Program("sink", *LOCAL, "--dump", str(folder)) as program:
        yield Dumping(program.ready_port(), folder)
        assert program.stop() == (0, [])
    assert not [name for name in os.listdir(folder) if not name.endswith((".eml", ".json"))]


EVERY_OCTET = bytes(octet for octet in range(256) if octet not in b"\r\n")

BY_DATA = {
    "small": (b"Subject: x\r\n\r\nHello\r\n", b"Subject: x\r\n\r\nHello\r\n"),
    "empty": (b"", b""),
    "one line end": (b"\r\n", b"\r\n"),
    "dots": (b"..\r\n...\r\n..x\r\nx.\r\n", b".\r\n..\r\n.x\r\nx.\r\n"),
    "NUL": (b"a\x00b\r\n\x00\r\n", b"a\x00b\r\n\x00\r\n"),
    "8 bits": (EVERY_OCTET + b"\r\n", EVERY_OCTET + b"\r\n"),
    "blank end": (b"x\r\n\r\n\r\n", b"x\r\n\r\n\r\n"),
    "10 MiB": (b"0123456789abcde\r\n" * 616_809, b"0123456789abcde\r\n" * 616_809),
    "10 MiB of dots": (b"..\r\n" * 2_621_440, b".\r\n" * 2_621_440),
}


@pytest.mark.parametrize(("sent", "kept"), BY_DATA.values(), ids=BY_DATA)
def test_octets_by_data(dumping: Dumping, sent: bytes, kept: bytes) -> None:
    with Client(dumping.port) as client:
        assert client.deliver(sent).startswith("250 ")
    assert dumping.newest()[0] == kept


BY_BDAT = {
    "no line end": [b"x"],
    "empty": [b""],
    "dots": [b".\r\n..\r\n."],
    "chunks": [b"a\r", b"\n", b".\r\n", b""],
    "large": [b"x" * 1_000_000, b"\r\n" * 100_000, b"end"],
}


@pytest.mark.parametrize("chunks", BY_BDAT.values(), ids=BY_BDAT)
def test_octets_by_bdat(dumping: Dumping, chunks: list[bytes]) -> None:
    with Client(dumping.port) as client:
        client.say("EHLO client.test")
        client.say("MAIL FROM:<> BODY=8BITMIME")
        client.say("RCPT TO:<bob@example.org>")
        for number, chunk in enumerate(chunks, 1):
            last = " LAST" if number == len(chunks) else ""
            client.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            assert client.reply().startswith("250 ")
    octets, note = dumping.newest()
    assert octets == b"".join(chunks)
    assert note["mail_from"] == ""


def test_no_name_leads_out_of_the_folder(dumping: Dumping) -> None:
    before = set(dumping.folder.parent.rglob("*"))
    with Client(dumping.port) as client:
        client.say("EHLO client.test")
        assert client.say('MAIL FROM:<"../../evil"@example.org>').startswith("250 ")
        assert client.say('RCPT TO:<"../../evil/x"@example.org>').startswith("250 ")
        assert client.say("DATA").startswith("354 ")
        client.send(
            b"Message-ID: <../../evil>\r\nSubject: ../../evil\r\nContent-Disposition: attachment;"
            b' filename="../../evil"\r\n\r\nx\r\n'
        )
        assert client.say(".").startswith("250 ")
    new = set(dumping.folder.parent.rglob("*")) - before
    assert len(new) == 2
    assert {path.parent for path in new} == {dumping.folder}
    assert all(re.fullmatch(r"[\w.-]+\.(eml|json)", path.name) for path in new)


def test_envelope(dumping: Dumping) -> None:
    with Client(dumping.port) as client:
        client.say("EHLO client.test")
        client.say("MAIL FROM:<änn@example.org> SIZE=100 BODY=8BITMIME SMTPUTF8")
        client.say('RCPT TO:<"bob \\" x"@Example.org>')
        client.say("RCPT TO:<carl@[192.0.2.1]>")
        client.say("DATA")
        assert client.say(".").startswith("250 ")
        peer = list(client.address)
    eml = max(dumping.folder.glob("*.eml"))
    note = json.loads(eml.with_suffix(".json").read_bytes())
    time = note.pop("time")
    session = note.pop("session")
    assert re.fullmatch(r"[0-9a-f]{6}-[1-9][0-9]*", session)
    assert note == {
        "id": eml.stem,
        "mail_from": "änn@example.org",
        "rcpt_tos": ['"bob \\" x"@Example.org', "carl@[192.0.2.1]"],
        "mail_parameters": {"SIZE": "100", "BODY": "8BITMIME", "SMTPUTF8": None},
        "rcpt_parameters": [{}, {}],
        "peer": peer,
        "helo": "client.test",
        "tls": None,
        "auth": None,
    }
    assert eml.stem.startswith(time.translate(str.maketrans("", "", "-:.")))


def test_message_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with Program("sink", *LOCAL, "--dump", str(tmp_path)) as program:
        port = program.ready_port()
        with Client(port) as client:
            client.begin()
            client.send(b"x" * 70 + b"\r\n" + b"large\r\n" * 100_000)
        with Client(port) as client:
            assert client.deliver(b"whole\r\n").startswith("250 ")
        assert program.stop() == (0, [])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".eml", ".json"]


def test_message_that_is_drained_too_long_leaves_nothing(tmp_path: Path) -> None:
    """The client sends half of a message and is silent; the program is killed at once."""
    with Program("sink", *LOCAL, "--dump", str(tmp_path)) as program:
        port = program.ready_port()
        with Client(port) as client, Client(port) as idle:
            client.begin()
            client.send(b"large\r\n" * 100_000)
            program.signal(signal.SIGTERM)
            assert idle.reply().startswith("421 ")
            program.signal(signal.SIGTERM)
            program.ended()
    # A temporary name may be left by that, but nothing that looks like a message.
    assert not list(tmp_path.glob("*.eml"))
    assert not list(tmp_path.glob("*.json"))


def test_workers_write_to_one_folder(tmp_path: Path) -> None:
    options = ("--dump", str(tmp_path), "--workers", "2")
    with Program("sink", *LOCAL, *options) as program:
        port = program.ready_port()
        for _ in range(20):
            with Client(port) as client:
                assert client.deliver(b"x\r\n").startswith("250 ")
        assert program.stop() == (0, [])
    assert len(list(tmp_path.glob("*.eml"))) == len(list(tmp_path.glob("*.json"))) == 20


def test_disk_that_takes_no_more(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that fails in the middle of a message."""
    limit = ("sh", "-c", 'ulimit -f 128 && exec "$@"', "sh")
    with Program("sink", *LOCAL, "--dump", str(tmp_path), prefix=limit) as program:
        with Client(program.ready_port()) as client:
            assert client.deliver(b"large\r\n" * 100_000).startswith("451 4.3.0 ")
            assert "could not be kept in" in program.line()
            assert "message turned down: from='ann@example.org'" in program.line()
            assert client.deliver(b"small\r\n").startswith("250 ")
        assert program.stop() == (0, [])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".eml", ".json"]


def test_folder_that_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    with Program("sink", *LOCAL, "--dump", str(folder)) as program:
        with Client(program.ready_port()) as client:
            folder.rmdir()
            assert client.deliver(b"x\r\n").startswith("451 4.3.0 ")
            assert "; make the folder again (the client was told to try again)" in program.line()
            assert "message turned down: from='ann@example.org'" in program.line()
            folder.mkdir()
            assert client.deliver(b"x\r\n").startswith("250 ")
        assert program.stop() == (0, [])


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "mails")
    assert error_in_process("sink", *LOCAL, "--dump", folder) == (
        f"--dump {folder}: Not a directory; give a folder that you may write to"
    )


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = error_in_process("sink", *LOCAL, "--dump", str(tmp_path / "file"))
    assert error.endswith("File exists; give a folder that you may write to")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):  # for root, who may write everywhere but where the kernel does
        folder = Path("/proc/self")
    error = error_in_process("sink", *LOCAL, "--dump", str(folder))
    assert error.startswith(f"--dump {folder}: ")
    assert error.endswith("; give a folder that you may write to")


def test_folder_with_a_name_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "pillarbox.toml"
    file.write_text('[sink]\ndump = "a\\u0000b"\n')
    assert "embedded null" in error_in_process("--config", str(file), "sink")
