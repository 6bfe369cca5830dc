"""Files of mail: what was written is read back, and what cannot be read is told."""

from __future__ import annotations

import io
import json
import mailbox as standard
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.archive import (
    MAX_BATCH_MESSAGES,
    ArchiveError,
    import_mail,
    read_mail,
)
from pillarbox.catcher.arrival import Arrival, new_id
from pillarbox.catcher.export import Form, export_mail, stream_mbox, stream_zip
from pillarbox.catcher.mailbox import Limits, Mailbox

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def arrival(octets: bytes, *, number: int = 0, mail_from: str = "ann@example.org") -> Arrival:
    return Arrival(
        id=new_id(),
        time=NOON + timedelta(minutes=number),
        mail_from=mail_from,
        rcpt_tos=("bob@example.org",),
        octets=octets,
    )


MAILS = [
    b"To: bob@example.org\r\nSubject: one\r\n\r\nFrom here\r\n>From there\r\n\r\nFrom x\r\n",
    b"To: bob@example.org\r\nSubject: two\r\n\r\n\r\n\r\n",
    "To: bob@example.org\r\nSubject: Grüße\r\n\r\nÄ\r\n".encode(),
]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox(limits=Limits(max_messages=0)) as made:
        yield made


@pytest.fixture
def full(mailbox: Mailbox) -> Mailbox:
    for number, octets in enumerate(MAILS):
        mailbox.add(arrival(octets, number=number, mail_from="" if number else "a b@x.org"))
    mailbox.set_read_found("subject:two")
    return mailbox


FORMS: list[Form] = ["eml", "mbox", "maildir"]


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(full: Mailbox, form: Form, tmp_path: Path) -> None:
    told: list[int] = []
    assert export_mail(full, tmp_path / "out", form, progress=told.append) == 3
    assert told == [1, 2, 3]
    with Mailbox() as again:
        told.clear()
        assert import_mail(again, tmp_path / "out", progress=told.append) == 3
        assert told == [3]
        found = [again.get(id_) for id_ in reversed(again.ids())]
    assert [one.arrival.octets for one in found] == MAILS
    assert [one.arrival.time for one in found] == [one.time for one in reversed(full.find())]
    assert {one.arrival.rcpt_tos for one in found} == {("bob@example.org",)}
    if form == "mbox":
        assert [one.arrival.mail_from for one in found] == ["a_b@x.org", "", ""]
    if form == "maildir":
        assert [one.summary.is_read for one in found] == [False, True, False]


