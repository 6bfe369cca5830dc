"""A server's figures for Prometheus: their names, and a collector for its Python library.

::

    from prometheus_client import REGISTRY, start_http_server

    REGISTRY.register(ServerCollector(lambda: server.counters))
    start_http_server(9100)

`--metrics` of the command line does the same for all processes of a server: cli/metrics.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pillarbox import __version__
from pillarbox.counters import Counters

try:
    from prometheus_client import Metric
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        'pillarbox.metrics needs the library prometheus-client; pip install "pillarbox[metrics]"',
        name=error.name,
    ) from None

__all__ = ["FIGURES", "Figure", "ServerCollector", "families"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What Prometheus is told.

    Attributes:
        name: As it is served.
        meaning: What it counts.
        fields: The fields of `Counters`, or of what else counts, that it is made of, by the value
            of its label.
        label: What the label is called; empty for a figure without one.
    """

    name: str
    meaning: str
    fields: Mapping[str, str]
    label: str = ""

    @property
    def is_total(self) -> bool:
        """Whether it only ever rises."""
        return self.name.endswith("_total")


def _results(noun: str, *results: str) -> dict[str, str]:
    return {result: f"{noun}_{result}" for result in results}


_DECIDED = ("accepted", "deferred", "refused")
_DONE = ("succeeded", "failed")

FIGURES = (
    Figure(
        "pillarbox_connections_total",
        "Clients that connected, those that were refused among them.",
        {"": "connections"},
    ),
    Figure(
        "pillarbox_connections_open",
        "Clients that are connected now.",
        {"": "connections_open"},
    ),
    Figure(
        "pillarbox_connections_refused_total",
        "Connections refused: all are taken, too many of one address, or no PROXY header.",
        {"full": "refused_full", "per_ip": "refused_per_ip", "proxy": "refused_proxy"},
        "reason",
    ),
    Figure(
        "pillarbox_messages_total",
        "Messages that were answered: with 2xx, 4xx or 5xx.",
        _results("messages", *_DECIDED),
        "result",
    ),
    Figure(
        "pillarbox_message_octets_total",
        "Octets of these messages.",
        {"": "message_octets"},
    ),
    Figure(
        "pillarbox_recipients_total",
        "Recipients, by the answer to their message, or to RCPT where the handler refused.",
        _results("recipients", *_DECIDED),
        "result",
    ),
    Figure(
        "pillarbox_auth_total",
        "Logins.",
        _results("logins", *_DONE),
        "result",
    ),
    Figure(
        "pillarbox_tls_handshakes_total",
        "TLS handshakes.",
        _results("handshakes", *_DONE),
        "result",
    ),
    Figure(
        "pillarbox_timeouts_total",
        "Connections closed because they took too long: silent, too slow, a session or a"
        " handshake without end.",
        _results("timeouts", "idle", "slow", "session", "handshake"),
        "reason",
    ),
    Figure(
        "pillarbox_clients_cut_off_total",
        "Sessions ended for too many errors, failed logins or idle commands.",
        {"": "clients_cut_off"},
    ),
    Figure(
        "pillarbox_handler_errors_total",
        "Exceptions of the handler, and answers that are none; the log has them.",
        {"": "handler_errors"},
    ),
    Figure(
        "pillarbox_memory_octets",
        "Octets of the messages that are being gathered for the handler.",
        {"": "memory_octets"},
    ),
)


class ServerCollector(Collector):
    """Collects the figures of a server for a registry of `prometheus_client`.

    Args:
        read: Gives the figures as they are now, such as `lambda: server.counters`.
    """

    def __init__(self, read: Callable[[], Counters]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Give all figures."""
        counters = self._read()
        yield InfoMetricFamily("pillarbox", "What is running.", value={"version": __version__})
        yield from families(FIGURES, counters)


def families(figures: Iterable[Figure], values: object) -> Iterator[Metric]:
    """Give figures as `prometheus_client` wants them.

    Args:
        figures: What they are.
        values: An object with all of their fields.
    """
    for figure in figures:
        kind = CounterMetricFamily if figure.is_total else GaugeMetricFamily
        family = kind(figure.name, figure.meaning, labels=[figure.label] if figure.label else [])
        for value, field in figure.fields.items():
            family.add_metric([value] if figure.label else [], getattr(values, field))
        yield family
