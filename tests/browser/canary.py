"""A stranger's server: it counts who comes, and its pages try what a stranger can."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Canary"]

TIME_LIMIT_SECONDS = 10.0


class Canary:
    """Serves pages under any name.

    Attributes:
        address: Where it is.
        came: Each connection, and the path of each request.
        pages: What it serves, by path; an empty script or picture stands for what is not here.
    """

    def __init__(self) -> None:
        self.came: list[str] = []
        self.pages: dict[str, str] = {}
        self._news: queue.Queue[str] = queue.Queue()
        canary = self

        class Answer(BaseHTTPRequestHandler):
            def setup(self) -> None:
                canary._note("(a connection)")
                super().setup()

            def do_GET(self) -> None:
                canary._note(self.path)
                octets = canary.pages.get(self.path, "").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

            do_POST = do_GET  # noqa: N815  # the library's name

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A browser that goes away is no news."""

        self._server = Quiet(("127.0.0.1", 0), Answer)
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _note(self, what: str) -> None:
        self.came.append(what)
        self._news.put(what)

    def clear(self) -> None:
        """Forget who came."""
        self.came.clear()
        self._news = queue.Queue()

    def wait(self, wanted: str = "") -> str:
        """Wait for a request that begins so, or for anybody."""
        while not (path := self._news.get(timeout=TIME_LIMIT_SECONDS)).startswith(wanted):
            pass
        return path

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
