"""Files that others want as well: locks, how much room there is, and when a file is really there.

Knows nothing of mail.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Self

__all__ = ["FileLock", "Room", "is_full", "sync_file", "sync_folder"]

# Where there is enough, nothing that we write makes it too little within so long: the reserve is
# large.
ENOUGH_SECONDS = 0.05

LOCK_PAUSE_SECONDS = 0.02


def is_full(error: OSError) -> bool:
    """Tell whether an error means that the disk, or our share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sync_file(descriptor: int) -> None:
    """Return when the file's octets, and its length, are on the disk itself."""
    if sys.platform == "darwin":
        # fsync() there leaves the octets in the cache of the disk.
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif sys.platform == "win32":
        os.fsync(descriptor)
    else:
        os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Return when the names of the folder's files are on the disk."""
    if sys.platform == "win32":
        return  # NTFS keeps names in a journal of its own, and has no call for this
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Room:
    """How much is left where a folder is.

    Args:
        folder: There.
        min_free_bytes: Less than this is too little.
        min_free_files: So is less than room for this many files, where the file system counts.
    """

    def __init__(self, folder: Path, *, min_free_bytes: int, min_free_files: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._min_free_files = min_free_files
        self._enough_until = 0.0

    def lack(self) -> str | None:
        """Say what there is too little of, in words for an operator; `None` where nothing is."""
        if time.monotonic() < self._enough_until:
            return None
        if sys.platform == "win32":
            free, files, all_files = shutil.disk_usage(self._folder).free, 0, 0
        else:
            found = os.statvfs(self._folder)
            free, files, all_files = found.f_bavail * found.f_frsize, found.f_favail, found.f_files
        if free < self._min_free_bytes:
            return (
                f"{self._folder} has {free >> 20} MiB of room left, and"
                f" {self._min_free_bytes >> 20} MiB are kept free; make room on its disk"
            )
        if all_files and files < self._min_free_files:
            return (
                f"the disk of {self._folder} has room for {files} more files, and for"
                f" {self._min_free_files} it is kept free; remove small files from it"
            )
        self._enough_until = time.monotonic() + ENOUGH_SECONDS
        return None


class FileLock:
    """A lock between processes; it ends with the process that has it, however that ends.

    Args:
        path: The file that is locked; it is made if it is missing, and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def make(self) -> None:
        """Make the file, and take nothing."""
        os.close(self._open())

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, *, shared: bool = False, seconds: float | None = 0.0) -> bool:
        """Take the lock, waiting so long for others; `None` is as long as it takes."""
        descriptor = self._open()
        deadline = None if seconds is None else time.monotonic() + seconds
        while not _try_lock(descriptor, shared=shared):
            if deadline is not None and time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(LOCK_PAUSE_SECONDS)
        self._descriptor = descriptor
        return True

    def sign(self) -> None:
        """Write down who has the lock."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def signature(self) -> str:
        """Read who has the lock; empty where nobody wrote it down."""
        try:
            return self._path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            # Far behind the signature, which others want to read. There is no shared kind.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
