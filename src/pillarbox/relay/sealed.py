"""A message that is complete and about to be added, for the spools that keep it in a database.

A small body is in memory; a large one is where the spool keeps those, and has a name there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pillarbox.relay.spool import NewMessage

__all__ = ["Put", "Sealed", "digest_of"]

# From this on hashlib lets other threads run meanwhile. To be allowed on again takes longer than to
# go through a small body in pieces below it.
PIECE_OCTETS = 2047
SMALL_OCTETS = 16_384


def digest_of(octets: bytes) -> bytes:
    """Give what a body is known by."""
    if len(octets) > SMALL_OCTETS:
        return hashlib.sha256(octets).digest()
    digest = hashlib.sha256()
    for at in range(0, len(octets), PIECE_OCTETS):
        digest.update(octets[at : at + PIECE_OCTETS])
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Sealed:
    """A body that is complete: octets, or the name of the large one."""

    size: int
    digest: bytes
    octets: bytes | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """A message to be added."""

    message: NewMessage
    body: Sealed
    lease_seconds: float | None = None
