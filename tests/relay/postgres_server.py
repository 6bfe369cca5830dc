"""A PostgreSQL of our own: from Debian's packages, in a folder of its own, on a socket there.

It has nothing to do with one that runs on this machine. `fsync` is on, as it is where mail is kept.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

__all__ = ["ABSENT", "PostgresServer", "find_programs"]

ABSENT = "there is no PostgreSQL here; 'make postgres' installs it"

# PostgreSQL does not run as root.
UNPRIVILEGED = ("postgres", "nobody")
START_SECONDS = 30

ROOM_OCTETS = 1 << 30


def find_programs() -> Path | None:
    """Find the folder of initdb and postgres, the newest."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin")]
    folders.sort(key=lambda folder: float(folder.parent.name))
    if found := shutil.which("initdb"):
        folders.insert(0, Path(found).resolve().parent)
    usable = [one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()]
    return usable[-1] if usable else None


class PostgresServer:
    """A server, from its making to its end.

    Args:
        parent: In which folder its own is made; one in memory where it is not given.
        settings: Lines of its postgresql.conf.
    """

    def __init__(self, parent: Path | None = None, **settings: str) -> None:
        programs = find_programs()
        assert programs is not None, ABSENT
        self._programs = programs
        self._user = None if os.getuid() else _unprivileged()
        # A socket's name has to be short, and the folder such that another user gets there.
        self.folder = Path(tempfile.mkdtemp(prefix="pillarbox-pg-", dir=parent or _roomy()))
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            *("initdb", "--pgdata", str(self.data), "--username", "pillarbox"),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        self.configure(
            unix_socket_directories=str(self.folder),
            listen_addresses="",
            shared_buffers="32MB",
            log_min_messages="fatal",
        )
        self.configure(**settings)
        self.start()

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def url(self, database: str = "postgres") -> str:
        """Name one of its databases."""
        return f"postgresql://pillarbox@/{database}?host={self.folder}"

    def configure(self, **settings: str) -> None:
        """Add lines to its postgresql.conf; the last of a name counts, from the next start on."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._run("pg_ctl", *self._control, "--log", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends the sessions, `immediate` everything, as a crash would."""
        self._run("pg_ctl", *self._control, "--mode", mode, "stop")

    def kill(self) -> None:
        """Kill it with all of its processes, in the middle of what they do."""
        first = self.process_id
        os.kill(first, signal.SIGSTOP)  # so that it begins no other
        others = [
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if _state_and_parent(stat)[1] == first
        ]
        for process in (first, *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # It does not start again while one of them still has its memory.
        deadline = time.monotonic() + START_SECONDS
        while any(_runs(process) for process in (first, *others)):
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not end")
            time.sleep(0.01)
        # Until init has taken note of its death, it would be thought to run.
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*")):
            lock.unlink(missing_ok=True)

    @property
    def process_id(self) -> int:
        """The first of its processes."""
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    def close(self) -> None:
        """End it, and leave nothing behind."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", *self._control, "--mode", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _control(self) -> tuple[str, ...]:
        return ("--pgdata", str(self.data), "--wait", "--timeout", str(START_SECONDS), "--silent")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            user=None if self._user is None else self._user.pw_uid,
            group=None if self._user is None else self._user.pw_gid,
            extra_groups=None if self._user is None else [],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=2 * START_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode(errors='replace')}")


def _roomy() -> str:
    """Give a folder in memory, which syncs in no time, if there is one with room."""
    memory = Path("/dev/shm")
    is_roomy = memory.is_dir() and shutil.disk_usage(memory).free >= ROOM_OCTETS
    return str(memory) if is_roomy else "/tmp"


def _unprivileged() -> pwd.struct_passwd:
    names = {user.pw_name: user for user in pwd.getpwall()}
    return next(names[name] for name in UNPRIVILEGED if name in names)


def _state_and_parent(stat: Path) -> tuple[str, int]:
    try:
        state, parent, *_ = stat.read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return "", 0
    return state, int(parent)


def _runs(process: int) -> bool:
    return _state_and_parent(Path(f"/proc/{process}/stat"))[0] not in ("", "Z", "X")
