"""The next hop: Postfix's smtp-sink, and how many messages it has."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.fetch import fetch_postfix
from bench.load import Dialogue, LoadError
from bench.servers import ServerError, free_port, stop

_START_SECONDS = 10
_TAIL_OCTETS = 200
_MESSAGES = re.compile(rb"mesg=([0-9]+)\s")


@dataclass(frozen=True, slots=True)
class Sink:
    """A sink that runs.

    Attributes:
        port: Where it listens.
        told: The file that it writes its counts to, one behind the other.
    """

    port: int
    told: int

    @property
    def messages(self) -> int:
        """How many it has received."""
        at = max(0, os.fstat(self.told).st_size - _TAIL_OCTETS)
        counts = _MESSAGES.findall(os.pread(self.told, _TAIL_OCTETS, at) + b" ")
        return int(counts[-1]) if counts else 0

    def wait_for(self, messages: int, seconds: float) -> float:
        """Wait until it has so many; give the time by `time.perf_counter()`."""
        deadline = time.perf_counter() + seconds
        while (got := self.messages) < messages:
            if time.perf_counter() > deadline:
                raise LoadError(f"{got} of {messages} messages arrived within {seconds:.0f} s")
            time.sleep(0.002)
        return time.perf_counter()


@contextmanager
def sinking() -> Iterator[Sink]:
    """Run a sink until the block ends."""
    postfix = fetch_postfix()
    port = free_port()
    told = os.memfd_create("sink")  # no disk: what is synced beside it would wait for it
    command = [str(postfix.smtp_sink), "-4", "-c", "-m", "1000"]
    command += ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [*command, f"127.0.0.1:{port}", "1024"],
        env={**os.environ, **postfix.environment},
        stdin=subprocess.DEVNULL,
        stdout=told,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_ready(process, port)
        yield Sink(port, told)
    finally:
        stop(process)
        os.close(told)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with Dialogue(port) as dialogue:
                dialogue.greet()
                dialogue.quit()
            return
        except (ConnectionError, LoadError):
            if process.poll() is not None:
                break
            time.sleep(0.02)
    raise ServerError("smtp-sink did not start")
