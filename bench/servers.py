"""The servers that are measured: how each is started on a port, and that each is stopped.

To add one, write its function and put it in SERVERS.
"""

import importlib.metadata
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.certificate import certificate, client_context
from bench.fetch import CACHE, ROOT, Unavailable, fetch_aiosmtpd, fetch_postfix
from bench.load import Dialogue, LoadError, Security

_START_SECONDS = 15
_STOP_SECONDS = 5
# More than any workload opens: limits are not what is measured.
_CONNECTIONS = "12000"


class ServerError(Exception):
    """A server did not come up; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """One way of running a receiver that discards its mail."""

    name: str
    command: Callable[[int, Security], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    workloads: Collection[str] | None = None
    """The keys of those it is measured with; `None` is all."""
    speaks_tls: bool = False


@dataclass(frozen=True, slots=True)
class Receiver:
    """A server that runs and answers."""

    pid: int
    port: int


def pillarbox(loop: str) -> Server:
    """Give the working tree's `pillarbox sink`, with everything on that is on by default."""
    environment = {"PYTHONPATH": str(ROOT / "src")}
    program = [sys.executable, "-m", "pillarbox", "sink"]
    versions = {}
    if loop == "uvloop":
        try:
            versions["uvloop"] = importlib.metadata.version("uvloop")
        except importlib.metadata.PackageNotFoundError:
            raise Unavailable("pillarbox-uvloop is left out: pip install uvloop") from None
    help_asked = subprocess.run(
        [*program, "--help"],
        env=surroundings(environment),
        capture_output=True,
        timeout=_START_SECONDS,
    )
    if help_asked.returncode:
        raise Unavailable("pillarbox is left out: `python -m pillarbox sink --help` fails here")
    options = ["--loop", loop, "--log-level", "warning"]
    options += ["--max-connections", _CONNECTIONS, "--max-connections-per-ip", _CONNECTIONS]

    def command(port: int, security: Security) -> Sequence[str]:
        address = f"127.0.0.1:{port}"
        if security == "clear":
            return [*program, "--listen", address, *options]
        with_tls = [*program, "--tls-cert", str(certificate()), *options]
        if security == "starttls":
            return [*with_tls, "--listen", address, "--require-tls"]
        return [*with_tls, "--listen", "127.0.0.1:0", "--listen-tls", address]

    return Server(f"pillarbox-{loop}", command, environment, versions, speaks_tls=True)


def aiosmtpd(loop: str) -> Server:
    """Give the aiosmtpd of PyPI with a handler that does nothing."""
    fetched = fetch_aiosmtpd()
    script = str(Path(__file__).with_name("aiosmtpd_sink.py"))

    def command(port: int, security: Security) -> Sequence[str]:
        tls = [] if security == "clear" else [security, str(certificate())]
        return [str(fetched.python), script, str(port), loop, *tls]

    return Server(f"aiosmtpd-{loop}", command, versions=fetched.versions, speaks_tls=True)


def smtp_sink() -> Server:
    """Give Postfix's own sink, which is written in C and checks little."""
    postfix = fetch_postfix()
    # As root it does not run unless it is told whom to become.
    options = ["-4", "-m", _CONNECTIONS, *(["-u", "nobody"] if os.geteuid() == 0 else [])]
    return Server(
        "smtp-sink",
        lambda port, _security: [str(postfix.smtp_sink), *options, f"127.0.0.1:{port}", "1024"],
        postfix.environment,
        {"postfix": postfix.version},
    )


def smtpd(which: str) -> Server:
    """Give a `smtpd.SMTPServer` with a process_message() that does nothing: ours or 3.11's.

    With b only: the standard library's has room for five connections that wait to be accepted, so
    that those which open many take minutes.
    """
    if which == "pillarbox":
        python, environment = sys.executable, {"PYTHONPATH": str(ROOT / "src")}
    else:
        find = [str(ROOT / "tools/find-python"), "3.11"]
        found = subprocess.run(find, capture_output=True, text=True, timeout=_START_SECONDS)
        python, environment = found.stdout.partition("\n")[0], {}
        if not python:
            raise Unavailable(
                "smtpd-3.11 is left out: no Python 3.11 was found, and none later has it"
            )
    script = str(Path(__file__).with_name("smtpd_sink.py"))
    return Server(
        f"smtpd-{which}",
        lambda port, _security: [python, script, str(port)],
        environment,
        workloads=("b",),
    )


# In the order of the table's columns; each may raise Unavailable.
SERVERS: dict[str, Callable[[], Server]] = {
    "pillarbox-asyncio": partial(pillarbox, "asyncio"),
    "pillarbox-uvloop": partial(pillarbox, "uvloop"),
    "aiosmtpd-asyncio": partial(aiosmtpd, "asyncio"),
    "aiosmtpd-uvloop": partial(aiosmtpd, "uvloop"),
    "smtp-sink": smtp_sink,
    "smtpd-3.11": partial(smtpd, "3.11"),
    "smtpd-pillarbox": partial(smtpd, "pillarbox"),
}


@contextmanager
def running(server: Server, core: int | None, security: Security = "clear") -> Iterator[Receiver]:
    """Run a server on a core until the block ends, however it ends."""
    port = free_port()
    (CACHE / "logs").mkdir(parents=True, exist_ok=True)
    log = CACHE / "logs" / f"{server.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            server.command(port, security),
            cwd=ROOT,
            env=surroundings(server.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us: we stop it, by its id, and in order
        )
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            _wait_until_ready(process, port, server.name, log, security)
            yield Receiver(process.pid, port)
        finally:
            stop(process)


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the whole environment of a process that is measured."""
    # What a developer's shell tells Python, such as PYTHONASYNCIODEBUG, would be measured with the
    # server. So would compiling its modules at each start, whose freed memory an idle connection
    # then moves into for nothing: the compiled ones are kept, with us.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**ours, "PYTHONPYCACHEPREFIX": str(CACHE / "pycache"), **environment}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, name: str, log: Path, security: Security
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    context = client_context() if security == "tls" else None
    while time.monotonic() < deadline:
        try:
            with Dialogue(port, context) as dialogue:
                dialogue.expect(b"220")
                dialogue.quit()
            return
        except (ConnectionError, LoadError):
            if process.poll() is not None:
                said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
                raise ServerError(
                    f"{name} ended with status {process.returncode} and said: {said[-1]}"
                ) from None
            time.sleep(0.02)
    raise ServerError(f"{name} did not answer within {_START_SECONDS} seconds; its log: {log.name}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, in good order if it can."""
    try:
        process.terminate()
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait(_STOP_SECONDS)
