"""Open files: as many as the connections that the options allow, asked of the system at the start.

Without a descriptor left, a server cannot even tell a newcomer that it is one too many. Most
systems begin with a limit of some hundreds and let a program raise it.
"""

from __future__ import annotations

import contextlib
import logging

__all__ = ["allow_open_files"]

log = logging.getLogger("pillarbox")

# Listeners, logs, the event loop, a database; and newcomers, who are told that they are too many.
_SPARE = 100


def allow_open_files(connections: int) -> None:
    """Let this process, and those it starts, have so many connections, each with a file beside it.

    Where the system does not allow it, the log tells what to change.
    """
    try:
        import resource
    except ImportError:  # on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    wanted = 2 * connections + _SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a further limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft < connections + _SPARE:
        log.warning(
            "%d files may be open, too few for --max-connections %d: raise that limit"
            " (ulimit -n, or LimitNOFILE= in systemd), or write --max-connections %d",
            soft,
            connections,
            max(soft - _SPARE, 1),
        )
