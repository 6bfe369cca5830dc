"""The page and the API of `pillarbox catch`, put together from its options (catcher/web/)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pillarbox.cli.errors import Failure
from pillarbox.cli.listeners import address_of, cannot_listen, close_listeners, open_listeners
from pillarbox.config import ConfigError
from pillarbox.listen import ListenAddress

if TYPE_CHECKING:
    from pillarbox.catcher.web.server import WebServer
    from pillarbox.catcher.web.service import Service

__all__ = ["Page", "page_address"]

log = logging.getLogger("pillarbox")


class Page:
    """The page, served beside the mail (run.py).

    Args:
        address: Where it listens.
        service: What it speaks for.
        hosts: Names that it is called by, beside `localhost`.
        logins: Users and their passwords, as `user:password`; none lets everybody in.

    Raises:
        Failure: A login is none.
    """

    scheme = "http"

    def __init__(
        self,
        address: ListenAddress,
        service: Service,
        *,
        hosts: Sequence[str] = (),
        logins: Sequence[str] = (),
    ) -> None:
        self.sockets: Sequence[socket.socket] = ()
        self._address = address
        self._service = service
        self._hosts = [*hosts, address.host]
        self._logins = dict(map(_login, logins))
        self._server: WebServer | None = None

    def open(self) -> None:
        """Bind the sockets.

        Raises:
            Failure: Something else listens there, or it cannot be.
        """
        [self.sockets] = open_listeners([self._address], workers=1, option="--http")

    async def begin(self) -> None:
        """Begin to listen.

        Raises:
            Failure: Another program was faster.
        """
        from pillarbox.catcher.web.application import application
        from pillarbox.catcher.web.server import WebServer

        app = application(self._service, hosts=self._hosts, logins=self._logins)
        self._server = WebServer(app, self._service)
        address = address_of(self.sockets[0])
        try:
            await self._server.start(self.sockets)
        except OSError as error:
            raise cannot_listen(address, error, option="--http") from None

    async def finish(self) -> None:
        """Stop."""
        if self._server is not None:
            await self._server.close()

    def close(self) -> None:
        """Close the sockets."""
        close_listeners(self.sockets)


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not (user and password):
        raise Failure("--http-auth has no user or no password; write one such as ann:secret")
    return user, password


def page_address(text: str, *, workers: int) -> ListenAddress | None:
    """Read `--http`; `None` where there is to be no page.

    Without the option there is one if it can be; who asks for it is told why it cannot.

    Raises:
        Failure: The address is none, or there cannot be a page.
    """
    if text == "none":
        return None
    try:
        address = ListenAddress.parse(text)
    except ConfigError as error:
        raise Failure(f"--http: {error}") from None
    if address.path is not None:
        raise Failure("--http listens on a port; write HOST:PORT, or none")
    reason = _reason_against(workers)
    if reason is None:
        return address
    if _is_asked_for():
        raise Failure(f"--http: {reason}")
    log.warning("no page: %s", reason)
    return None


def _reason_against(workers: int) -> str | None:
    from pillarbox.catcher.web import MISSING, is_installed

    if workers > 1:
        return (
            "several processes cannot show one mailbox; leave --workers out, or write --http none"
        )
    return None if is_installed() else MISSING


def _is_asked_for() -> bool:
    source = click.get_current_context().get_parameter_source("http")
    return source is not click.core.ParameterSource.DEFAULT
