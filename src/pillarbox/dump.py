"""Messages as files: `<id>.eml` with the octets received, `<id>.json` with the envelope.

What `--dump` of the sink and the catcher writes. A message is there complete or not at all: both
files are written under a temporary name and renamed, the envelope first, so that whoever sees the
`.eml` finds the `.json`. It is no spool: a file survives the end of the program, not that of the
power.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import Reject
from pillarbox.protocol.reply import Reply

__all__ = ["Dump"]

FULL = Reply(452, "4.3.1", "No room to keep the message; try again later")
FAILED = Reply(451, "4.3.0", "The message could not be kept; try again later")

_REMEDIES = {
    errno.ENOSPC: "make room on its file system",
    errno.EDQUOT: "raise the quota or remove messages",
    errno.ENOENT: "make the folder again",
    errno.EROFS: "mount it for writing",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


class Dump:
    """A folder of messages.

    Its calls block for as long as the disk does, which is what keeps a message cheap: a thread
    would cost more than the two files.

    Args:
        folder: Where the files go; made if there is none.
        clock: Tells the time in nanoseconds since 1970.

    Raises:
        OSError: The folder cannot be made or written to.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.folder = os.path.abspath(folder)
        self._clock = clock
        self._last_microseconds = 0
        os.makedirs(self.folder, exist_ok=True)
        # Whether one may write is best asked by writing: modes, ACLs, read-only mounts and root
        # all have their say.
        probe = self._path(f".{self._next_id()[0]}.tmp")
        with open(probe, "xb"):
            pass
        os.unlink(probe)

    def write(self, session: Session, envelope: Envelope, data: bytes) -> str:
        """Keep a message that is there as a whole, and give its id.

        Raises:
            Reject: It could not be written; the log says why.
        """
        with self._draft(session, envelope) as (name, file):
            file.write(data)
        return name

    async def stream(self, session: Session, envelope: Envelope, body: Body) -> str:
        """Keep a message that may still be coming in, a part at a time, and give its id.

        Raises:
            Reject: It could not be written; the log says why.
            IncompleteBody: The rest will not come. Nothing is kept.
        """
        with self._draft(session, envelope) as (name, file):
            async for part in body:
                file.write(part)
        return name

    @contextmanager
    def _draft(self, session: Session, envelope: Envelope) -> Iterator[tuple[str, IO[bytes]]]:
        """Give an id and a file to write to, which becomes the message if all goes well."""
        name, when = self._next_id()
        eml, note = self._path(f"{name}.eml"), self._path(f"{name}.json")
        drafts = self._path(f".{name}.eml.tmp"), self._path(f".{name}.json.tmp")
        try:
            with open(drafts[0], "xb") as file:
                yield name, file
            with open(drafts[1], "xb") as file:
                file.write(_note(name, when, session, envelope))
            os.rename(drafts[1], note)
            try:
                os.rename(drafts[0], eml)
            except BaseException:
                os.unlink(note)
                raise
        except BaseException as error:
            for draft in drafts:
                with contextlib.suppress(OSError):
                    os.unlink(draft)
            if isinstance(error, OSError):
                raise self._refuse(session, error) from None
            raise

    def _refuse(self, session: Session, error: OSError) -> Reject:
        remedy = _REMEDIES.get(error.errno or 0, "see that it can be written to")
        session.log.error(
            "a message could not be kept in %s: %s; %s (the client was told to try again)",
            self.folder,
            error.strerror or error,
            remedy,
        )
        return Reject(FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else FAILED)

    def _next_id(self) -> tuple[str, str]:
        """Make an id that sorts by time, and tell that time as RFC 3339 has it.

        Workers and later runs share the folder, so chance keeps their ids apart. Two of the same
        process never have the same time, so that theirs sort in their order.
        """
        self._last_microseconds = max(self._clock() // 1000, self._last_microseconds + 1)
        seconds, fraction = divmod(self._last_microseconds, 1_000_000)
        when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:06}Z"
        return f"{when.translate(_NO_MARKS)}-{os.urandom(5).hex()}", when

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)


_NO_MARKS = str.maketrans("", "", "-:.")


def _note(name: str, when: str, session: Session, envelope: Envelope) -> bytes:
    """Write the envelope as JSON, in ASCII: addresses may have any character."""
    tls = session.tls
    note = {
        "id": name,
        "time": when,
        "session": session.id,
        "mail_from": envelope.mail_from,
        "rcpt_tos": envelope.rcpt_tos,
        "mail_parameters": dict(envelope.mail.parameters),
        "rcpt_parameters": [dict(rcpt.parameters) for rcpt in envelope.rcpts],
        "peer": session.peer,
        "helo": session.domain,
        "tls": None if tls is None else {"version": tls.version, "cipher": tls.cipher},
        "auth": session.identity,
    }
    return json.dumps(note, indent=2).encode() + b"\n"
