"""The clients, and which of them this machine has."""

from __future__ import annotations

from tests.interop.libraries import LIBRARIES
from tests.interop.programs import PROGRAMS

__all__ = ["ABSENT", "CLIENTS", "HERE"]

CLIENTS = (*PROGRAMS, *LIBRARIES)
HERE = tuple(client for client in CLIENTS if client.is_here())
ABSENT = tuple(client for client in CLIENTS if client not in HERE)
