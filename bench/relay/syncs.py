"""The syncs of a relay, counted and slowed down by a library preloaded into it (syncs.c)."""

import mmap
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bench.fetch import CACHE, Unavailable

_SOURCE = Path(__file__).with_name("syncs.c")
_LIBRARY = CACHE / "relay" / "syncs.so"
_OCTETS = 8


@cache
def library() -> Path:
    """Compile it."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable(
            "the relay's bench needs a C compiler to count syncs: apt-get install gcc"
        )
    _LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(_LIBRARY), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"syncs.c does not compile: {done.stderr.strip().splitlines()[-1]}")
    return _LIBRARY


class Syncs:
    """Counts the syncs of whoever is started with `environment`.

    Args:
        delay: How many seconds to add to each.
    """

    def __init__(self, delay: float = 0.0) -> None:
        path = CACHE / "relay" / "syncs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(_OCTETS))
        path.chmod(0o666)  # Postfix counts as a user of its own
        with path.open("r+b") as file:
            self._number = mmap.mmap(file.fileno(), _OCTETS)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library()),
            "SYNCS_FILE": str(path),
            "SYNCS_DELAY": str(round(delay * 1e6)),
        }

    @property
    def count(self) -> int:
        """How many there were so far."""
        return int.from_bytes(self._number[:_OCTETS], "little")


def disk_sync_seconds(folder: Path) -> float:
    """Measure what one sync costs there now: 4 KiB at the end of a file, the median of some."""
    path = folder / "probe"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    path.unlink()
    return statistics.median(taken)
