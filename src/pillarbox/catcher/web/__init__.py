"""The page and the HTTP API of `pillarbox catch`. Needs `pillarbox[web]`.

operation.py is how a call is answered, api.py what Mailpit's clients ask, extra.py what else we
have to tell, view.py the mail itself in a browser, events.py what is pushed. guard.py keeps others
out; application.py puts all this together and server.py runs it; openapi.py describes it.
"""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["MISSING", "is_installed"]

MISSING = 'the page and the API need more than the plain install; pip install "pillarbox[web]"'


def is_installed() -> bool:
    """Tell whether what this package needs is there."""
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn", "websockets"))
