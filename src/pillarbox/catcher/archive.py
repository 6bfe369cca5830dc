"""Files of mail into the mailbox: .eml, mbox and Maildir, a message at a time. Out: export.py.

    import_mail(mailbox, "mails/")          # a folder of .eml, a Maildir, an mbox, or one message

A mailbox keeps lines that end in CRLF, as they come by SMTP. Files of mbox and Maildir have LF by
custom, and so does an .eml that went through an editor: what has no CRLF at all gets it.

A message gets an id that is made of its octets and its time. So what is there already is not taken
twice, as when a program that imports at its start is started again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO, Any

from pillarbox.catcher.arrival import Arrival
from pillarbox.catcher.header import date
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.message import parse_message

__all__ = ["ArchiveError", "Item", "explained", "import_mail", "read_mail"]

log = logging.getLogger("pillarbox")

# So much is stored in one transaction, and progress told behind it.
MAX_BATCH_MESSAGES = 200
MAX_BATCH_OCTETS = 4 << 20


class ArchiveError(Exception):
    """A file of mail cannot be read or written; the text tells what to do."""


@dataclass(frozen=True, slots=True)
class Item:
    """A message that was found in a file, and whether somebody had read it there."""

    arrival: Arrival
    is_read: bool = False


# In


def import_mail(
    mailbox: Mailbox,
    path: str | os.PathLike[str],
    *,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Take the mail of a file or a folder in; give the number of messages that are new.

    What of a folder cannot be read is left out, with a word in the log.

    Args:
        mailbox: Where to keep it.
        path: What `read_mail()` reads.
        progress: Is told now and then how many messages are in.

    Raises:
        ArchiveError: The file or the folder itself cannot be read.
        MailboxError: Messages could not be stored; those that `progress` was told of are.
    """
    count = 0
    for batch in _batches(item for item in read_mail(path) if not mailbox.has(item.arrival.id)):
        mailbox.add_all(item.arrival for item in batch)
        mailbox.set_read([item.arrival.id for item in batch if item.is_read])
        count += len(batch)
        progress(count)
    return count


def read_mail(path: str | os.PathLike[str]) -> Iterator[Item]:
    """Read the messages of a Maildir, of a folder of .eml, of an mbox, or of one file.

    The time of arrival is that of the file, or in an mbox the one in the `From ` line. The envelope
    is taken from the headers, or from the .json that `--dump` writes beside the .eml.

    Raises:
        ArchiveError: The file or the folder cannot be read.
    """
    copies: Counter[str] = Counter()
    for item in _read(os.fspath(path)):
        # Two that are the same are two all the same, each time that they are read.
        name = item.arrival.id
        number, copies[name] = copies[name], copies[name] + 1
        if number:
            item = replace(item, arrival=replace(item.arrival, id=_id_of(name.encode(), number)))
        yield item


def _read(path: str) -> Iterator[Item]:
    with explained(path):
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                yield from _read_file(path, file)
        elif _is_maildir(path):
            yield from _read_maildir(path)
        else:
            yield from _read_folder(path)


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    octets = 0
    for item in items:
        batch.append(item)
        octets += len(item.arrival.octets)
        if len(batch) >= MAX_BATCH_MESSAGES or octets >= MAX_BATCH_OCTETS:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch


def _read_file(path: str, file: IO[bytes]) -> Iterator[Item]:
    if file.peek(5)[:5] == b"From ":  # type: ignore[attr-defined]  # open() gives a reader that can
        yield from _read_mbox(file)
    else:
        yield _item(file.read(), _file_time(file), note=_read_note(path))


def _read_folder(path: str) -> Iterator[Item]:
    for folder, folders, names in os.walk(path, onerror=_note):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(".eml") and not name.startswith("."):
                yield from _read_one(os.path.join(folder, name))


def _read_maildir(path: str) -> Iterator[Item]:
    found: list[tuple[float, str]] = []
    for folder in ("cur", "new"):
        with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(path, folder)) as all_:
            found += [(one.stat().st_mtime, one.path) for one in all_ if one.is_file()]
    for _, name in sorted(found):
        # https://cr.yp.to/proto/maildir.html: "S", seen, is one of the letters behind ":2,".
        flags = os.path.basename(name).rpartition(":2,")[2] if ":2," in name else ""
        yield from _read_one(name, is_read="S" in flags)
    for name in sorted(os.listdir(path)):  # Maildir++ has its folders in here
        inner = os.path.join(path, name)
        if name.startswith(".") and _is_maildir(inner):
            yield from _read_maildir(inner)


