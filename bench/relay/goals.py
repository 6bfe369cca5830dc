"""The goals of `pillarbox relay`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.relay.cycles import WAYS, Cycles
from bench.relay.flow import Flow, Load
from bench.relay.relays import PILLARBOX, POSTFIX, POSTGRES

BOTH = (PILLARBOX, POSTFIX)

ONE = Load("one", "a connection for each message", BOTH)
REUSED = Load("reused", "connections reused", BOTH, is_reused=True)
SLOW = Load("slow", "one each, 2 ms added to each sync", BOTH, delay=0.002)
SLOW_REUSED = Load(
    "slow-reused", "reused, 2 ms added to each sync", BOTH, is_reused=True, delay=0.002
)
WIDE = Load(
    "wide",
    "200 sessions, connections reused",
    (PILLARBOX, POSTGRES),
    sessions=200,
    is_reused=True,
)

LOADS = (ONE, REUSED, SLOW, SLOW_REUSED, WIDE)

Flows = Mapping[tuple[str, str], Sequence[Flow]]
"""What was measured of each load and relay, one a round."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that should not be on the wrong side of its limit."""

    title: str
    limit: float
    unit: str = ""
    more_is_better: bool = False

    def is_met_by(self, number: float) -> bool:
        """Tell whether this number reaches it."""
        return number >= self.limit if self.more_is_better else number <= self.limit


def _faster(load: Load, times: float) -> tuple[Load, Goal]:
    return load, Goal(f"{load.title}: delivered/s of Postfix", times, "x", more_is_better=True)


FASTER = (_faster(ONE, 2.5), _faster(REUSED, 4), _faster(SLOW, 3), _faster(SLOW_REUSED, 3))
CHEAPER = tuple((load, Goal(f"{load.title}: CPU of Postfix", 0.3, "x")) for load in (ONE, REUSED))
SYNCS = (
    (ONE, Goal("syncs a message, 20 sessions, a connection each", 0.3)),
    (REUSED, Goal("syncs a message, 20 sessions, reused", 0.3)),
)
SHARED_RATE = Goal("on PostgreSQL, 200 sessions: delivered/s", 3000, more_is_better=True)
CYCLES = {
    way: (
        Goal(f"PostgreSQL alone, 200 sessions, {way}: cycles/s", 3000, more_is_better=True),
        Goal(f"PostgreSQL alone, 200 sessions, {way}: CPU a cycle, database included", 0.25, " ms"),
    )
    for way in WAYS
}
ACCEPT_SYNCS = {
    20: Goal("syncs a message, the spool alone, 20 sessions", 0.3),
    200: Goal("syncs a message, the spool alone, 200 sessions", 0.02),
}
CROWDED = Goal(
    "PostgreSQL, a million for a dead destination: another's rate without them",
    0.9,
    "x",
    more_is_better=True,
)
STATISTICS = Goal("PostgreSQL, a million queued: statistics", 1, " s")
START = Goal("mail accepted after the start with 100,000 queued", 2, " s")
START_KILLED = Goal("the same, after a kill in the middle of all of them", 2, " s")

ALL = (
    *(goal for _, goal in (*FASTER, *CHEAPER, *SYNCS)),
    SHARED_RATE,
    *(goal for goals in CYCLES.values() for goal in goals),
    CROWDED,
    STATISTICS,
    *ACCEPT_SYNCS.values(),
    START,
    START_KILLED,
)


def rate(flows: Sequence[Flow]) -> float:
    """Give messages delivered a second, the median of the rounds."""
    return median(flow.delivered_per_second for flow in flows)


def cpu(flows: Sequence[Flow]) -> float:
    """Give CPU a message in ms, the median of the rounds."""
    return median(flow.cpu_per_message for flow in flows)


def reached(flows: Flows) -> dict[Goal, float]:
    """Compare what was measured; what is missing leaves its goals out.

    Against Postfix the medians count: its rounds differ by more than a half, and its luckiest says
    as little as its worst. Against a number the best counts: what disturbs can only make it less.
    """
    numbers: dict[Goal, float] = {}
    for load, goal in FASTER:
        if all((load.key, relay) in flows for relay in BOTH):
            numbers[goal] = rate(flows[load.key, PILLARBOX]) / rate(flows[load.key, POSTFIX])
    for load, goal in CHEAPER:
        if all((load.key, relay) in flows for relay in BOTH):
            numbers[goal] = cpu(flows[load.key, PILLARBOX]) / cpu(flows[load.key, POSTFIX])
    for load, goal in SYNCS:
        if (load.key, PILLARBOX) in flows:
            numbers[goal] = min(flow.syncs_per_message for flow in flows[load.key, PILLARBOX])
    if shared := flows.get((WIDE.key, POSTGRES)):
        numbers[SHARED_RATE] = max(flow.delivered_per_second for flow in shared)
    return numbers


def reached_alone(found: Sequence[Cycles]) -> dict[Goal, float]:
    """Compare what was measured of the spool on PostgreSQL alone."""
    numbers: dict[Goal, float] = {}
    for way, (rate_goal, cpu_goal) in CYCLES.items():
        if some := [one for one in found if one.kind == POSTGRES and one.way == way]:
            numbers[rate_goal] = max(one.per_second for one in some)
            numbers[cpu_goal] = min(one.cpu_ms for one in some)
    return numbers
