"""`async def` tests, each one on asyncio and on uvloop, as in tests/asyncio."""

from tests.asyncio.conftest import ending, new_loop, pytest_pyfunc_call

__all__ = ["ending", "new_loop", "pytest_pyfunc_call"]
