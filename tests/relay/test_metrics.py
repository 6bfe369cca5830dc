"""A relay's figures as Prometheus gets them."""

from __future__ import annotations

from dataclasses import fields

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest

from pillarbox.relay.event import RelayCounters
from pillarbox.relay.metrics import RELAY_FIGURES, RelayCollector, RelayFigures
from pillarbox.relay.spool import Statistics


def scrape(figures: RelayFigures) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(RelayCollector(lambda: figures, now=lambda: 1_000.0))
    lines = generate_latest(registry).decode().splitlines()
    told = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in told}


def test_all_that_is_counted_is_told() -> None:
    told = [field for figure in RELAY_FIGURES for field in figure.fields.values()]
    known = [field.name for field in fields(RelayCounters)]
    # Of what is in the spool and in memory, statistics tell more.
    assert set(told) == set(known) - {"backlog", "ready_octets"}
    assert len(set(told)) == len(told)


def test_figures() -> None:
    statistics = Statistics(
        messages=3,
        octets=4000,
        held=1,
        oldest=900.0,
        destinations={"a.example": (2, 1, False), "b.example": (5, 0, True)},
    )
    counters = RelayCounters(delivered=7, failed=2, deferred=4, sessions_failed=1)
    told = scrape(
        RelayFigures(counters=counters, commits=9, statistics=statistics, missed_events=6)
    )
    assert told['pillarbox_relay_recipients_total{result="delivered"}'] == 7
    assert told['pillarbox_relay_recipients_total{result="failed"}'] == 2
    assert told['pillarbox_relay_recipients_total{result="deferred"}'] == 4
    assert told['pillarbox_relay_sessions_total{result="failed"}'] == 1
    assert told["pillarbox_relay_spool_commits_total"] == 9
    assert told["pillarbox_relay_webhook_missed_total"] == 6
    assert told["pillarbox_relay_queue_messages"] == 3
    assert told["pillarbox_relay_queue_octets"] == 4000
    assert told["pillarbox_relay_queue_held_messages"] == 1
    assert told['pillarbox_relay_queue_recipients{state="queued"}'] == 7
    assert told['pillarbox_relay_queue_recipients{state="active"}'] == 1
    assert told["pillarbox_relay_queue_oldest_seconds"] == 100
    assert told["pillarbox_relay_suspended_destinations"] == 1


def test_before_anything_is_known() -> None:
    told = scrape(RelayFigures(counters=RelayCounters()))
    assert told["pillarbox_relay_attempts_total"] == 0
    assert not any("queue" in name for name in told)


def test_an_empty_spool_has_no_age() -> None:
    empty = Statistics(messages=0, octets=0, held=0, oldest=None, destinations={})
    told = scrape(RelayFigures(counters=RelayCounters(), statistics=empty))
    assert told["pillarbox_relay_queue_oldest_seconds"] == 0
