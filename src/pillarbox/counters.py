"""What a server counts: plain integers, added to as things happen and read whenever one likes.

`Server.counters` gives a copy. As Prometheus wants them: metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True, kw_only=True)
class Counters:
    """The figures of one server, since it was made.

    A 4xx reply defers, a 5xx one refuses. A recipient is counted once: when RCPT is turned down by
    the handler, or with the answer to its message.

    Attributes:
        connections: Clients that came, those that were refused among them.
        connections_open: Clients that are connected now.
        refused_full: Connections refused because of `max_connections`.
        refused_per_ip: Connections refused because of `max_connections_per_ip`.
        refused_proxy: Connections refused because no PROXY header came, or a wrong one.
        messages_accepted: Messages taken, for one of their recipients at least.
        messages_deferred: Messages whose sender was told to try again.
        messages_refused: Messages turned down for good, by the handler or by a rule of ours.
        message_octets: Octets of all messages that were answered.
        recipients_accepted: Recipients for whom a message was taken.
        recipients_deferred: Recipients that are to be tried again.
        recipients_refused: Recipients turned down for good.
        logins_succeeded: Logins by AUTH.
        logins_failed: Logins that failed.
        handshakes_succeeded: TLS handshakes.
        handshakes_failed: TLS handshakes that failed.
        timeouts_idle: Connections closed because the client was silent.
        timeouts_slow: Connections closed because a command or a message dripped in.
        timeouts_session: Connections closed because the session had lasted long enough.
        timeouts_handshake: Connections closed because TLS or a PROXY header took too long.
        clients_cut_off: Sessions ended for too many errors, failed logins or idle commands.
        handler_errors: Exceptions of the handler that were no `Reject`, and answers that are none.
        memory_octets: What the messages that are gathered for the handler take now.
    """

    connections: int = 0
    connections_open: int = 0
    refused_full: int = 0
    refused_per_ip: int = 0
    refused_proxy: int = 0
    messages_accepted: int = 0
    messages_deferred: int = 0
    messages_refused: int = 0
    message_octets: int = 0
    recipients_accepted: int = 0
    recipients_deferred: int = 0
    recipients_refused: int = 0
    logins_succeeded: int = 0
    logins_failed: int = 0
    handshakes_succeeded: int = 0
    handshakes_failed: int = 0
    timeouts_idle: int = 0
    timeouts_slow: int = 0
    timeouts_session: int = 0
    timeouts_handshake: int = 0
    clients_cut_off: int = 0
    handler_errors: int = 0
    memory_octets: int = 0
