"""Outcomes: who got the message and who did not."""

from __future__ import annotations

import pytest

from pillarbox.protocol.client_event import NEED_BODY, Outcome, RecipientOutcome
from pillarbox.protocol.reply import Reply

TAKEN = RecipientOutcome("bob@example.org", Reply(250, "2.0.0", "OK"), "end of data")
REFUSED = RecipientOutcome("ben@example.org", Reply(550, "5.1.1", "No such mailbox"), "RCPT")
LATER = RecipientOutcome("bea@example.org", Reply(421, "4.4.2", "The connection was lost"), None)


@pytest.mark.parametrize(
    ("recipients", "refused"),
    [
        ((TAKEN,), ()),
        ((TAKEN, REFUSED), (REFUSED,)),
        ((LATER, TAKEN, REFUSED), (LATER, REFUSED)),
    ],
)
def test_outcome(
    recipients: tuple[RecipientOutcome, ...], refused: tuple[RecipientOutcome, ...]
) -> None:
    outcome = Outcome(recipients)
    assert outcome.refused == refused
    assert outcome.is_accepted is (refused == ())
    assert not outcome.is_in_doubt


def test_need_body_tells_its_name() -> None:
    assert repr(NEED_BODY) == "NEED_BODY"
