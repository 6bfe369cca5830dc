"""The goals: how far Pillarbox wants to be from what it is compared with.

A goal is a number made of one run's measurements and a limit. CPU is compared with CPU of the
same run and the same event loop, never with a number noted elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

# The number that counts of each workload and server; absent where it was not measured.
Figures = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that should not be on the wrong side of its limit, nor, better, of its stretch."""

    workload: str
    title: str
    measured: Callable[[Figures], float]  # raises KeyError where a part is missing
    limit: float
    stretch: float | None = None
    more_is_better: bool = False
    unit: str = "x"

    def met_by(self, number: float, limit: float) -> bool:
        """Tell whether this number reaches this limit."""
        return number >= limit if self.more_is_better else number <= limit


def faster(workload: str, loop: str, times: float, stretch: float | None = None) -> Goal:
    """Want aiosmtpd to need so many times the CPU of Pillarbox, both on this loop."""
    return Goal(
        workload,
        f"less CPU than aiosmtpd, {loop}",
        lambda of: of[workload, f"aiosmtpd-{loop}"] / of[workload, f"pillarbox-{loop}"],
        times,
        stretch,
        more_is_better=True,
    )


def near_c(workload: str, times: float, stretch: float | None = None) -> Goal:
    """Want Pillarbox on uvloop to need at most so many times the CPU of smtp-sink."""
    return Goal(
        workload,
        "CPU of smtp-sink, uvloop",
        lambda of: of[workload, "pillarbox-uvloop"] / of[workload, "smtp-sink"],
        times,
        stretch,
    )


def cheaper(workload: str, loop: str, times: float) -> Goal:
    """Want Pillarbox to need at most so many times the CPU of aiosmtpd, both on this loop."""
    return Goal(
        workload,
        f"CPU of aiosmtpd, {loop}",
        lambda of: of[workload, f"pillarbox-{loop}"] / of[workload, f"aiosmtpd-{loop}"],
        times,
    )


def small(workload: str, loop: str, limit: float, unit: str, stretch: float | None = None) -> Goal:
    """Want Pillarbox to need at most so much memory."""
    return Goal(
        workload,
        f"memory, {loop}",
        lambda of: of[workload, f"pillarbox-{loop}"],
        limit,
        stretch,
        unit=f" {unit}",
    )


GOALS = (
    faster("a", "asyncio", 4.5),
    faster("a", "uvloop", 7, stretch=8),
    near_c("a", 1.3, stretch=1),
    faster("b", "asyncio", 6),
    faster("b", "uvloop", 8, stretch=9),
    near_c("b", 1.8, stretch=1.6),
    Goal(
        "b",
        "CPU of 3.11's smtpd, ours",
        lambda of: of["b", "smtpd-pillarbox"] / of["b", "smtpd-3.11"],
        1,
    ),
    faster("c", "asyncio", 14),
    faster("c", "uvloop", 15, stretch=18),
    near_c("c", 0.6),
    faster("d", "asyncio", 14),
    faster("d", "uvloop", 15, stretch=18),
    near_c("d", 0.6),
    faster("f", "asyncio", 40),
    faster("f", "uvloop", 45, stretch=55),
    near_c("f", 3.3),
    cheaper("at", "uvloop", 0.55),
    cheaper("as", "uvloop", 0.55),
    small("idle", "asyncio", 4, "KiB"),
    small("idle", "uvloop", 2.5, "KiB"),
    small("idle10k", "asyncio", 100, "MB"),
    small("idle10k", "uvloop", 100, "MB"),
    small("memory", "asyncio", 25, "MB", stretch=15),
    small("memory", "uvloop", 25, "MB", stretch=15),
)
