"""What a server says of its limits and its logins, and what it says amiss."""

from __future__ import annotations

import pytest

from pillarbox.protocol.offered import max_messages, max_recipients, mechanisms_of, size_limit


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ((), None),
        (("0",), None),
        (("1000",), 1000),
        (("1000", "2000"), 1000),
        (("99999999999999999999",), 99999999999999999999),
        (("9" * 21,), None),
        (("many",), None),
        (("1e3",), None),
        (("１",), None),
        (("-1",), None),
    ],
)
def test_size_limit(parameters: tuple[str, ...], limit: int | None) -> None:
    assert size_limit({"SIZE": parameters}) == limit


def test_no_size_limit() -> None:
    assert size_limit({}) is None


@pytest.mark.parametrize(
    ("parameters", "messages", "recipients"),
    [
        ((), None, None),
        (("RCPTMAX=100",), None, 100),
        (("MAILMAX=5", "RCPTMAX=100", "RCPTDOMAINMAX=2"), 5, 100),
        (("mailmax=999999",), 999_999, None),
        (("MAILMAX=1", "MAILMAX=2"), 1, None),
        (("MAILMAX=0", "RCPTMAX=-1"), None, None),
        (("MAILMAX=1000000", "RCPTMAX=01"), None, None),
        (("MAILMAX", "RCPTMAX=", "=5"), None, None),
        (("MAILMAX=１", "RCPTMAX=1e3"), None, None),
        (("XMAILMAX=1", "MAILMAX=1;RCPTMAX=2"), None, None),
    ],
)
def test_limits(parameters: tuple[str, ...], messages: int | None, recipients: int | None) -> None:
    assert max_messages({"LIMITS": parameters}) == messages
    assert max_recipients({"LIMITS": parameters}) == recipients


def test_no_limits() -> None:
    assert max_messages({}) is None
    assert max_recipients({}) is None


def test_mechanisms() -> None:
    assert mechanisms_of({"AUTH": ("plain", "SCRAM-SHA-256")}) == ("PLAIN", "SCRAM-SHA-256")
    assert mechanisms_of({}) == ()
