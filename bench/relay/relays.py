"""The relays that are compared. Each begins with an empty queue unless it is told otherwise."""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from bench.fetch import CACHE, ROOT
from bench.relay.postfix import postfix
from bench.servers import Server

FOLDER = CACHE / "relay"
PILLARBOX = "pillarbox"
POSTGRES = "postgres"
POSTFIX = "postfix"

_CONNECTIONS = "1000"

MakeRelay: TypeAlias = Callable[[int, Mapping[str, str]], Server]
"""Gives a relay to a port of this machine, whose processes have this in their environment."""


def pillarbox(
    next_hop: int, environment: Mapping[str, str], *, spool: Path | None = None
) -> Server:
    """Give the working tree's `pillarbox relay`, with what is on by default.

    Args:
        next_hop: The port that it delivers to.
        environment: What else it has in its environment.
        spool: A spool with something in it; a new one where it is not given.
    """
    folder = spool or FOLDER / PILLARBOX

    def command(port: int, _security: object) -> list[str]:
        if spool is None:
            shutil.rmtree(folder, ignore_errors=True)
        return [
            *(sys.executable, "-m", "pillarbox", "relay", "--listen", f"127.0.0.1:{port}"),
            *("--to", f"127.0.0.1:{next_hop}", "--spool", str(folder)),
            *("--hostname", "relay.bench.invalid", "--log-level", "warning"),
            *("--max-connections", _CONNECTIONS, "--max-connections-per-ip", _CONNECTIONS),
        ]

    return Server(PILLARBOX, command, {"PYTHONPATH": str(ROOT / "src"), **environment})


def postgres(next_hop: int, environment: Mapping[str, str]) -> Server:
    """Give the same relay with its spool on a PostgreSQL, which is one of its processes."""

    def command(port: int, _security: object) -> list[str]:
        shutil.rmtree(FOLDER / POSTGRES, ignore_errors=True)
        return [
            *(sys.executable, "-m", "bench.relay.database", str(FOLDER / POSTGRES), "--"),
            *("relay", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{next_hop}"),
            *("--hostname", "relay.bench.invalid", "--log-level", "warning"),
            *("--max-connections", _CONNECTIONS, "--max-connections-per-ip", _CONNECTIONS),
        ]

    paths = f"{ROOT / 'src'}:{ROOT}"
    return Server(POSTGRES, command, {"PYTHONPATH": paths, **environment})


RELAYS: dict[str, MakeRelay] = {
    PILLARBOX: pillarbox,
    POSTGRES: postgres,
    POSTFIX: lambda next_hop, environment: postfix(FOLDER / POSTFIX, next_hop, environment),
}
