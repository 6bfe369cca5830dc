"""Events: slots values, told apart by a tag, which nobody changes."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from pillarbox.protocol.address import Path
from pillarbox.protocol.dsn import MailDsn
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    NO_PARAMETERS,
    Auth,
    BodyAborted,
    BodyPart,
    Connect,
    Event,
    Mail,
    Rcpt,
)
from pillarbox.protocol.sasl import Password

EVENTS: dict[str, Event] = {
    "Connect": Connect(),
    "Mail": Mail(Path(b"a@b")),
    "Rcpt": Rcpt(Path(b"a@b")),
    "BodyPart": BodyPart(b"octets", is_last=True),
    "BodyAborted": BodyAborted(None),
    "Auth": Auth("PLAIN", Password("ann", "secret")),
}


def test_the_table_has_every_event() -> None:
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))


def test_tags_tell_events_apart() -> None:
    assert sorted(event.tag for event in EVENTS.values()) == list(range(len(EVENTS)))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_no_room_for_more(event: Any) -> None:
    assert not hasattr(event, "__dict__")


@pytest.mark.parametrize(
    ("event", "field"),
    [
        pytest.param(event, field.name, id=f"{name}.{field.name}")
        for name, event in EVENTS.items()
        for field in dataclasses.fields(event)
    ],
)
def test_frozen_in_the_test_suite(event: Any, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match=field):
        setattr(event, field, None)


def test_paths_are_frozen_too() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Path(b"a@b").octets = b"c@d"


def test_an_event_is_its_parts() -> None:
    assert Mail(Path(b"a@b"), size=1) == Mail(
        Path(b"a@b"), 1, None, False, MailDsn(), False, None, {}
    )
    assert Mail(Path(b"a@b")) != Mail(Path(b"A@b"))


def test_no_parameters() -> None:
    assert Rcpt(Path(b"a@b")).parameters is NO_PARAMETERS
    assert NO_PARAMETERS == {}
    assert list(NO_PARAMETERS) == []
    assert "SIZE" not in NO_PARAMETERS
    assert NO_PARAMETERS.get("SIZE") is None
    assert repr(NO_PARAMETERS) == "{}"
    assert hash(NO_PARAMETERS) == 0
    with pytest.raises(KeyError, match="SIZE"):
        NO_PARAMETERS["SIZE"]
    with pytest.raises(TypeError):
        NO_PARAMETERS["SIZE"] = "1"  # type: ignore[index]  # the very thing that must not work


def test_needs_name_themselves() -> None:
    needs = [NEED_DATA, NEED_SEND, NEED_CLOSE]
    assert [repr(need) for need in needs] == ["NEED_DATA", "NEED_SEND", "NEED_CLOSE"]
