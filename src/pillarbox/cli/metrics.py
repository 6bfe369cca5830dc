"""`--metrics`: the figures of all processes (board.py) for Prometheus, and how they are.

The socket is bound before anything is forked; then each process answers on it, in threads beside
its event loop, so that there is an answer when that is stuck. It is the library's own application
on the standard library's WSGI server, with bounds: whoever is slow is cut off, and only some are
served at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from pillarbox.asyncio import Server
from pillarbox.cli.board import Board, Place
from pillarbox.cli.errors import Failure
from pillarbox.cli.listeners import address_of, cannot_listen, close_listeners, open_listeners
from pillarbox.listen import ListenAddress

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

__all__ = ["Metrics", "open_metrics"]

log = logging.getLogger("pillarbox")

TICK_SECONDS = 1.0
# One who asks for figures sends a line and some headers, and takes some kilobytes.
REQUEST_SECONDS = 10.0
MAX_REQUESTS = 8
BACKLOG = 16

Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]


def open_metrics(
    address: ListenAddress,
    *,
    processes: int,
    more: Callable[[], Iterable[Collector]] = tuple,
) -> Metrics:
    """Bind the address for figures.

    Args:
        address: Where they are to be had.
        processes: How many processes will serve at once.
        more: Gives what collects other figures than a server's, of a program with one process.

    Raises:
        Failure: It cannot be bound, or the library is not there.
    """
    if address.path is not None:
        raise Failure("--metrics takes no UNIX socket; write an address such as 127.0.0.1:9100")
    try:
        import pillarbox.metrics  # noqa: F401
    except ImportError:
        raise Failure(
            '--metrics needs the library prometheus-client; pip install "pillarbox[metrics]",'
            " or leave --metrics out"
        ) from None
    [sockets] = open_listeners([address], workers=1, option="--metrics")
    for sock in sockets:
        try:
            sock.listen(BACKLOG)
        except OSError as error:
            failure = cannot_listen(address_of(sock), error, option="--metrics")
            close_listeners(sockets)
            raise failure from None
        sock.setblocking(False)  # another process may be faster to accept
    return Metrics(sockets, Board(processes), more())


class Metrics:
    """Sockets to answer on, and the board.

    Args:
        sockets: Bound, and listening.
        board: What all processes write on.
        more: What collects other figures.
    """

    def __init__(
        self, sockets: list[socket.socket], board: Board, more: Iterable[Collector] = ()
    ) -> None:
        self.sockets = sockets
        self.board = board
        self._more = tuple(more)
        self._place: Place | None = None
        self._servers: list[_HTTPServer] = []
        self._turning: asyncio.Task[None] | None = None

    def start(self, number: int = 0) -> None:
        """Answer from this process, which is the one of this number, from 0.

        Threads begin here: nothing may fork any more.
        """
        self._place = Place(self.board, number)
        application = _application(self.board, self._place, self._more)
        for sock in self.sockets:
            server = _HTTPServer(sock, application)
            self._servers.append(server)
            threading.Thread(
                target=server.serve_forever, name="pillarbox metrics", daemon=True
            ).start()

    def begin(self, server: Server) -> None:
        """Count what a server does, which is ready for clients; in its event loop."""
        assert self._place is not None
        self._place.begin(lambda: server.counters)
        self._turning = asyncio.get_running_loop().create_task(self._turn(self._place))

    async def _turn(self, place: Place) -> None:
        while True:
            place.turn()
            await asyncio.sleep(TICK_SECONDS)

    def drain(self) -> None:
        """Tell that no more clients can come."""
        if self._place is not None:
            self._place.drain()

    def finish(self) -> None:
        """Leave the last figures, for other processes or whoever comes next."""
        if self._turning is not None:
            self._turning.cancel()
        if self._place is not None:
            self._place.end()

    def close(self) -> None:
        """Answer no more."""
        for server in self._servers:
            server.shutdown()
        close_listeners(self.sockets)


def _application(board: Board, place: Place, more: Iterable[Collector]) -> WSGIApplication:
    from prometheus_client import CollectorRegistry, make_wsgi_app

    from pillarbox.metrics import ServerCollector

    registry = CollectorRegistry()
    registry.register(ServerCollector(lambda: board.counters))
    registry.register(_Processes(board))
    for collector in more:
        registry.register(collector)
    figures: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                place.write()
                return figures(environ, start_response)
            case "/livez":
                return _say(start_response, board.stuck())
            case "/readyz":
                return _say(start_response, "" if board.is_ready else "no clients are taken now")
            case _:
                where = "there are /metrics, /livez and /readyz"
                return _say(start_response, where, HTTPStatus.NOT_FOUND)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return answer(environ, start_response)
        except Exception:
            log.exception("the metrics could not be told")
            raise

    return application


def _say(
    start_response: StartResponse,
    trouble: str,
    status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE,
) -> list[bytes]:
    if not trouble:
        status = HTTPStatus.OK
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    start_response(f"{status.value} {status.phrase}", headers)
    return [f"{trouble or 'ok'}\n".encode()]


class _Processes:
    """Collects what the kernel knows of each process; they are told apart where there are several.

    Args:
        board: Where they have their places.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Give memory, CPU time and open files of all processes."""
        from prometheus_client import Metric, ProcessCollector

        families: dict[str, Metric] = {}
        for number, pid in enumerate(self._board.pids, 1):
            collector = ProcessCollector(pid=_constant(pid), registry=None)
            more = {"worker": str(number)} if self._board.size > 1 else {}
            for family in collector.collect():
                same = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    same.samples.append(sample._replace(labels={**sample.labels, **more}))
        yield from families.values()


def _constant(pid: int) -> Callable[[], int]:
    return lambda: pid


class _Handler(WSGIRequestHandler):
    """One request, within a time, without a word on standard error."""

    def setup(self) -> None:
        """Give the whole request a time: one that drips in would have it for each octet."""
        super().setup()
        self._watchdog = threading.Timer(REQUEST_SECONDS, self._cut)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # it is over already
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Take the time back."""
        self._watchdog.cancel()
        super().finish()

    def get_stderr(self) -> io.StringIO:
        """Let wsgiref complain of clients that are gone to nobody."""
        return io.StringIO()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Log nothing: somebody asks every few seconds."""


class _HTTPServer(ThreadingMixIn, WSGIServer):
    """The standard library's server on a socket that is bound already."""

    daemon_threads = True

    def __init__(self, sock: socket.socket, application: WSGIApplication) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.server_name, self.server_port = "pillarbox", sock.getsockname()[1]
        self.setup_environ()
        self.set_app(application)
        self._free = threading.BoundedSemaphore(MAX_REQUESTS)

    def process_request(self, request: Request, client_address: Any) -> None:
        """Serve in a thread, if there is one to be had."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Request, client_address: Any) -> None:
        """Serve, and give the thread back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Request, client_address: Any) -> None:
        """Say nothing of clients that break off."""
        log.debug("a request for metrics failed", exc_info=True)
