"""The figures as Prometheus reads them, by its own library; and the table in the guide."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families

from pillarbox import __version__
from pillarbox.counters import Counters
from pillarbox.metrics import FIGURES, ServerCollector

GUIDE = Path(__file__).parent.parent / "docs" / "operating.md"


def served(counters: Counters) -> dict[str, float]:
    """Give each line that is served, by its name and labels."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(ServerCollector(lambda: counters))
    text = prometheus_client.generate_latest(registry).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_each_counter_is_told_once() -> None:
    told = [field for figure in FIGURES for field in figure.fields.values()]
    assert sorted(told) == sorted(field.name for field in fields(Counters))


def test_values() -> None:
    numbers = {field.name: number for number, field in enumerate(fields(Counters), 1)}
    told = served(Counters(**numbers))
    assert told.pop(f'pillarbox_info{{version="{__version__}"}}') == 1
    assert sorted(told.values()) == sorted(numbers.values())
    assert told["pillarbox_connections_total"] == numbers["connections"]
    assert told['pillarbox_messages_total{result="deferred"}'] == numbers["messages_deferred"]
    assert told['pillarbox_timeouts_total{reason="idle"}'] == numbers["timeouts_idle"]


def test_types_and_names_are_prometheus() -> None:
    registry = prometheus_client.CollectorRegistry()
    registry.register(ServerCollector(Counters))
    text = prometheus_client.generate_latest(registry).decode()
    for family in text_string_to_metric_families(text):
        assert re.fullmatch(r"pillarbox[a-z_]*", family.name)
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")


def test_the_guide_lists_what_is_served() -> None:
    listed = {}
    for name, cell in re.findall(r"^\| `(pillarbox_\w+)` \|([^|]*)\|", GUIDE.read_text(), re.M):
        label, *values = re.findall(r"`(\w+)`", cell) or [""]
        listed[name] = (label, values or [""])
    assert listed.pop("pillarbox_info") == ("version", [""])
    assert listed == {figure.name: (figure.label, list(figure.fields)) for figure in FIGURES}
