"""Running a server, for any command: sockets, event loop, signals, and the line that says so.

A command calls `run()` with what makes its handler, which is called in the running event loop of
each process that serves. It ends when a signal has come and the open transactions are done. One
process that serves is all here; several of them: workers.py; one that is started again when its
files change: reload.py. `Beside` is what else is served in the same event loop, such as a page.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pillarbox.asyncio import Server
from pillarbox.cli.errors import Failure
from pillarbox.cli.fork import Child, Parent
from pillarbox.cli.listeners import (
    address_of,
    cannot_listen,
    close_listeners,
    each_once,
    is_local,
    open_listeners,
    remove_paths,
    text_of,
    url,
)
from pillarbox.cli.logs import configure_logs
from pillarbox.cli.notify import notify
from pillarbox.cli.open_files import allow_open_files
from pillarbox.cli.options import Listening, certificate_remedy
from pillarbox.cli.reload import fork_reloading
from pillarbox.cli.signals import (
    followed,
    hear_signals,
    keep_beating,
    take_hangup,
    tell_what_is_read,
)
from pillarbox.cli.workers import fork_workers
from pillarbox.config import ConfigError
from pillarbox.handler import AnyHandler, mechanisms
from pillarbox.listen import ListenAddress

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from pillarbox.cli.metrics import Metrics

__all__ = ["Beside", "OnReady", "Opening", "run"]

log = logging.getLogger("pillarbox")

# Mail makes thousands of objects in a moment, of which hardly any are in cycles: by default the
# collector looks for those after every 700, which takes a twentieth of a relay's time.
_COLLECT_AFTER = 10_000

OnReady: TypeAlias = Callable[[Sequence[ListenAddress]], None] | None


class Beside(Protocol):
    """What else is served, by the one process that takes the mail."""

    scheme: str
    sockets: Sequence[socket.socket]

    def open(self) -> None:
        """Bind the sockets, or raise `Failure`."""

    async def begin(self) -> None:
        """Begin to listen, in the running event loop."""

    async def finish(self) -> None:
        """Stop."""

    def close(self) -> None:
        """Close the sockets, whether it began or not."""


@dataclass(slots=True)
class Opening:
    """A handler that is opened before clients can come, and closed when all are gone.

    Attributes:
        context: Gives the handler.
        stopped_at: When it was asked to end, by the event loop's clock; `None` before that.
    """

    context: AbstractAsyncContextManager[AnyHandler]
    stopped_at: float | None = None


def run(
    make_handler: Callable[[], AnyHandler | Opening],
    listening: Listening,
    *,
    reload: bool = False,
    on_ready: OnReady = None,
    beside: Beside | None = None,
    more_figures: Callable[[], Iterable[Collector]] = tuple,
) -> None:
    """Take mail until SIGTERM or SIGINT, then let open transactions end.

    Args:
        make_handler: Makes the handler, once in each process that serves, in its running event
            loop. It may raise `Failure`.
        listening: What the common options say.
        reload: Start again when a Python file in the current folder changes.
        on_ready: Called once clients can come, with what is really listened on.
        beside: What else is served; not with several processes.
        more_figures: Gives what collects other figures than a server's; called if they are wanted.

    Raises:
        Failure: An address cannot be listened on, or an option cannot work here.
    """
    rereads = take_hangup()
    configure_logs(listening.log_format, listening.log_level)
    new_loop = _loop_factory(listening.loop)
    certificates = listening.certificates
    if certificates is not None and not certificates.is_followed:
        fingerprint = certificates.fingerprint.hex(":").upper()
        log.info("certificate made for this run, SHA-256 fingerprint %s", fingerprint)
    allow_open_files(listening.config.max_connections)
    metrics = _open_metrics(listening, more_figures)
    if reload or listening.workers > 1:
        child, plain_count = _fork(
            listening, metrics, reload=reload, rereads=rereads, on_ready=on_ready
        )
        if child is None:
            return
        sockets = child.sockets
    else:
        child = None
        [sockets], plain_count = _open(listening, workers=1)
    try:
        if beside is not None:
            beside.open()
        if metrics is not None:
            metrics.start(0 if child is None else child.number)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            serving = _Serving(
                listening=listening,
                sockets=sockets,
                plain_count=plain_count,
                child=child,
                metrics=metrics,
                rereads=rereads,
                on_ready=on_ready,
                beside=beside,
            )
            runner.run(_take_mail(make_handler, serving))
    finally:
        if metrics is not None:
            metrics.close()
        if beside is not None:
            beside.close()
        close_listeners(sockets, forever=child is None)


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Choose the event loop."""
    if name != "asyncio":
        try:
            from uvloop import new_event_loop
        except ImportError:
            if name == "uvloop":
                raise Failure(
                    '--loop uvloop: it is not installed; pip install "pillarbox[fast]",'
                    " or leave --loop out"
                ) from None
        else:
            return new_event_loop
    return asyncio.new_event_loop


