"""Open files: the limit is raised to what the options need, or the log tells what to do.

That the program then takes so many connections: tests/soak/crowd.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.program import Client, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")

LOCAL = ("--listen", "127.0.0.1:0")

APP = """
import resource
from pillarbox import Reply

def handler(message):
    return Reply(250, "2.0.0", "%d of %d" % resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limited(limits: str) -> tuple[str, ...]:
    return ("sh", "-c", f'{limits}; exec "$@"', "-")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(
    ("connections", "limits", "expected"),
    [
        ("500", "ulimit -S -n 256; ulimit -H -n 4000", "1100 of 4000"),
        ("1500", "ulimit -S -n 256; ulimit -H -n 2000", "2000 of 2000"),
        ("10", "ulimit -S -n 3000; ulimit -H -n 4000", "3000 of 4000"),
    ],
    ids=["raised", "as far as it goes", "enough already"],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_limit(app: Path, connections: str, limits: str, expected: str, workers: str) -> None:
    options = (*LOCAL, "--max-connections", connections, "--workers", workers)
    prefix = limited(limits)
    with Program("serve", "app:handler", *options, folder=app, prefix=prefix) as program:
        with Client(program.ready_port()) as client:
            assert client.deliver(b"x\r\n") == f"250 2.0.0 {expected}"
        assert program.stop() == (0, [])


def test_too_few() -> None:
    options = (*LOCAL, "--max-connections", "1000")
    with Program("sink", *options, prefix=limited("ulimit -n 300")) as program:
        assert program.line().endswith(
            "300 files may be open, too few for --max-connections 1000: raise that limit"
            " (ulimit -n, or LimitNOFILE= in systemd), or write --max-connections 200"
        )
        with Client(program.ready_port()) as client:
            assert client.deliver(b"x\r\n").startswith("250")
        assert program.stop() == (0, [])