@given(st.lists(st.text("From >\r\nax\u00e4:").map(str.encode), min_size=1))
def test_an_mbox_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, mails: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("mbox") / "mails"
    # As they come by SMTP.
    mails = [octets.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n" for octets in mails]
    with Mailbox() as mailbox:
        mailbox.add_all(arrival(octets, number=number) for number, octets in enumerate(mails))
        export_mail(mailbox, path, "mbox")
    assert [item.arrival.octets for item in read_mail(path)] == mails


def test_the_standard_library_reads_what_we_write(full: Mailbox, tmp_path: Path) -> None:
    export_mail(full, tmp_path / "mbox", "mbox")
    export_mail(full, tmp_path / "maildir", "maildir")
    for box in (standard.mbox(tmp_path / "mbox"), standard.Maildir(tmp_path / "maildir")):
        assert {str(message["subject"]) for message in box} > {"one", "two"}
        assert len(box) == 3
        box.close()


def test_we_read_what_the_standard_library_writes(mailbox: Mailbox, tmp_path: Path) -> None:
    box = standard.mbox(tmp_path / "mbox")
    message = standard.mboxMessage(MAILS[0])
    message.set_flags("RO")
    message.set_from("ann@example.org", datetime(2024, 1, 1, 12, 1, 2).timetuple())
    box.add(message)
    box.add(MAILS[1])
    box.close()
    folder = standard.Maildir(tmp_path / "maildir").add_folder("inner")
    folder.add(MAILS[1])
    assert import_mail(mailbox, tmp_path / "mbox") == 2
    assert import_mail(mailbox, tmp_path / "maildir") == 1
    first = mailbox.get(mailbox.ids("subject:one is:read")[0]).arrival
    assert first.mail_from == "ann@example.org"
    assert first.time == datetime(2024, 1, 1, 12, 1, 2, tzinfo=UTC)
    assert mailbox.counts().total == 3


@pytest.mark.parametrize("form", FORMS)
def test_what_is_there_already(full: Mailbox, form: Form, tmp_path: Path) -> None:
    full.add(arrival(MAILS[0]))  # the same as another one
    export_mail(full, tmp_path / "out", form)
    with Mailbox() as again:
        assert [import_mail(again, tmp_path / "out") for _ in range(2)] == [4, 0]
        again.delete_found("subject:one")
        assert import_mail(again, tmp_path / "out") == 2


def test_downloads(full: Mailbox, tmp_path: Path) -> None:
    export_mail(full, tmp_path / "mbox", "mbox", query="-subject:two")
    assert b"".join(stream_mbox(full, "-subject:two")) == (tmp_path / "mbox").read_bytes()
    pieces = list(stream_zip(full, "-subject:two"))
    assert len(pieces) == 3  # each message as it is read, and the table of them
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as file:
        assert file.testzip() is None
        names = sorted(file.namelist())
        assert [name.partition("-")[0] for name in names] == [
            "20240101T120000000000",
            "20240101T120200000000",
        ]
        assert [file.read(name) for name in names] == [MAILS[0], MAILS[2]]


def test_a_message_from_before_there_was_zip(mailbox: Mailbox) -> None:
    mailbox.add(replace(arrival(MAILS[0]), time=datetime(1970, 1, 1, tzinfo=UTC)))
    with zipfile.ZipFile(io.BytesIO(b"".join(stream_zip(mailbox)))) as file:
        assert file.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_some_of_it(full: Mailbox, tmp_path: Path) -> None:
    assert export_mail(full, tmp_path, "eml", query="subject:one") == 1
    [file] = tmp_path.iterdir()
    assert file.name.startswith("20240101T120000000000-")
    assert file.suffix == ".eml"
    assert file.read_bytes() == MAILS[0]


def test_a_message_that_has_gone(full: Mailbox, tmp_path: Path) -> None:
    gone = full.ids("subject:two")
    assert export_mail(full, tmp_path / "x", "mbox", progress=lambda _: full.delete(gone)) == 2


def test_an_id_that_is_no_file_name(mailbox: Mailbox, tmp_path: Path) -> None:
    mailbox.add(replace(arrival(b"\r\n"), id="../../x/y"))
    export_mail(mailbox, tmp_path / "out", "eml")
    assert [path.name for path in tmp_path.rglob("*.eml")] == [
        "20240101T120000000000-______x_y.eml"
    ]


# In


def test_one_message(mailbox: Mailbox, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"Return-Path: <bounce@x.org>\nTo: A <a@x.org>, b@x.org\nBcc: a@x.org\n\nHi\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert import_mail(mailbox, path) == 1
    [id_] = mailbox.ids()
    stored = mailbox.get(id_).arrival
    assert (stored.mail_from, stored.rcpt_tos) == ("bounce@x.org", ("a@x.org", "b@x.org"))
    assert stored.time.timestamp() == 1_700_000_000
    assert stored.octets.endswith(b"\r\n\r\nHi\r\n")


def test_a_folder(mailbox: Mailbox, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "B.EML").write_bytes(b"From: b@x.org\n\n")
    (tmp_path / "a.eml").write_bytes(b"From: a@x.org\n\n")
    (tmp_path / ".hidden.eml").write_bytes(b"")
    (tmp_path / "readme.txt").write_bytes(b"")
    found = [item.arrival.mail_from for item in read_mail(tmp_path)]
    assert found == ["a@x.org", "b@x.org"]


NOTE = {
    "id": "20240101T000000000000Z-1",
    "time": "2024-01-01T12:00:00.000001Z",
    "session": "s1",
    "mail_from": "ann@example.org",
    "rcpt_tos": ["bob@example.org", "eve@example.org"],
    "peer": ["127.0.0.1", 40000],
    "helo": "client.test",
    "tls": {"version": "TLSv1.3", "cipher": "x"},
    "auth": "ann",
}


def test_the_envelope_that_dump_wrote(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"\r\n")
    (tmp_path / "a.json").write_text(json.dumps(NOTE))
    [item] = read_mail(tmp_path)
    assert item.arrival == Arrival(
        id=item.arrival.id,
        time=NOON + timedelta(microseconds=1),
        mail_from="ann@example.org",
        rcpt_tos=("bob@example.org", "eve@example.org"),
        peer=("127.0.0.1", 40000),
        helo="client.test",
        octets=b"\r\n",
        identity="ann",
        session_id="s1",
        tls="TLSv1.3",
    )


WRONG: list[object] = [7, [], {}, "x", None]


@pytest.mark.parametrize(
    "note",
    [
        *("", "[]", "{", "[" * 100_000, "{}"),
        *(json.dumps({**NOTE, name: value}) for name in NOTE for value in WRONG),
    ],
)
def test_a_note_that_somebody_changed(tmp_path: Path, note: str) -> None:
    (tmp_path / "a.eml").write_bytes(b"From: ann@x.org\n\n")
    (tmp_path / "a.json").write_text(note)
    [item] = read_mail(tmp_path)
    assert item.arrival.octets == b"From: ann@x.org\r\n\r\n"
    with Mailbox() as mailbox:
        assert mailbox.get(mailbox.add(item.arrival).id).arrival == item.arrival


@pytest.mark.parametrize(
    ("octets", "mails"),
    [
        (b"From a Mon Jan  1 12:00:00 2024\n\na\nFrom b\n", [b"\r\na\r\nFrom b\r\n"]),
        (b"From a\nX: y\n\na\n\nFrom b\n\n>>From\nb", [b"X: y\r\n\r\na\r\n", b"\r\n>>From\r\nb"]),
        (b"From a\n\n>From x\n>>From y\n >From z\n", [b"\r\nFrom x\r\n>From y\r\n >From z\r\n"]),
        (b"From a\r\n\r\na\r\n\r\nFrom \r\n", [b"\r\na\r\n", b""]),
        (b"From a\n", [b""]),
        (b"", [b""]),
    ],
)
def test_mbox(tmp_path: Path, octets: bytes, mails: list[bytes]) -> None:
    (tmp_path / "mbox").write_bytes(octets)
    assert [item.arrival.octets for item in read_mail(tmp_path / "mbox")] == mails


def test_progress(mailbox: Mailbox, tmp_path: Path) -> None:
    (tmp_path / "mbox").write_bytes(b"From a\n\nx\n\n" * (MAX_BATCH_MESSAGES + 1))
    told: list[int] = []
    import_mail(mailbox, tmp_path / "mbox", progress=told.append)
    assert told == [MAX_BATCH_MESSAGES, MAX_BATCH_MESSAGES + 1]


# What fails


def test_a_file_that_is_not_there(mailbox: Mailbox, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="none does not exist; see how its name is written"):
        import_mail(mailbox, tmp_path / "none")


def test_a_file_that_is_there_already(full: Mailbox, tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_text("mine")
    for form in FORMS:
        with pytest.raises(ArchiveError, match="mbox exists already; name another file"):
            export_mail(full, path, form)
    assert path.read_text() == "mine"


def test_a_folder_that_is_not_there(full: Mailbox, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        export_mail(full, tmp_path / "none" / "mbox", "mbox")


def test_one_that_cannot_be_read_is_left_out(
    mailbox: Mailbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.eml").symlink_to(tmp_path / "none")
    (tmp_path / "b.eml").write_bytes(b"\r\n")
    assert import_mail(mailbox, tmp_path) == 1
    assert "a.eml cannot be read: No such file or directory; left out" in caplog.text
