"""The configuration: checked once, with the remedy in the error."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest

from pillarbox import Config, ConfigError
from pillarbox.protocol.extension import Offer


def test_what_the_protocol_needs() -> None:
    config = Config(
        hostname="mx.test",
        max_message_bytes=1,
        max_recipients=2,
        max_errors=3,
        idle_timeout_seconds=4,
        accept_bare_newlines=True,
    )
    assert config.offer(offers_tls=True) == Offer(
        hostname="mx.test",
        max_message_bytes=1,
        max_recipients=2,
        max_errors=3,
        idle_timeout_seconds=4,
        accept_bare_newlines=True,
        offers_tls=True,
    )


def test_the_same_defaults_as_the_protocol() -> None:
    config = Config(hostname="mx.test")
    assert config.offer(offers_tls=True) == Offer(hostname="mx.test", offers_tls=True)


@pytest.mark.parametrize("offers_tls", [False, True])
def test_passwords_go_in_the_clear_where_there_is_nothing_better(offers_tls: bool) -> None:
    for wish, allows in {None: not offers_tls, False: False, True: True}.items():
        offer = Config(hostname="mx.test", allows_plaintext_auth=wish).offer(offers_tls=offers_tls)
        assert offer.allows_plaintext_auth is allows


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no connections": ({"max_connections": 0}, "max_connections is 0; the least is 1"),
    "none from one": ({"max_connections_per_ip": 0}, "max_connections_per_ip is 0; the least is 1"),
    "no drain": ({"drain_seconds": -1}, "0 waits for nobody"),
    "hostname": ({"hostname": "my host"}, "write one such as 'mx.example.org'"),
    "size": ({"max_message_bytes": -1}, "max_message_bytes is -1; the least is 0"),
    "recipients": ({"max_recipients": 0}, "max_recipients is 0; the least is 1"),
    "errors": ({"max_errors": 0}, "max_errors is 0; the least is 1"),
    "logins": ({"max_auth_failures": 0}, "max_auth_failures is 0; the least is 1"),
    "handshake": ({"handshake_timeout_seconds": 0}, "handshake_timeout_seconds must be more than"),
    "session": ({"max_session_seconds": 0}, "max_session_seconds must be more than 0"),
    "time": ({"idle_timeout_seconds": 0}, "idle_timeout_seconds must be more than 0"),
}


@pytest.mark.parametrize(("values", "reason"), WRONG.values(), ids=WRONG)
def test_wrong(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Config(**values)


NAMES = {
    "mx.example.org": "mx.example.org",
    "laptop": "laptop",
    "Ann's laptop": "Ann-s-laptop",
    "my_host": "my-host",
    "-x-": "x",
    "...": "localhost",
    "": "localhost",
    "é": "localhost",
}


@pytest.mark.parametrize(("name", "hostname"), NAMES.items())
def test_the_machines_own_name(monkeypatch: pytest.MonkeyPatch, name: str, hostname: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert Config().hostname == hostname


def test_frozen() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hostname = "other.test"  # type: ignore[misc]  # the very thing that must not work
