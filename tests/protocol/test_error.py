"""Errors: whose fault it was decides the class."""

from __future__ import annotations

import pytest

from pillarbox.protocol.error import LocalProtocolError, ProtocolError, RemoteProtocolError
from pillarbox.protocol.reply import Reply


def test_the_peers_fault_has_its_reply() -> None:
    reply = Reply(500, "5.5.1", "Command not recognized")
    error = RemoteProtocolError("unknown verb", reply=reply)
    assert error.reply is reply
    assert str(error) == "unknown verb"


@pytest.mark.parametrize(
    "error",
    [LocalProtocolError("call reply()"), RemoteProtocolError("x", reply=Reply(500, "5.5.1"))],
)
def test_one_class_catches_both(error: Exception) -> None:
    with pytest.raises(ProtocolError):
        raise error
