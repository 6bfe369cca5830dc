"""The program with a fault: now and then a relay forgets what became of a message.

`python -m tests.crash.forgetful relay ...`: to see that the crash test sees it.
"""

from __future__ import annotations

import random
from typing import Any

from pillarbox.cli import main
from pillarbox.relay.sqlite import SqliteSpool

finish = SqliteSpool.finish


async def forget(spool: SqliteSpool, *arguments: Any, **keywords: Any) -> bool:
    """Do not write one outcome of three, and say that it is on record."""
    return random.random() < 0.3 or await finish(spool, *arguments, **keywords)


if __name__ == "__main__":
    SqliteSpool.finish = forget  # type: ignore[method-assign,assignment]  # the fault
    main()
