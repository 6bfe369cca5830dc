"""A relay with its spool on a PostgreSQL that is a process of the same tree, and counted with it.

`python -m bench.relay.database FOLDER -- relay OPTION...`: the database is in the folder, on a
disk, and has what a small one has, but for room for its log. It ends with the relay.
"""

import ctypes
import signal
import subprocess
import sys
from pathlib import Path

from tests.relay.postgres_server import PostgresServer

_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run both until a signal comes."""
    folder, _, *arguments = sys.argv[1:]
    # What pg_ctl starts is ours, not init's.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    parent = Path(folder)
    parent.mkdir(parents=True, mode=0o755)
    with PostgresServer(parent, shared_buffers="256MB", max_wal_size="4GB") as server:
        command = [sys.executable, "-m", "pillarbox", *arguments, "--spool", server.url()]
        with subprocess.Popen(command) as relay:
            signal.signal(signal.SIGTERM, lambda *_: relay.terminate())
            return relay.wait()


if __name__ == "__main__":
    sys.exit(main())
