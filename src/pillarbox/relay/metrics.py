"""A relay's figures for Prometheus, beside those of its server (pillarbox/metrics.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pillarbox.metrics import Figure, families
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.spool import Statistics

__all__ = ["RELAY_FIGURES", "RelayCollector", "RelayFigures"]

RELAY_FIGURES = (
    Figure(
        "pillarbox_relay_submitted_total",
        "Messages taken into the spool.",
        {"": "submitted"},
    ),
    Figure(
        "pillarbox_relay_submitted_octets_total",
        "Octets of these messages.",
        {"": "submitted_octets"},
    ),
    Figure(
        "pillarbox_relay_held_back_total",
        "Messages answered late because of the backlog, or refused (452) for it.",
        {"late": "held_back", "refused": "refused"},
        "how",
    ),
    Figure(
        "pillarbox_relay_attempts_total",
        "Transactions with other servers.",
        {"": "attempts"},
    ),
    Figure(
        "pillarbox_relay_recipients_total",
        "Recipients by what became of them: delivered, failed for good (the sender is told), or"
        " deferred, counted at each attempt.",
        {"delivered": "delivered", "failed": "failed", "deferred": "deferred"},
        "result",
    ),
    Figure(
        "pillarbox_relay_expired_total",
        "Recipients that failed because they could not be delivered in time.",
        {"": "expired"},
    ),
    Figure(
        "pillarbox_relay_in_doubt_total",
        "Recipients that may get the message twice: the other server took it and did not answer.",
        {"": "in_doubt"},
    ),
    Figure(
        "pillarbox_relay_sessions_total",
        "Sessions with other servers, and how often there was none.",
        {"opened": "sessions_opened", "failed": "sessions_failed"},
        "result",
    ),
    Figure(
        "pillarbox_relay_sessions_open",
        "Sessions with other servers that are open now.",
        {"": "sessions_open"},
    ),
    Figure(
        "pillarbox_relay_ready",
        "Messages in memory that wait for a session.",
        {"": "ready"},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFigures:
    """All that is told of a relay.

    Attributes:
        counters: What it counts.
        commits: How often its spool wrote and waited for the disk.
        statistics: What is in the spool; `None` before somebody looked.
        missed_events: Events that no webhook took.
    """

    counters: RelayCounters
    commits: int = 0
    statistics: Statistics | None = None
    missed_events: int = 0


class RelayCollector(Collector):
    """Collects the figures of a relay for a registry of `prometheus_client`.

    Args:
        read: Gives the figures as they are now.
        now: Tells the time in seconds since 1970.
    """

    def __init__(
        self, read: Callable[[], RelayFigures], *, now: Callable[[], float] = time.time
    ) -> None:
        self._read = read
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Give all figures."""
        figures = self._read()
        yield from families(RELAY_FIGURES, figures.counters)
        yield from families(_OTHERS, figures)
        if figures.statistics is not None:
            yield from self._spool(figures.statistics)

    def _spool(self, statistics: Statistics) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "pillarbox_relay_queue_messages", "Messages in the spool.", statistics.messages
        )
        yield GaugeMetricFamily(
            "pillarbox_relay_queue_octets", "Octets of these messages.", statistics.octets
        )
        yield GaugeMetricFamily(
            "pillarbox_relay_queue_held_messages",
            "Messages in the spool that somebody holds.",
            statistics.held,
        )
        counts = statistics.destinations.values()
        recipients = GaugeMetricFamily(
            "pillarbox_relay_queue_recipients",
            "Recipients in the spool that wait, and that are being tried.",
            labels=["state"],
        )
        recipients.add_metric(["queued"], sum(queued for queued, _, _ in counts))
        recipients.add_metric(["active"], sum(active for _, active, _ in counts))
        yield recipients
        yield GaugeMetricFamily(
            "pillarbox_relay_queue_oldest_seconds",
            "How old the oldest message in the spool is; 0 without one.",
            0.0 if statistics.oldest is None else max(0.0, self._now() - statistics.oldest),
        )
        yield GaugeMetricFamily(
            "pillarbox_relay_suspended_destinations",
            "Destinations that somebody has suspended.",
            sum(is_suspended for _, _, is_suspended in counts),
        )


_OTHERS = (
    Figure(
        "pillarbox_relay_spool_commits_total",
        "How often the spool wrote changes, many of them together, and waited for the disk.",
        {"": "commits"},
    ),
    Figure(
        "pillarbox_relay_webhook_missed_total",
        "Events that the webhook did not take.",
        {"": "missed_events"},
    ),
)
