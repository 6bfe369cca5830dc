"""A disk that loses its power keeps what was synced, and of the rest what it likes."""

from __future__ import annotations

import random
from pathlib import Path

from tests.crash.disk import Disk, Record, read_trace

NEW = Record("d", "/spool"), Record("m", "/spool/file")
KEPT = (*NEW, Record("b", "/spool"), Record("s", "/spool"))
SYNC = Record("b", "/spool/file"), Record("s", "/spool/file")


def written(octets: bytes, *, where: int = 0) -> Record:
    return Record("w", "/spool/file", where=where, octets=octets)


def ends(*records: Record) -> set[bytes | None]:
    """Give what the file may have, over many disks; `None` is no file."""
    found: set[bytes | None] = set()
    for seed in range(200):
        disk = Disk(random.Random(seed))
        for record in records:
            disk.do(record)
        disk.lose_power()
        found.add(dict(disk.contents()).get("spool/file"))
    return found


def test_what_is_synced_stays() -> None:
    assert ends(*KEPT, written(b"one"), *SYNC) == {b"one"}


def test_what_is_not_may_go() -> None:
    assert ends(*KEPT, written(b"one")) == {b"", b"one"}
    assert ends(*KEPT, written(b"one"), *SYNC, written(b"two")) == {b"one", b"two"}


def test_in_any_order() -> None:
    changes = written(b"a"), written(b"b", where=1)
    assert ends(*KEPT, *changes) == {b"", b"a", b"\0b", b"ab"}


def test_in_sectors() -> None:
    found = ends(*KEPT, written(b"a" * 512 + b"b" * 512))
    assert found == {b"", b"a" * 512, b"\0" * 512 + b"b" * 512, b"a" * 512 + b"b" * 512}


def test_a_length() -> None:
    cut = Record("t", "/spool/file", where=1)
    assert ends(*KEPT, written(b"one"), *SYNC, cut) == {b"one", b"o"}
    assert ends(*KEPT, written(b"one"), cut, *SYNC) == {b"o"}
    assert ends(*KEPT, Record("t", "/spool/file", where=2), *SYNC) == {b"\0\0"}


def test_a_sync_is_for_what_was_written_before_it() -> None:
    begin, end = SYNC
    assert ends(*KEPT, written(b"one"), begin, written(b"two"), end) == {b"one", b"two"}


def test_syncs_of_two_threads() -> None:
    first = Record("b", "/spool/file", thread=1), Record("s", "/spool/file", thread=1)
    second = Record("b", "/spool/file", thread=2), Record("s", "/spool/file", thread=2)
    records = (written(b"one"), first[0], second[0], second[1], written(b"two"), first[1])
    assert ends(*KEPT, *records) == {b"one", b"two"}


def test_a_sync_that_has_not_ended() -> None:
    assert ends(*KEPT, written(b"one"), SYNC[0]) == {b"", b"one"}


def test_what_a_failed_sync_was_to_write_may_be_gone_for_good() -> None:
    failed = SYNC[0], Record("x", "/spool/file")
    assert ends(*KEPT, written(b"one"), *failed, *SYNC) == {b"", b"one"}


def test_a_name() -> None:
    assert ends(*NEW, written(b"one"), *SYNC) == {None, b"one"}
    assert ends(*KEPT, Record("u", "/spool/file")) == {None, b""}
    folder = Record("b", "/spool"), Record("s", "/spool")
    assert ends(*KEPT, Record("u", "/spool/file"), *folder) == {None}


def test_it_goes_on_with_what_it_has(tmp_path: Path) -> None:
    disk = Disk(random.Random(1))
    for record in (*KEPT, written(b"one"), *SYNC):
        disk.do(record)
    disk.lose_power()
    for record in (written(b"two", where=3), *SYNC):
        disk.do(record)
    disk.lose_power()
    (tmp_path / "older").touch()
    disk.write_to(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["spool"]
    assert (tmp_path / "spool" / "file").read_bytes() == b"onetwo"


def test_what_is_not_known_is_nothing() -> None:
    disk = Disk(random.Random(1))
    for kind in "mduwtbsx":
        disk.do(Record(kind, "/other/file"))


def test_a_torn_record_is_the_last(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    assert list(read_trace(file)) == []
    head = (7).to_bytes(4, "little") + (2).to_bytes(4, "little")
    whole = b"w" + head + (5).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"/aone"
    file.write_bytes(whole * 2)
    record = Record("w", "/a", 7, 5, b"one")
    assert list(read_trace(file)) == [record, record]
    for size in range(len(whole), 2 * len(whole)):
        file.write_bytes((whole * 2)[:size])
        assert list(read_trace(file)) == [record]