def _is_maildir(path: str) -> bool:
    return os.path.isdir(os.path.join(path, "cur")) and os.path.isdir(os.path.join(path, "new"))


def _read_one(path: str, *, is_read: bool = False) -> Iterator[Item]:
    try:
        with open(path, "rb") as file:
            octets, when = file.read(), _file_time(file)
    except OSError as error:
        _note(error)
        return
    yield _item(octets, when, note=_read_note(path), is_read=is_read)


def _note(error: OSError) -> None:
    log.warning("%s cannot be read: %s; left out", error.filename, error.strerror or error)


_QUOTED_FROM = re.compile(rb"^>(>*+From )", re.MULTILINE)


def _read_mbox(file: IO[bytes]) -> Iterator[Item]:
    """Read an mbox; a line that begins a message stands behind an empty one or is the first."""
    separator = b""
    lines: list[bytes] = []
    is_behind_empty = True
    for line in file:
        if is_behind_empty and line.startswith(b"From "):
            if separator:
                yield _mbox_item(separator, lines)
            separator, lines = line, []
        else:
            lines.append(line)
        is_behind_empty = line in (b"\n", b"\r\n")
    yield _mbox_item(separator, lines)


def _mbox_item(separator: bytes, lines: Sequence[bytes]) -> Item:
    # The empty line before the next message belongs to the file.
    if lines and lines[-1] in (b"\n", b"\r\n"):
        lines = lines[:-1]
    octets = _QUOTED_FROM.sub(rb"\1", b"".join(lines))
    sender, _, rest = separator[5:].decode("utf-8", "replace").strip().partition(" ")
    # It is as C's asctime() writes it, in UTC.
    item = _item(octets, date(rest))
    mail_from = "" if sender == "MAILER-DAEMON" else sender
    # What mail programs write there (RFC 4155 has no word for it): R is read.
    status = parse_message(octets[: octets.find(b"\n\n") + 2]).header("Status") or ""
    return Item(replace(item.arrival, mail_from=mail_from), is_read="R" in status)


def _file_time(file: IO[bytes]) -> datetime:
    return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)


def _read_note(path: str) -> dict[str, Any]:
    """Read what `--dump` wrote beside a message; nothing where there is none."""
    root, extension = os.path.splitext(path)
    if extension.lower() != ".eml":
        return {}
    try:
        with open(f"{root}.json", "rb") as file:
            note = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _item(
    octets: bytes,
    when: datetime | None,
    *,
    note: dict[str, Any] | None = None,
    is_read: bool = False,
) -> Item:
    if b"\r\n" not in octets:
        octets = octets.replace(b"\n", b"\r\n")
    message = parse_message(octets)
    return_path = (message.header("Return-Path") or "").strip("<> ")
    rcpt_tos = dict.fromkeys(
        one.address for one in (*message.to, *message.cc, *message.bcc) if one.address
    )
    arrival = Arrival(
        id=_id_of(octets, when),
        time=when or message.date or datetime.now(UTC),
        mail_from=return_path or next((one.address for one in message.from_), ""),
        rcpt_tos=tuple(rcpt_tos),
        octets=octets,
    )
    if note:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            arrival = _noted(arrival, note)
    return Item(arrival, is_read)


def _id_of(octets: bytes, more: object) -> str:
    """Give an id as new_id() makes them, the same one each time."""
    digest = hashlib.sha256(f"{more}\n".encode() + octets).digest()[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _noted(arrival: Arrival, note: dict[str, Any]) -> Arrival:
    """Take the envelope out of a note, of which nobody knows who has changed it."""
    peer = note.get("peer") or ""
    tls = note.get("tls")
    return replace(
        arrival,
        time=datetime.fromisoformat(note["time"]).astimezone(UTC),
        mail_from=str(note["mail_from"]),
        rcpt_tos=tuple(map(str, note["rcpt_tos"])),
        peer=(str(peer[0]), int(peer[1])) if isinstance(peer, list) else str(peer),
        helo=_text(note.get("helo")),
        identity=_text(note.get("auth")),
        session_id=_text(note.get("session")),
        tls=_text(tls.get("version")) if isinstance(tls, dict) else None,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Make of the system's errors ours.

    Raises:
        ArchiveError: A file cannot be read or written.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise ArchiveError(f"{path} exists already; name another file") from error
    except FileNotFoundError as error:
        name = error.filename or path
        raise ArchiveError(f"{name} does not exist; see how its name is written") from error
    except OSError as error:
        name, reason = error.filename or path, error.strerror or error
        raise ArchiveError(f"{name} cannot be read or written: {reason}") from error
