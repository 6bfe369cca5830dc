"""Log records about a connection: they carry its id and its peer, and nothing that drives anything.

`Session.log` gives a `SessionLog`. Each record begins with the session's id, and has the attributes
`session` and `peer` for formatters that write fields. What peers sent is made visible here, at the
source, for any handler of `logging` may come to write it.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pillarbox.envelope import Session

__all__ = ["SessionLog", "peer_text", "visible"]

_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Show control characters as `\x1b`: a terminal or a log obeys them otherwise.

    Those that turn the direction of writing are among them.
    """
    return _INVISIBLE.sub(lambda char: ascii(char[0])[1:-1], text)


def peer_text(peer: tuple[str, int] | str) -> str:
    """Write an address as `192.0.2.1:49152`, `[2001:db8::1]:49152` or `a UNIX socket`."""
    if isinstance(peer, str):
        return peer or "a UNIX socket"
    host, port = peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class SessionLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for one session, made when there is something to say.

    Args:
        session: Whom the records are about.
    """

    def __init__(self, session: Session) -> None:
        fields = {"session": session.id, "peer": visible(peer_text(session.peer))}
        super().__init__(logging.getLogger("pillarbox"), fields)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, with the session's id in front and every argument made visible."""
        if not self.isEnabledFor(level):
            return
        fields = self.extra or {}
        shown = [arg if isinstance(arg, int | float) else visible(str(arg)) for arg in args]
        text = str(msg) if args else str(msg).replace("%", "%%")
        kwargs["extra"] = {**kwargs.get("extra", {}), **fields}
        kwargs["stacklevel"] = (
            kwargs.get("stacklevel", 1) + 1
        )  # or each record would come from here
        self.logger.log(level, f"%s: {text}", fields["session"], *shown, **kwargs)
