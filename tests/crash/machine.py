"""What nodes run on: a sound machine, one whose disk fails, one that loses its power, or both.

The latter two are seen and done by recorder.c, which is preloaded into the nodes.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.crash.disk import Disk, read_trace
from tests.crash.ledger import Life
from tests.crash.node import Node

__all__ = ["SYNCS", "FailingDisk", "Machine", "PowerLoss", "Sound"]

SYNCS = {"wal": "-wal", "body": "/bodies/", "directory": "/bodies"}
"""What can be left out: of which paths the syncs are."""


class Machine(Protocol):
    """Where nodes run."""

    @property
    def is_sound(self) -> bool:
        """Whether a spool on it always works."""
        ...

    @property
    def outages(self) -> Sequence[tuple[float, float]]:
        """From when to when there was no spool."""
        ...

    async def environment(self) -> Mapping[str, str]:
        """Give what a process is started with, once one can be."""
        ...

    def killed(self, life: Life) -> None:
        """Do what is to be done when a process has been killed, before another starts."""
        ...

    async def trouble(self, nodes: Sequence[Node]) -> None:
        """Make trouble while the nodes run, until this is cancelled."""
        ...


class Sound:
    """A machine that does no harm."""

    is_sound = True
    outages = ()

    async def environment(self) -> Mapping[str, str]:
        """Give nothing."""
        return {}

    def killed(self, life: Life) -> None:
        """Do nothing."""

    async def trouble(self, nodes: Sequence[Node]) -> None:
        """Make none."""


class FailingDisk:
    """Writes and syncs fail for moments, in another way with each start; and the clock is wrong.

    Args:
        root: The spool is in this folder.
        recorder: The library.
        dice: For what fails, and when.
    """

    is_sound = False
    outages = ()
    FAULTS = tuple(
        f"{what} {part} {number}"
        for what in ("write", "sync")
        for part in ("-wal", "/bodies", "spool.sqlite")
        for number in (errno.ENOSPC, errno.EIO)
    )

    def __init__(self, root: Path, recorder: Path, dice: random.Random) -> None:
        self._root = root
        self._recorder = recorder
        self._dice = dice
        self._faults: list[str] = []

    async def environment(self) -> Mapping[str, str]:
        """Choose what fails in this process."""
        if not self._faults:
            self._faults = self._dice.sample(self.FAULTS, len(self.FAULTS))
        return {
            "LD_PRELOAD": str(self._recorder),
            "RECORDER_ROOT": str(self._root),
            "RECORDER_LOG": "/dev/null",
            "RECORDER_FAIL": self._faults.pop(),
            "RECORDER_CLOCK": str(self._dice.randint(-3, 3)),
        }

    def killed(self, life: Life) -> None:
        """Let the disk work."""
        (self._root / "failing").unlink(missing_ok=True)

    async def trouble(self, nodes: Sequence[Node]) -> None:
        """Have the disk fail now and then."""
        failing = self._root / "failing"
        try:
            while True:
                await asyncio.sleep(self._dice.uniform(0.1, 1))
                if all(node.is_listening for node in nodes):
                    failing.touch()
                    await asyncio.sleep(self._dice.uniform(0.02, 0.4))
                    failing.unlink(missing_ok=True)
        finally:
            failing.unlink(missing_ok=True)


class PowerLoss:
    """When the processes are killed, the disk has what was synced, and of the rest what it has.

    Args:
        root: The spool is in this folder, which is empty.
        recorder: The library.
        dice: For what is lost.
        without_sync: A name of `SYNCS`: such syncs are left out.
        failing: How its disk fails as well; it does not where this is not given.
    """

    outages = ()

    def __init__(
        self,
        root: Path,
        recorder: Path,
        dice: random.Random,
        *,
        without_sync: str | None = None,
        failing: FailingDisk | None = None,
    ) -> None:
        self.is_sound = failing is None
        self._root = root
        self._recorder = recorder
        self._trace = root.with_name("trace")
        self._disk = Disk(dice)
        self._without_sync = without_sync
        self._failing = failing

    async def environment(self) -> Mapping[str, str]:
        """Have all seen that a disk sees."""
        return {
            **(await self._failing.environment() if self._failing else {}),
            "LD_PRELOAD": str(self._recorder),
            "RECORDER_ROOT": str(self._root),
            "RECORDER_LOG": "/dev/null",
            "RECORDER_TRACE": str(self._trace),
            **({"RECORDER_DROP": SYNCS[self._without_sync]} if self._without_sync else {}),
        }

    def killed(self, life: Life) -> None:
        """Make the folder what a disk would have."""
        for record in read_trace(self._trace):
            self._disk.do(record)
        self._trace.unlink(missing_ok=True)
        self._disk.lose_power()
        self._disk.write_to(self._root)

    async def trouble(self, nodes: Sequence[Node]) -> None:
        """Have the disk fail, if it does."""
        if self._failing is not None:
            await self._failing.trouble(nodes)
