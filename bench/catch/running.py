"""A `pillarbox catch` that runs, seen from outside: its ports, and when it got so far."""

import http.client
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import IO

from bench.catch.receivers import catch, environment
from bench.fetch import CACHE, ROOT
from bench.servers import ServerError, stop, surroundings

_URL = re.compile(rb"listening on (smtp|http)://127\.0\.0\.1:([0-9]+)\n")


@dataclass(frozen=True, slots=True)
class Catching:
    """A catcher that has told where it listens.

    Attributes:
        pid: Its process.
        smtp: The port for mail.
        http: That of the page; 0 without.
        started: When the process was started, by `time.perf_counter()`.
        listening_seconds: How long after the start of the process it said that it listens.
    """

    pid: int
    smtp: int
    http: int
    started: float
    listening_seconds: float


@contextmanager
def catching(*options: str, core: int | None) -> Iterator[Catching]:
    """Run `pillarbox catch` until the block ends."""
    command = catch("--listen", "127.0.0.1:0", *options)
    ports = {b"smtp": 0, b"http": 0}
    wanted = b"smtp" if "none" in options else b"http"
    (CACHE / "logs").mkdir(parents=True, exist_ok=True)
    with (CACHE / "logs" / "catch.out").open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=surroundings(environment()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stderr is not None
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            while not ports[wanted]:
                line = process.stderr.readline()
                if not line:
                    raise ServerError(f"{' '.join(command)} ended with {process.wait()}")
                if found := _URL.fullmatch(line):
                    ports[found[1]] = int(found[2])
            listening = time.perf_counter() - started
            # Nothing of ours is to wait because nobody reads what it has to say.
            Thread(target=_read_all, args=(process.stderr,), daemon=True).start()
            yield Catching(process.pid, ports[b"smtp"], ports[b"http"], started, listening)
        finally:
            stop(process)


def _read_all(stream: IO[bytes]) -> None:
    with stream:
        while stream.read(65536):
            pass


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Ask for something that has to be there."""
    connection.request("GET", path)
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise ServerError(f"GET {path} was answered by {response.status}")
    return content
