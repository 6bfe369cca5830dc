"""`--reload`: starts the server again when a Python file in the current folder changes.

It looks at the files twice a second, which needs nothing installed and works on every file
system, shared folders of virtual machines among them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator

from pillarbox.cli.errors import Failure
from pillarbox.cli.fork import Child, Parent

__all__ = ["fork_reloading"]

log = logging.getLogger("pillarbox")

POLL_SECONDS = 0.5
NOT_OURS = ("__pycache__", "node_modules")

Files = dict[str, tuple[int, int]]


def fork_reloading(
    parent: Parent, *, announce: Callable[[], None], drain_seconds: float
) -> Child | None:
    """Start the one child, again at each change; in the child give what it serves.

    In the parent this returns when all is over.

    Raises:
        Failure: It could not start the first time. Later, it waits for the next change.
    """
    was_announced = False
    while not parent.signals:
        files = _files()
        is_awaited = True
        if (child := parent.fork(0)) is not None:
            # Python takes compiled code for current by the second and the size of its source: of
            # two quick changes it would miss one.
            sys.dont_write_bytecode = True
            return child
        while not parent.signals:
            for ended in parent.wait(POLL_SECONDS):
                if not was_announced and ended.status > 0:
                    sys.exit(ended.status)  # it has told why
                if not was_announced:
                    raise Failure(f"the server did not start: {ended}")
                log.warning("%s; waiting for a file to change", ended)
            if is_awaited and parent.numbers and parent.are_ready:
                is_awaited = False
                if was_announced:
                    log.info("listening again")
                else:
                    announce()
                    was_announced = True
            if (changed := _difference(files, _files())) is not None:
                log.info("%s changed; starting again", changed)
                parent.stop_children(drain_seconds)
                break
    return None


def _files() -> Files:
    """Tell when each Python file was last changed."""
    found: Files = {}
    for path in _python_files():
        try:
            status = os.stat(path)
        except OSError:
            continue  # removed meanwhile
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _python_files() -> Iterator[str]:
    for folder, folders, names in os.walk("."):
        if "pyvenv.cfg" in names:
            folders.clear()  # somebody's virtual environment: thousands of files, none edited
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_OURS]
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(folder, name)


def _difference(before: Files, after: Files) -> str | None:
    """Give one file that was changed, made or removed."""
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path):
            return os.path.relpath(path)
    return None
