"""The program with a fault: now and then a relay forgets what became of a message.

`python -m tests.crash.forgetful relay ...`: to see that the crash test sees it.
"""

from __future__ import annotations

import random
from typing import Any

from pillarbox.cli import main, relaying
from pillarbox.relay.sqlite import SqliteSpool


class Forgetful(SqliteSpool):
    """A spool that does not write one outcome of three, and says that it has."""

    async def finish(self, *arguments: Any, **keywords: Any) -> bool:
        if random.random() < 0.3:
            return True
        return await super().finish(*arguments, **keywords)


if __name__ == "__main__":
    vars(relaying)["SqliteSpool"] = Forgetful
    main()
