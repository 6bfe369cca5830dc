"""The long soak: `make soak`, or `python -m tests.soak --seconds 600 --seed mine`.

First a crowd of ten thousand, then rounds of chaos in this process and against the real program, on
each event loop. Exits with 1, and tells the seed, at the first thing that is wrong.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.conftest import NEW_LOOPS
from tests.soak.crowd import crowd, room_for
from tests.soak.program import soak_program
from tests.soak.rounds import run_rounds

CROWD = 10_000


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seconds", type=float, default=240, help="how long in all (%(default)s)")
    parser.add_argument("--seed", default=secrets.token_hex(3), help="where the dice begin")
    parser.add_argument("--loop", choices=[*NEW_LOOPS], action="append", help="default: all")
    arguments = parser.parse_args()
    loops = arguments.loop or [*NEW_LOOPS]
    each = arguments.seconds / len(loops) / 2
    _tell(f"seed {arguments.seed}")
    for name in loops:
        connections = room_for(CROWD)
        octets = crowd(connections, "--loop", name)
        _tell(f"{name}: a crowd of {connections}, {octets} octets each")
        with tempfile.TemporaryDirectory() as folder:
            seed = f"{arguments.seed}-{name}"
            sessions = run_rounds(seed, each, NEW_LOOPS[name], Path(folder), _tell)
            _tell(f"{name}: {sessions} sessions in process, nothing left of them")
            soak_program(seed, each, name, Path(folder), _tell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
