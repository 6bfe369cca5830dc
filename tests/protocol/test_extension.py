"""What a server offers: the answers made of it, and the values that make no sense."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import STANDARD_MECHANISMS


def test_the_replies_of_an_offer() -> None:
    offer = Offer(hostname="mx.test", max_message_bytes=1000, max_recipients=7)
    assert offer.greeting == Reply(220, None, "mx.test ESMTP")
    assert offer.hello == Reply(250, None, "mx.test")
    assert offer.extended_hello.text.split("\n") == [
        "mx.test",
        "PIPELINING",
        "SIZE 1000",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "LIMITS RCPTMAX=7",
        "HELP",
    ]


def test_help_names_what_is_offered() -> None:
    plain = Offer(hostname="mx.test").help.text
    assert plain == "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT"
    everything = Offer(
        hostname="mx.test",
        is_lmtp=True,
        offers_tls=True,
        mechanisms=STANDARD_MECHANISMS,
        offers_xclient=True,
    ).help.text
    assert everything.startswith("Commands: LHLO STARTTLS AUTH XCLIENT MAIL ")


def test_xclient_is_for_some() -> None:
    keyword = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
    assert keyword in Offer(hostname="mx.test", offers_xclient=True).keywords()
    assert not any("XCLIENT" in other for other in Offer(hostname="mx.test").keywords())


def test_no_limit_is_announced_as_size_0() -> None:
    assert "SIZE 0" in Offer(hostname="mx.test", max_message_bytes=0).keywords()


def test_the_limits_are_safe_by_default() -> None:
    offer = Offer(hostname="mx.test")
    assert 0 < offer.max_message_bytes < 1 << 30
    assert offer.max_recipients >= 100  # RFC 5321 §4.5.3.1.8
    assert offer.max_command_octets >= 512 + 500 + 500  # RFC 5321 §4.5.3.1.4; RFC 3461, RFC 4954
    assert offer.idle_timeout_seconds >= 300  # RFC 5321 §4.5.3.2.7
    assert not offer.accept_bare_newlines


@pytest.mark.parametrize("hostname", ["mx.test", "localhost", "[192.0.2.1]", "[IPv6:::1]"])
def test_hostname(hostname: str) -> None:
    assert Offer(hostname=hostname).greeting.text == f"{hostname} ESMTP"


@pytest.mark.parametrize(
    "hostname", ["", "mx test", "mx.test\r\n", "-", "[1.2.3]", "::1", "né.test"]
)
def test_no_hostname(hostname: str) -> None:
    with pytest.raises(ValueError, match="write one such as"):
        Offer(hostname=hostname)


LEAST = {
    "max_message_bytes": 0,
    "max_recipients": 1,
    "max_local_part_octets": 64,
    "max_command_octets": 512,
    "max_errors": 1,
    "whole_body_octets": 0,
}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_least_value(name: str, least: int) -> None:
    values: dict[str, Any] = {name: least}
    assert getattr(Offer(hostname="mx.test", **values), name) == least
    values[name] = least - 1
    with pytest.raises(ValueError, match=f"{name} is {least - 1}; the least is {least}"):
        Offer(hostname="mx.test", **values)


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="idle_timeout_seconds must be more than 0"):
        Offer(hostname="mx.test", idle_timeout_seconds=seconds)


def test_nobody_changes_an_offer() -> None:
    offer = Offer(hostname="mx.test")
    with pytest.raises(dataclasses.FrozenInstanceError):
        offer.hostname = "other.test"  # type: ignore[misc]  # the very thing that must not work


def test_what_is_required_has_to_be_offered() -> None:
    with pytest.raises(ValueError, match="there is nobody to log in: give logins"):
        Offer(hostname="mx.test", requires_auth=True)
    with pytest.raises(ValueError, match="there is no certificate: give one and its key"):
        Offer(hostname="mx.test", requires_tls=True)
