"""What docs/relay.md says of figures, JSON and log lines is what the relay has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pillarbox.cli.queue_view import message_fields
from pillarbox.relay.event import RelayCounters
from pillarbox.relay.spool import QueuedMessage, QueuedRecipient, RecipientState, Statistics
from pillarbox.relay.telling import event_fields
from tests.relay.test_webhook import EVENT

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "relay.md").read_text(encoding="utf-8")

MESSAGE = QueuedMessage(
    id="A",
    mail_from="",
    size=1,
    created=1.0,
    expires=2.0,
    is_held=False,
    origin="",
    recipients=(
        QueuedRecipient(
            address="ben@example.net",
            state=RecipientState.QUEUED,
            destination="example.net",
            attempts=0,
            next_attempt=None,
            last_reply="",
        ),
    ),
)


def test_every_figure_is_in_the_page() -> None:
    pytest.importorskip("prometheus_client")
    from pillarbox.relay.metrics import RelayCollector, RelayFigures

    empty = Statistics(messages=0, octets=0, held=0, oldest=None, destinations={})
    figures = RelayFigures(counters=RelayCounters(), statistics=empty)
    families = list(RelayCollector(lambda: figures).collect())
    names = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    told = re.findall(r"^\| `(pillarbox_relay_\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(names)
    assert set(re.findall(r"pillarbox_relay_\w+", PAGE)) == names


def test_the_json_is_what_is_printed() -> None:
    message, event = (
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    )
    assert message.keys() == message_fields(MESSAGE).keys()
    assert message["recipients"][0].keys() == message_fields(MESSAGE)["recipients"][0].keys()
    assert event.keys() == event_fields(EVENT).keys()
    assert event["recipients"][0].keys() == event_fields(EVENT)["recipients"][0].keys()


def test_the_log_lines_are_those_of_the_source() -> None:
    lines = re.findall(r"^\| `([^|]*)` \|", PAGE.partition("| the log says |")[2], re.MULTILINE)
    lines = [line for line in lines if not line.startswith("pillarbox_")]
    assert len(lines) >= 8
    source = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "src/pillarbox/relay").rglob("*.py")
    )
    source = re.sub(r'"\s*f?"', "", source)  # what is cut into several strings
    source = re.sub(r"\{[^{}]*\}|%[sd]", "X", source)
    for line in lines:
        for words in re.split(r"\.\.\.|[:;]", line.replace(" ann ", " X ")):
            # What the system says by itself stands in no source of ours.
            assert words.strip() in source or words.strip() == "Connection refused", words
