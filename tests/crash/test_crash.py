"""A crash test of some seconds, and that it sees what it is there to see; `make crash` is long."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.machine import FailingDisk, PowerLoss
from tests.crash.node import ROOT
from tests.crash.run import Plan, crash
from tests.relay.recorder import HAS_RECORDER, build_recorder

# `make test` leaves this folder out on a second and third Python: it is slow.

SEED = "short"

needs_recorder = pytest.mark.skipif(
    not HAS_RECORDER, reason="the recorder needs Linux and a C compiler"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "root"
    path.mkdir()
    return path


def test_killed(root: Path) -> None:
    plan = Plan(messages=400, kills=3, quiet_seconds=20)
    report = asyncio.run(crash(plan, spool=str(root / "spool"), seed=SEED))
    assert report.verdict.is_good, report
    assert report.verdict.acked >= 400
    assert report.kills >= 3
    assert report.verdict.notified > 0


@needs_recorder
def test_a_disk_that_fails(root: Path) -> None:
    machine = FailingDisk(root, build_recorder(root.parent), random.Random(SEED))
    plan = Plan(messages=200, kills=2, large=50, quiet_seconds=20)
    report = asyncio.run(crash(plan, spool=str(root / "spool"), seed=SEED, machine=machine))
    assert report.verdict.is_good, report


@needs_recorder
def test_power_that_is_lost(root: Path) -> None:
    machine = PowerLoss(root, build_recorder(root.parent), random.Random(SEED))
    plan = Plan(messages=200, kills=2, large=50, quiet_seconds=20)
    report = asyncio.run(crash(plan, spool=str(root / "spool"), seed=SEED, machine=machine))
    assert report.verdict.is_good, report


# What the harness has to see


@needs_recorder
@pytest.mark.parametrize("name", ["wal", "body", "directory"])
def test_a_sync_that_is_left_out(name: str) -> None:
    options = ["--messages", "1500", "--kills", "3", "--large", "200", "--quiet", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--without-sync", name, "--seed", SEED, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1, done
    assert "neither delivered nor told of" in done.stdout


def test_an_outcome_that_is_forgotten(root: Path) -> None:
    report = asyncio.run(
        crash(
            Plan(messages=200, kills=2, quiet_seconds=4),
            spool=str(root / "spool"),
            seed=SEED,
            program=(sys.executable, "-m", "tests.crash.forgetful"),
        )
    )
    assert any("got it again" in line for line in report.verdict.wrong), report
