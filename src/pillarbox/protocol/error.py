"""The protocol's exceptions: whose fault it was decides the class.

A peer that misbehaves is answered with a reply and is no exception on the server's side; what is
raised here tells a developer (`LocalProtocolError`) or reports a server to our client
(`RemoteProtocolError`).
"""

from __future__ import annotations

from pillarbox.protocol.reply import Reply

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """Something was said or done that SMTP does not allow."""


class LocalProtocolError(ProtocolError):
    """The program that drives the protocol called out of turn; the text names the right call."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    Attributes:
        reply: What to send to the peer.
    """

    def __init__(self, message: str, *, reply: Reply) -> None:
        super().__init__(message)
        self.reply = reply
