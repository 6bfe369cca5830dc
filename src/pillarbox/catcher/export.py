"""Mail out of the mailbox, as files of .eml, mbox or Maildir, a message at a time. In: archive.py.

    export_mail(mailbox, "mails.mbox", "mbox", query="tag:news")

Lines of a mailbox end in CRLF, those of mbox and Maildir in LF, by custom. An .eml has the octets
as they are.

The mbox is `mboxrd`: every line of a message that begins with `From `, or with that behind some
`>`, has one `>` more in the file, so that nothing is lost (RFC 4155 tells of the others).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, tzinfo
from typing import Any, Literal, TypeAlias, assert_never

from pillarbox.catcher.archive import explained
from pillarbox.catcher.failure import MessageNotFound
from pillarbox.catcher.mailbox import Mailbox
from pillarbox.catcher.summary import Stored

__all__ = ["Form", "export_mail", "stream_mbox", "stream_zip"]

Form: TypeAlias = Literal["eml", "mbox", "maildir"]
"""What `export_mail` writes: a folder of .eml, an mbox, a Maildir."""


def export_mail(
    mailbox: Mailbox,
    path: str | os.PathLike[str],
    form: Form,
    *,
    query: str = "",
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Write mail to files, the oldest first; give the number of messages.

    Args:
        mailbox: What to write.
        path: A file that does not exist yet for an mbox, and otherwise a folder, made if there is
            none.
        form: What to write.
        query: What a message has to be: see search.py.
        progress: Is told behind each message how many are written.

    Raises:
        ArchiveError: The file or the folder cannot be written.
        MailboxError: The mailbox cannot be read.
    """
    path = os.fspath(path)
    with explained(path), _writer(path, form) as write:
        count = 0
        for stored in _oldest_first(mailbox, query):
            write(stored)
            count += 1
            progress(count)
    return count


def stream_mbox(mailbox: Mailbox, query: str = "", *, zone: tzinfo = UTC) -> Iterator[bytes]:
    """Give an mbox in pieces, the oldest message first."""
    return map(mbox_entry, _oldest_first(mailbox, query, zone))


def stream_zip(mailbox: Mailbox, query: str = "", *, zone: tzinfo = UTC) -> Iterator[bytes]:
    """Give a ZIP file of .eml in pieces, the oldest message first."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED) as file:
        for stored in _oldest_first(mailbox, query, zone):
            # ZIP knows no year before 1980.
            when = max(stored.summary.time.timetuple()[:6], (1980, 1, 1, 0, 0, 0))
            entry = zipfile.ZipInfo(f"{_file_name(stored)}.eml", when)
            entry.external_attr = 0o644 << 16
            file.writestr(entry, stored.arrival.octets, zipfile.ZIP_DEFLATED)
            yield pieces.take()
    yield pieces.take()


class _Pieces(io.RawIOBase):
    """What was written and not taken yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, octets: Any) -> int:
        self._pieces.append(bytes(octets))
        return len(octets)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _oldest_first(mailbox: Mailbox, query: str, zone: tzinfo = UTC) -> Iterator[Stored]:
    for id_ in reversed(mailbox.ids(query, zone=zone)):
        with contextlib.suppress(MessageNotFound):  # it has gone in between
            yield mailbox.get(id_)


@contextlib.contextmanager
def _writer(path: str, form: Form) -> Iterator[Callable[[Stored], object]]:
    match form:
        case "mbox":
            with open(path, "xb") as file:
                yield lambda stored: file.write(mbox_entry(stored))
        case "eml":
            os.makedirs(path, exist_ok=True)
            yield lambda stored: _write_eml(path, stored)
        case "maildir":
            for name in ("tmp", "new", "cur"):
                os.makedirs(os.path.join(path, name), exist_ok=True)
            yield lambda stored: _write_maildir(path, stored)
        case _:
            assert_never(form)


def _write_eml(folder: str, stored: Stored) -> None:
    path = os.path.join(folder, f"{_file_name(stored)}.eml")
    with open(path, "wb") as file:
        file.write(stored.arrival.octets)
    _set_time(path, stored)


def _write_maildir(folder: str, stored: Stored) -> None:
    name = _file_name(stored)
    draft = os.path.join(folder, "tmp", name)
    with open(draft, "wb") as file:
        file.write(stored.arrival.octets.replace(b"\r\n", b"\n"))
    _set_time(draft, stored)
    is_read = stored.summary.is_read
    os.replace(draft, os.path.join(folder, *(("cur", f"{name}:2,S") if is_read else ("new", name))))


_FROM = re.compile(rb"^(>*+From )", re.MULTILINE)


def mbox_entry(stored: Stored) -> bytes:
    """Give a message as it stands in an mbox."""
    sender = re.sub(r"\s", "_", stored.arrival.mail_from) or "MAILER-DAEMON"
    when = time.asctime(stored.summary.time.timetuple())
    octets = _FROM.sub(rb">\1", stored.arrival.octets.replace(b"\r\n", b"\n"))
    end = b"\n" if octets.endswith(b"\n") else b"\n\n"
    return f"From {sender} {when}\n".encode("utf-8", "replace") + octets + end


def _file_name(stored: Stored) -> str:
    """Give a name that sorts by time; ids that came from elsewhere may have anything in them."""
    when = stored.summary.time.strftime("%Y%m%dT%H%M%S%f")
    return f"{when}-{re.sub('[^A-Za-z0-9_-]', '_', stored.summary.id)[:100]}"


def _set_time(path: str, stored: Stored) -> None:
    when = stored.summary.time.timestamp()
    os.utime(path, (when, when))
