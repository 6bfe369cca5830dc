"""A part of the relay alone, measured in a process of its own: a module that prints JSON."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from bench.fetch import ROOT
from bench.relay.flow import OCTETS
from bench.servers import surroundings

BODY = (b"x" * 78 + b"\r\n") * (OCTETS // 80)


def measured(
    module: str,
    *arguments: object,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Run a module of this package, and give what it has printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=surroundings({"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", **(environment or {})}),
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout_seconds,
    )
    return json.loads(done.stdout)