def _open_metrics(listening: Listening, more: Callable[[], Iterable[Collector]]) -> Metrics | None:
    if listening.metrics is None:
        return None
    from pillarbox.cli.metrics import open_metrics

    return open_metrics(listening.metrics, processes=listening.workers, more=more)


def _open(listening: Listening, *, workers: int) -> tuple[list[list[socket.socket]], int]:
    """Bind everything; in each worker's list the plain ones come first, as many as is told."""
    plain = open_listeners(listening.addresses, workers=workers)
    try:
        tls = open_listeners(listening.tls_addresses, workers=workers, option="--listen-tls")
    except BaseException:
        for sockets in plain:
            close_listeners(sockets, forever=True)
        raise
    plain = [[*listening.sockets, *sockets] for sockets in plain]
    tls = [[*listening.tls_sockets, *sockets] for sockets in tls]
    both = [some + others for some, others in zip(plain, tls, strict=True)]
    try:
        if listening.logins is not None:
            _refuse_plaintext_auth(listening, plain[0], "--auth")
    except BaseException:
        close_listeners(each_once(both), forever=True)
        raise
    return both, len(plain[0])


def _refuse_plaintext_auth(
    listening: Listening, sockets: Iterable[socket.socket], asks: str
) -> None:
    """Refuse to have passwords cross a network in the clear, unless that is wanted.

    Args:
        listening: What the common options say.
        sockets: Where clients come in.
        asks: What it is that takes logins.

    Raises:
        Failure: They would.
    """
    if listening.certificates is not None or listening.config.allows_plaintext_auth is not None:
        return
    for sock in sockets:
        if not is_local(sock):
            raise Failure(
                f"{asks} on {text_of(address_of(sock))} would have passwords cross the network in"
                f" the clear; write {certificate_remedy()}, or --allow-plaintext-auth if that is"
                " what you want"
            )


def _fork(
    listening: Listening,
    metrics: Metrics | None,
    *,
    reload: bool,
    rereads: bool,
    on_ready: OnReady,
) -> tuple[Child | None, int]:
    """Be the parent to the end; in a child, go on with what it serves."""
    if not hasattr(os, "fork"):
        raise Failure("--workers and --reload need fork, which this system lacks; leave them out")
    if reload and listening.workers > 1:
        raise Failure("--reload is for one process; leave --workers out")
    drain_seconds = listening.config.drain_seconds
    opened, plain_count = _open(listening, workers=listening.workers)
    read_again = functools.partial(tell_what_is_read, listening) if rereads else None
    parent = Parent(opened, read_again)
    first = parent.per_child[0]
    look_after = fork_reloading if reload else fork_workers
    try:
        child = look_after(
            parent,
            announce=lambda: _announce(
                first, plain_count, listening, metrics=metrics, on_ready=on_ready
            ),
            drain_seconds=drain_seconds,
        )
    except BaseException:
        close_listeners(each_once(parent.per_child), forever=True)
        raise
    if child is None:
        notify("STOPPING=1")
        parent.stop(drain_seconds)
    return child, plain_count


