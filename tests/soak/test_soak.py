"""A soak of some seconds; `make soak` has the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NEW_LOOPS
from tests.soak.crowd import crowd, room_for
from tests.soak.program import soak_program
from tests.soak.rounds import run_rounds

# `make test` leaves this folder out on a second and third Python: it is slow.
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")

SEED = "short"
CROWD = 2000


@pytest.mark.parametrize("loop_name", NEW_LOOPS)
def test_in_this_process(loop_name: str, tmp_path: Path) -> None:
    sessions = run_rounds(f"{SEED}-{loop_name}", 0, NEW_LOOPS[loop_name], tmp_path)
    assert sessions >= 600


def test_the_program(tmp_path: Path) -> None:
    soak_program(SEED, 0, list(NEW_LOOPS)[-1], tmp_path)


def test_a_crowd() -> None:
    assert crowd(room_for(CROWD)) > 0
