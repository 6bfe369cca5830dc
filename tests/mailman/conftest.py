"""`async def` tests, each one on asyncio and on uvloop; see tests/asyncio/conftest.py."""

from __future__ import annotations

from tests.asyncio.conftest import ending, new_loop, pytest_pyfunc_call

__all__ = ["ending", "new_loop", "pytest_pyfunc_call"]
