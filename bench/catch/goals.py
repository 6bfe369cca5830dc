"""The goals of `pillarbox catch`."""

from dataclasses import dataclass

# Mailpit elsewhere, on another machine and at another time: messages a second, each on a new
# connection. For where there is no Mailpit to measure.
MAILPIT_ELSEWHERE = "180-430/s"


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that should not be on the wrong side of its limit."""

    title: str
    limit: float
    unit: str
    more_is_better: bool = False

    def is_met_by(self, number: float) -> bool:
        """Tell whether this number reaches it."""
        return number >= self.limit if self.more_is_better else number <= self.limit


INTAKE = Goal("mail in, four connections", 1_500, "/s", more_is_better=True)
INTAKE_CPU = Goal("mail in, of one core by its CPU", 1_500, "/s", more_is_better=True)
TIMES_MAILPIT = Goal("mail in, times Mailpit, CPU for CPU", 5, "x", more_is_better=True)
SEARCH = Goal("search with hits among 100,000, the slowest kind", 50, " ms")
LIST = Goal("list among 100,000", 10, " ms")
READY = Goal("ready, with the page", 500, " ms")
READY_WITHOUT = Goal("ready, without the page", 300, " ms")
RESIDENT = Goal("memory at start", 45, " MB")
RESIDENT_FILLED = Goal("memory with 20,000 mails in a file", 70, " MB")
PUSH = Goal("arrival to page, p95", 100, " ms")

ALL = (
    INTAKE,
    INTAKE_CPU,
    TIMES_MAILPIT,
    SEARCH,
    LIST,
    READY,
    READY_WITHOUT,
    RESIDENT,
    RESIDENT_FILLED,
    PUSH,
)
