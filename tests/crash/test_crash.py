"""A crash test of some seconds, and that it sees what it is there to see; `make crash` is long."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.machine import FailingDisk, PowerLoss
from tests.crash.node import ROOT
from tests.crash.run import Plan, Report, crash
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
    plan = Plan(messages=200, kills=2, quiet_seconds=20)
    report = asyncio.run(crash(plan, spool=str(root / "spool"), seed=SEED))
    assert report.verdict.is_good, report
    assert report.verdict.acked >= 200
    assert report.kills >= 2
    assert report.verdict.notified > 0


@needs_recorder
def test_a_disk_that_fails(root: Path) -> None:
    machine = FailingDisk(root, build_recorder(root.parent), random.Random(SEED))
    plan = Plan(messages=150, kills=2, large=50, quiet_seconds=20)
    report = asyncio.run(crash(plan, spool=str(root / "spool"), seed=SEED, machine=machine))
    assert report.verdict.is_good, report


def lose_power(root: Path, plan: Plan, *, without_sync: str | None = None) -> Report:
    recorder = build_recorder(root.parent)
    machine = PowerLoss(root, recorder, random.Random(SEED), without_sync=without_sync)
    return asyncio.run(crash(plan, spool=str(root / "spool"), seed=SEED, machine=machine))


@needs_recorder
def test_power_that_is_lost(root: Path) -> None:
    report = lose_power(root, Plan(messages=150, kills=2, large=100, quiet_seconds=20))
    assert report.verdict.is_good, report


# What it has to see


@needs_recorder
def test_a_sync_of_the_log_that_is_left_out(tmp_path: Path) -> None:
    options = ["--messages", "2000", "--kills", "1", "--quiet", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", "--without-sync", "wal", "--seed", SEED, *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1, done
    assert "neither delivered nor told of" in done.stdout


@needs_recorder
@pytest.mark.parametrize("name", ["body", "directory"])
def test_a_sync_of_a_body_that_is_left_out(root: Path, name: str) -> None:
    plan = Plan(messages=50, kills=1, large=300, is_away=True, quiet_seconds=2)
    assert lose_power(root, plan, without_sync=name).verdict.lost


def test_an_outcome_that_is_forgotten(root: Path) -> None:
    report = asyncio.run(
        crash(
            Plan(messages=150, kills=1, quiet_seconds=2),
            spool=str(root / "spool"),
            seed=SEED,
            program=(sys.executable, "-m", "tests.crash.forgetful"),
        )
    )
    assert any("got it again" in line for line in report.verdict.wrong), report
