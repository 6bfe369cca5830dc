"""The shared spool: a PostgreSQL database, and any number of relays that take from it.

`PostgresSpool` is in spool.py. Each relay is a node: it accepts, and it leases what it delivers;
what a dead one held is leased to others once its time is over, on the database's clock (clock.py).
All writing goes through writer.py, many changes to a commit: what comes in (arrival.py), who may
try it (lease.py), what became of it (outcome.py), and what people do (control.py). What is read is
in query.py. schema.py has the tables and how they change, link.py the connections and what
PostgreSQL's errors mean, row.py how rows go in and out, body.py large bodies, listen.py how the
nodes hear of each other, and share.py how they keep to one limit.

Two nodes that change the same message take turns by the row of its first recipient, which is there
as long as the message is. Whoever changes more than the recipients of a lease has it locked first,
and those who lock several do so in the order of the messages; who leases waits for nobody.
"""

from pillarbox.relay.postgres.spool import PostgresSpool

__all__ = ["PostgresSpool"]
