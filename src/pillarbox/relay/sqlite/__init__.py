"""The embedded spool: a folder with an SQLite database and the bodies that are too large for it.

`SqliteSpool` is in spool.py. What it writes goes through writer.py, many changes to a commit:
change.py tells what the changes are, query.py what is read, row.py how values become rows, and
schema.py how the tables look and what SQLite's errors mean. body.py keeps large bodies as files,
and disk.py knows about locks, room, and what it takes for a file to be there after a power cut.
"""

from pillarbox.relay.sqlite.spool import SqliteSpool

__all__ = ["SqliteSpool"]
