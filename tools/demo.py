"""`make demo`: starts `pillarbox catch` and fills it, by `pillarbox send`, with all kinds of mail.

Options are those of catch: `make demo ARGS="--db demo.db"`. With `--write FOLDER` alone the mail is
written to files, to be sent elsewhere: `pillarbox send --server HOST:PORT FOLDER/*.eml`.
"""

# ruff: noqa: T201

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from demo_mails import files

PILLARBOX = [sys.executable, "-m", "pillarbox"]
_LISTENING = re.compile(r"listening on (smtp|http)://(\S+)\n")
_BOUNCE = "-bounce.eml"


def main(arguments: list[str]) -> int:
    """Run it; give the exit status."""
    if arguments[:1] == ["--write"]:
        if len(arguments) != 2:
            print("demo: write --write FOLDER", file=sys.stderr)
            return 2
        write(Path(arguments[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder))
        # Ctrl-C is for catch, which ends in good order, and we behind it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        catch = subprocess.Popen(
            [*PILLARBOX, "catch", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_interrupts,
        )
        signal.signal(signal.SIGTERM, lambda *_: catch.terminate())
        assert catch.stderr is not None
        server, page = _ready(catch.stderr, has_page=not _has_no_page(arguments))
        if server:
            _fill(server, paths)
            print(f"\nfilled with {len(paths)} messages", file=sys.stderr)
            if page:
                print(f"look at them: http://{page}; Ctrl-C ends it", file=sys.stderr, flush=True)
        for line in catch.stderr:
            print(line, end="", file=sys.stderr, flush=True)
        return catch.wait()


def write(folder: Path) -> list[Path]:
    """Write the messages; give their files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, octets in files():
        paths.append(folder / name)
        paths[-1].write_bytes(octets)
    return paths


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _has_no_page(arguments: list[str]) -> bool:
    return "--http=none" in arguments or ("--http", "none") in itertools.pairwise(arguments)


def _ready(said: IO[str], *, has_page: bool) -> tuple[str, str]:
    """Pass on what catch says until it is ready; give the addresses of mail and page."""
    addresses = {"smtp": "", "http": ""}
    for line in said:
        print(line, end="", file=sys.stderr, flush=True)
        if found := _LISTENING.fullmatch(line):
            addresses[found[1]] = addresses[found[1]] or found[2]
        if addresses["http" if has_page else "smtp"]:
            break
    return addresses["smtp"], addresses["http"]


def _fill(server: str, paths: list[Path]) -> None:
    send = [*PILLARBOX, "send", "--server", server]
    bounces = [path for path in paths if path.name.endswith(_BOUNCE)]
    others = [path for path in paths if path not in bounces]
    subprocess.run([*send, *map(str, others)], stdout=sys.stderr, check=False)
    # A bounce has the null sender (RFC 5321 §4.5.5).
    null = [*send, "--from", "<>", *map(str, bounces)]
    subprocess.run(null, stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
