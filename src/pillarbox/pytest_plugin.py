"""The pytest plugin: a fixture `mailbox` that catches the mail of the program under test.

    def test_reset(mailbox):
        ask_for_a_new_password("ann@example.org", smtp=(mailbox.host, mailbox.port))
        message = mailbox.wait_for(to="ann@example.org", subject="password")
        assert message.link("/reset")

One server runs for the whole session, on a free port, one for each worker of pytest-xdist; each
test begins with an empty mailbox. When a test fails, its report tells what mail there was, and the
mail is kept as files. What the fixture can do: testing/mail.py.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pillarbox.testing.mail import MailServer

__all__ = ["django_mailbox", "mailbox", "pillarbox_server"]

FOLDER = "pillarbox-mail"
"""Under pytest's folder of temporary files, or `--mail-dir`."""

_MAILBOX: pytest.StashKey[MailServer] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the option that tells where mail of failed tests is kept."""
    group = parser.getgroup("pillarbox", "mail (Pillarbox)")
    group.addoption(
        "--mail-dir",
        metavar="DIR",
        help="Keep the mail of failed tests here, as .eml files.",
    )


@pytest.fixture(scope="session")
def pillarbox_server() -> Iterator[MailServer]:
    """Run the server that all tests share; take `mailbox` in a test."""
    from pillarbox.testing.mail import MailServer

    with MailServer() as server:
        yield server


@pytest.fixture
def mailbox(pillarbox_server: MailServer, request: pytest.FixtureRequest) -> Iterator[MailServer]:
    """Catch the mail of the program under test: `mailbox.host`, `mailbox.port`, `wait_for()`."""
    pillarbox_server.clear()
    request.node.stash[_MAILBOX] = pillarbox_server
    yield pillarbox_server
    pillarbox_server.clear()


@pytest.fixture
def django_mailbox(mailbox: MailServer) -> Iterator[MailServer]:
    """Catch what Django sends: its settings point at `mailbox` while the test runs."""
    from django.test import override_settings

    changed = override_settings(**mailbox.django_settings())
    with _without_word_of_settings():
        changed.enable()
    yield mailbox
    with _without_word_of_settings():
        changed.disable()


@contextlib.contextmanager
def _without_word_of_settings() -> Iterator[None]:
    # Which kind of settings a project has is its own affair, and Django tells it anyhow.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The EMAIL_\w+ setting is deprecated")
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Tell, with a failure, what mail there was."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    server = item.stash.get(_MAILBOX, None)
    if report.when == "call" and report.failed and server is not None:
        report.sections.append(("Mail", _tell(item, server)))


def _tell(item: pytest.Item, server: MailServer) -> str:
    messages = server.messages
    if not messages:
        return "No mail came."
    paths = server.save(_folder(item))
    lines = [f"{message!r}\n    {path}" for message, path in zip(messages, paths, strict=True)]
    return "\n".join(lines)


def _folder(item: pytest.Item) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.nodeid).strip("-.")[-120:]
    wanted = item.config.getoption("--mail-dir")
    if wanted:
        return Path(str(wanted)) / name
    return Path(item.config._tmp_path_factory.getbasetemp()) / FOLDER / name  # type: ignore[attr-defined]
