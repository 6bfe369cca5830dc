"""The embedded spool: a folder with an SQLite database and the bodies that are too large for it.

`SqliteSpool` is in spool.py. All that it writes goes through writer.py, many changes to a commit:
what comes in (arrival.py), who may try it (lease.py, token.py), what became of it (outcome.py), and
what people do (control.py). What is read is in query.py. schema.py has the tables and what SQLite's
errors mean, row.py how values become rows; body.py keeps large bodies as files, and disk.py knows
about locks, room, and what it takes for a file to be there after a power cut.
"""

from pillarbox.relay.sqlite.spool import SqliteSpool

__all__ = ["SqliteSpool"]
