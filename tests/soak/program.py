"""A soak of the real program: `pillarbox serve` with chaos for a handler, from outside.

What a process has open and how much memory it takes is read from /proc; what it accepted, from the
ledger that it writes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cli.program import Program
from tests.soak.chaos import Ledger
from tests.soak.client import FATES, Client, Outcome, Target
from tests.soak.rounds import Authority, check_mail, summary

__all__ = ["soak_program"]

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 150
MESSAGES = 3
HANG_SECONDS = 30.0
# Its time is no fake: whoever reads nothing is waited for, for seconds. Not in the short run.
QUICK_FATES = tuple(fate for fate in FATES if fate != "deaf")
# What asyncio says of what nobody caught.
COMPLAINTS = ("never retrieved", "never awaited", "Exception in", "Fatal error", "LocalProtocol")


def soak_program(
    seed: str,
    seconds: float,
    loop_name: str,
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Send chaos to the program for so long, at least once; end it in the middle of a last time.

    Raises:
        AssertionError: Something is wrong or left behind.
    """
    authority = Authority(folder)
    file = folder / f"ledger-{loop_name}"
    environment = {"SOAK_SEED": seed, "SOAK_LEDGER": str(file), "PYTHONPATH": str(ROOT)}
    options = ["--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"]
    options += ["--tls-cert", str(authority.path), "--loop", loop_name, "--idle-timeout", "1"]
    options += ["--max-connections", "120", "--max-connections-per-ip", "120"]
    options += ["--max-message-bytes", "1000000"]
    arguments = ("serve", "tests.soak.chaos:from_environment", *options)
    outcome = Outcome()
    fates = FATES if seconds else QUICK_FATES
    with Program(*arguments, folder=ROOT, env=environment) as program:
        targets = [Target(program.ready_port()), Target(program.ready_port(), is_tls=True)]
        pid = program.process.pid
        began = time.monotonic()
        rounds = 0
        at_first = (0, 0)
        while not rounds or time.monotonic() - began < seconds:
            asyncio.run(_clients(f"{seed}-{rounds}", rounds, targets, authority, outcome, fates))
            rounds += 1
            authority.change(rounds % 2)
            now = _settled(pid)
            tell(f"round {rounds}: {summary(outcome)}, {now[0]} open, {now[1] // 1000} kB")
            if rounds == 1:
                at_first = now
            assert now[0] == at_first[0], "descriptors are left open"
            if rounds == 10:
                at_first = now
        if rounds > 20:
            assert now[1] - at_first[1] < 10_000_000, "memory grows"
        asyncio.run(
            _clients(f"{seed}-last", rounds, targets, authority, outcome, QUICK_FATES, program)
        )
        status, lines = program.ended()
    assert status == 0
    said = [line for line in lines if any(complaint in line for complaint in COMPLAINTS)]
    assert said == []
    lost = check_mail(_read(file), outcome)
    tell(f"{rounds} rounds, {summary(outcome)}, {lost} accepted of those")


def _settled(pid: int) -> tuple[int, int]:
    """Count descriptors and resident octets, once what was said goodbye to is closed."""
    deadline = time.monotonic() + 10
    least = 10_000
    while True:
        count = len(os.listdir(f"/proc/{pid}/fd"))
        if count == least or time.monotonic() > deadline:
            break
        least = count
        time.sleep(0.2)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return count, pages * os.sysconf("SC_PAGE_SIZE")


async def _clients(
    seed: str,
    number: int,
    targets: list[Target],
    authority: Authority,
    outcome: Outcome,
    fates: Sequence[str],
    program: Program | None = None,
) -> None:
    dice = random.Random(seed)
    first = number * CLIENTS * MESSAGES
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        for at in range(CLIENTS):
            numbers = range(first + at * MESSAGES, first + (at + 1) * MESSAGES)
            client = Client(
                dice.choice(targets), f"{seed}-{at}", numbers, outcome, authority.context, fates
            )
            group.create_task(client.run())
        if program is not None:
            await asyncio.sleep(dice.random() * 0.2)
            program.signal(signal.SIGTERM)


def _read(file: Path) -> Ledger:
    ledger = Ledger()
    for line in file.read_text().splitlines():
        number, state = line.split()
        if state == "unread":
            ledger.unread.add(int(number))
            continue
        ledger.keep(int(number))
        if state == "spoiled":
            ledger.spoiled.append(int(number))
    return ledger
