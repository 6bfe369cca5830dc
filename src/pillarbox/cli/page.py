"""The page and the API of `pillarbox catch`, put together from its options (catcher/web/)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pillarbox.cli.errors import Failure
from pillarbox.config import ConfigError
from pillarbox.listen import ListenAddress

if TYPE_CHECKING:
    from pillarbox.catcher.web.service import Service
    from pillarbox.cli.run import Beside, Serves

__all__ = ["Page", "page_address"]

log = logging.getLogger("pillarbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where the page is, and who may see it.

    Attributes:
        address: Where it listens.
        hosts: Names that it is called by, beside `localhost`.
        logins: Users and their passwords; none lets everybody in.
    """

    address: ListenAddress
    hosts: Sequence[str] = ()
    logins: Sequence[str] = ()

    def beside(self, service: Service) -> Beside:
        """Give what is to be served beside the mail.

        Raises:
            Failure: A login is none.
        """
        from pillarbox.cli.run import Beside

        logins = {}
        for login in self.logins:
            user, colon, password = login.partition(":")
            if not (user and colon and password):
                raise Failure(
                    "--http-auth has no user or no password; write one such as ann:secret"
                )
            logins[user] = password

        def make() -> Serves:
            from pillarbox.catcher.web.application import application
            from pillarbox.catcher.web.server import WebServer

            hosts = [*self.hosts, self.address.host]
            return WebServer(application(service, hosts=hosts, logins=logins), service)

        return Beside("--http", "http", self.address, make)


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