@dataclass(frozen=True, slots=True, kw_only=True)
class _Serving:
    """What one process serves, and what goes with it."""

    listening: Listening
    sockets: Sequence[socket.socket]
    plain_count: int
    child: Child | None
    metrics: Metrics | None
    rereads: bool
    on_ready: OnReady
    beside: Beside | None


async def _take_mail(make_handler: Callable[[], AnyHandler | Opening], serving: _Serving) -> None:
    if serving.child is None:
        # To make a handler is to import it, perhaps for long; asyncio.run() would not interrupt it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        made = make_handler()
    except ConfigError as error:
        raise Failure(str(error)) from None
    opening = made if isinstance(made, Opening) else Opening(nullcontext(made))
    async with opening.context as handler:
        await _serve(handler, opening, serving)


async def _serve(handler: AnyHandler, opening: Opening, serving: _Serving) -> None:
    listening, metrics, beside = serving.listening, serving.metrics, serving.beside
    if listening.config.requires_auth and not mechanisms(listening.logins or handler):
        raise Failure("--require-auth needs logins; write --auth-file FILE as well")
    try:
        server = Server(
            handler,
            config=listening.config,
            certificates=listening.certificates,
            logins=listening.logins,
        )
    except ConfigError as error:
        raise Failure(str(error)) from None
    if server.offer.mechanisms:
        _refuse_plaintext_auth(listening, serving.sockets, "the handler's auth")
    for one in followed(listening):
        one.refresh()  # what our parent read may be old by now
    stop = asyncio.Event()
    hear_signals(stop, listening, serving.child, rereads=serving.rereads)
    keep_beating(serving.child)
    try:
        for number, sock in enumerate(serving.sockets):
            address = address_of(sock)  # which a failure makes the socket forget
            try:
                await server.listen_on(sock, is_tls=number >= serving.plain_count)
            except OSError as error:
                raise cannot_listen(address, error) from None
        if metrics is not None:
            metrics.begin(server)
        if beside is not None:
            await beside.begin()
        gc.freeze()  # what is there by now stays to the end, and need not be gone through again
        gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
        if serving.child is None:
            _announce(
                serving.sockets,
                serving.plain_count,
                listening,
                metrics=metrics,
                on_ready=serving.on_ready,
                beside=beside,
            )
        else:
            serving.child.tell_ready()
        await stop.wait()
        opening.stopped_at = asyncio.get_running_loop().time()
        if metrics is not None:
            metrics.drain()
        if serving.child is None:
            notify("STOPPING=1")
    finally:
        if serving.child is None:
            # Before the transactions end: by then the next server may listen there.
            remove_paths(serving.sockets)
        await server.close()
        if beside is not None:  # last, so that mail which still comes in is seen
            await beside.finish()
        if metrics is not None:
            metrics.finish()


def _announce(
    sockets: Sequence[socket.socket],
    plain_count: int,
    listening: Listening,
    *,
    metrics: Metrics | None,
    on_ready: OnReady,
    beside: Beside | None = None,
) -> None:
    """Tell people and systemd that clients can come."""
    protocol = "lmtp" if listening.config.is_lmtp else "smtp"
    urls = [
        url(sock, f"{protocol}s" if number >= plain_count else protocol)
        for number, sock in enumerate(sockets)
    ]
    if metrics is not None:
        urls += [url(sock, "http") for sock in metrics.sockets]
    if beside is not None:
        urls += [url(sock, beside.scheme) for sock in beside.sockets]
    for one in urls:
        print(f"listening on {one}", file=sys.stderr, flush=True)  # noqa: T201
    notify("READY=1")
    if on_ready is not None:
        on_ready([address_of(sock) for sock in sockets])
