"""What the embedded spool calls safe is on the disk: seen from between it and the kernel.

A kill of the process cannot show a sync that is missing, since the kernel keeps what was written.
recorder.c notes every write and every sync of a program; `unsafe()` reads what was not on the disk
when the program was told that it is safe. The same recorder makes writes and syncs fail.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pillarbox.relay.spool import Selection
from pillarbox.relay.sqlite import SqliteSpool
from tests.relay.recorder import HAS_RECORDER, build_recorder

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not HAS_RECORDER, reason="the recorder needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


Note = tuple[str, str]


def run(name: str, root: Path, recorder: Path, **settings: str) -> list[Note]:
    """Run a program of durable.py; give what it made, wrote, synced and said, in order."""
    log = root.parent / "log"
    subprocess.run(
        [sys.executable, "-m", "tests.relay.durable", name, str(root)],
        cwd=HERE.parent.parent,
        env={
            **os.environ,
            "LD_PRELOAD": str(recorder),
            "RECORDER_ROOT": str(root),
            "RECORDER_LOG": str(log),
            **{f"RECORDER_{key.upper()}": value for key, value in settings.items()},
        },
        check=True,
        timeout=50,
    )
    notes = []
    for line in log.read_text().splitlines():
        what, _, of = line.partition(" ")
        notes.append((what, of))
    return notes


def said(notes: Sequence[Note]) -> list[str]:
    return [of for what, of in notes if what == "said"]


# What need not outlive a power cut: these are for processes that run at the same time.
PASSING = ("/said", "-shm", "/lock", "/visitors", "/failing")


def unsafe(notes: Sequence[Note]) -> Iterator[str]:
    """Tell what was not on the disk whenever something was called safe."""
    written: set[str] = set()
    named: set[str] = set()
    for what, of in notes:
        if what == "made" and not of.endswith(PASSING):
            named.add(of)
        elif what == "wrote" and not of.endswith(PASSING):
            written.add(of)
        elif what == "removed":
            written.discard(of)
            named.discard(of)
        elif what == "synced":
            written.discard(of)
            named = {path for path in named if path.rpartition("/")[0] != of}
        elif what == "said" and of.startswith("safe"):
            # The database itself may be behind: the log has what it lacks.
            yield from (f"{of}: the octets of {path}" for path in written if path != DATABASE)
            yield from (f"{of}: the name of {path}" for path in named)


DATABASE = "/spool/spool.sqlite"


def test_what_is_called_safe_is_on_the_disk(root: Path, recorder: Path) -> None:
    notes = run("one_by_one", root, recorder)
    assert len(said(notes)) == 12
    assert list(unsafe(notes)) == []
    # And there was something to be synced.
    bodies = {of for what, of in notes if what == "made" and of.startswith("/spool/bodies/")}
    assert len(bodies) == 9
    for number, (what, of) in enumerate(notes):
        if of in bodies and what == "made":
            until = notes.index(next(note for note in notes[number:] if note[0] == "said"), number)
            order = [note for note in notes[number:until] if note[0] == "synced"]
            assert order == [
                ("synced", of),
                ("synced", "/spool/bodies"),
                ("synced", f"{DATABASE}-wal"),
            ]


@pytest.mark.parametrize(
    ("drop", "missing"),
    [
        pytest.param("-wal", "the octets of /spool/spool.sqlite-wal", id="of the log"),
        pytest.param("/bodies/", "the octets of /spool/bodies/", id="of the body"),
        pytest.param("/bodies", "the name of /spool/bodies/", id="of the body's name"),
    ],
)
def test_a_sync_that_is_left_out_is_seen(
    root: Path, recorder: Path, drop: str, missing: str
) -> None:
    assert any(missing in fault for fault in unsafe(run("one_by_one", root, recorder, drop=drop)))


SYNCS = [
    # A commit that failed may come back after a crash, and then needs its file: it is left to the
    # next start to sweep it. The next ones are refused before anything is written.
    pytest.param("-wal", ("small", "large"), 3, id="log"),
    pytest.param("/bodies", ("large",), 2, id="body and folder"),
]


@pytest.mark.parametrize(("part", "hit", "files"), SYNCS)
async def test_a_sync_that_fails_is_no_success(
    root: Path, recorder: Path, part: str, hit: Sequence[str], files: int
) -> None:
    notes = run("failing", root, recorder, fail=f"sync {part} {errno.EIO}")
    told = said(notes)
    for name in ("small", "large"):
        about = [text for text in told if text.startswith((f"error {name}", f"safe {name}"))]
        assert len(about) == 2
        for text in about:
            assert text.startswith("error" if name in hit else "safe")
            assert ("look after its disk" in text) is (name in hit)
    assert told.count("safe after") == 2
    assert f"files {files}" in told
    assert list(unsafe(notes)) == []
    await has_what_was_called_safe(root, told)


async def test_nothing_is_built_upon_a_log_that_was_not_synced(root: Path, recorder: Path) -> None:
    notes = run("failing", root, recorder, fail=f"sync -wal {errno.EIO}")
    after = notes.index(("said", "safe after"))
    last_failure = max(
        place for place, (what, of) in enumerate(notes) if what == "said" and "error" in of
    )
    # The kernel has forgotten what it failed to write, and says that all is well. So what was in
    # the log before goes to the database, and the log begins anew.
    between = notes[last_failure:after]
    assert ("synced", DATABASE) in between
    first = between.index(("synced", DATABASE))
    assert ("wrote", f"{DATABASE}-wal") not in between[:first]


@pytest.mark.parametrize(
    ("part", "number", "hit", "answer"),
    [
        pytest.param("-wal", errno.ENOSPC, ("small", "large"), "full", id="log, no room"),
        pytest.param("/bodies/", errno.ENOSPC, ("large",), "full", id="body, no room"),
        pytest.param("/bodies/", errno.EDQUOT, ("large",), "full", id="body, no quota"),
        pytest.param("-wal", errno.EIO, ("small", "large"), "error", id="log, broken"),
        pytest.param("/bodies/", errno.EIO, ("large",), "error", id="body, broken"),
    ],
)
async def test_a_write_that_fails_is_no_success(
    root: Path, recorder: Path, part: str, number: int, hit: Sequence[str], answer: str
) -> None:
    notes = run("failing", root, recorder, fail=f"write {part} {number}")
    told = said(notes)
    for name in ("small", "large"):
        wanted = answer if name in hit else "safe"
        assert sum(text.startswith(f"{wanted} {name}") for text in told) == 2, told
    assert list(unsafe(notes)) == []
    await has_what_was_called_safe(root, told)
    if answer == "full":
        # What was refused for want of room takes none.
        assert f"files {4 if 'large' not in hit else 2}" in told


async def has_what_was_called_safe(root: Path, told: Sequence[str]) -> None:
    """Open the spool again: what was called safe is there whole, and what was refused is not."""
    spool = await SqliteSpool.open(root / "spool")
    try:
        found = [queued.mail_from for queued in await spool.list()]
        wanted = {
            f"{name}@{when}.test" for name in ("small", "large") for when in ("before", "after")
        }
        for name in ("small", "large"):
            during = sum(text.startswith(f"safe {name}") for text in told)
            assert found.count(f"{name}@during.test") == during
            wanted |= {f"{name}@during.test"} if during else set()
        assert set(found) == wanted
        for queued in await spool.list(Selection()):
            assert await spool.octets(queued.id)
    finally:
        await spool.close()


@pytest.mark.parametrize(
    ("name", "messages", "most"),
    [
        # Measured: 0.13 and 0.013, puts and outcomes together; a busy machine needs some more.
        pytest.param("twenty", 400, 0.3, id="20 sessions"),
        pytest.param("two_hundred", 4000, 0.05, id="200 sessions"),
    ],
)
def test_many_messages_share_a_sync(
    root: Path, recorder: Path, name: str, messages: int, most: float
) -> None:
    notes = run(name, root, recorder)
    begin, end = notes.index(("said", "begin")), notes.index(("said", "end"))
    syncs = sum(what == "synced" for what, _ in notes[begin:end])
    assert 0 < syncs / messages <= most
