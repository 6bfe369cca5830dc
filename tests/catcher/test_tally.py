"""What a catcher counts."""

from __future__ import annotations

from pillarbox.catcher.tally import Tally


def test_counts() -> None:
    now = 100.0
    tally = Tally(lambda: now)
    tally.note_accepted(5)
    tally.note_accepted(7)
    tally.note_rejected()
    tally.note_deleted(3)
    now = 102.5
    assert (tally.accepted, tally.accepted_octets) == (2, 12)
    assert (tally.rejected, tally.deleted, tally.uptime_seconds) == (1, 3, 2.5)
