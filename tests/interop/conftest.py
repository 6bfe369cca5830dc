"""The servers under test, each a program of its own, and the line that tells who was not here."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.cli.program import Program
from tests.interop.clients import ABSENT
from tests.interop.sending import HOST, LOGIN


@dataclass(frozen=True)
class Serving:
    """A server that runs, and the folder of what it took."""

    port: int
    tls_port: int
    folder: Path
    authority: Path

    def taken(self) -> list[tuple[bytes, dict[str, Any]]]:
        """Give what came in since the last call: the octets and the envelope of each message."""
        mails = []
        for path in sorted(self.folder.glob("*.eml")):
            note = path.with_suffix(".json")
            mails.append((path.read_bytes(), json.loads(note.read_bytes())))
            path.unlink()
            note.unlink()
        return mails


Servers = Callable[[str, str], Serving]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Who signs the servers' certificates, and a file with that."""
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    signer = trustme.CA()
    signer.cert_pem.write_to_path(path)
    return signer, path


@pytest.fixture(scope="session")
def servers(
    tmp_path_factory: pytest.TempPathFactory, authority: tuple[trustme.CA, Path]
) -> Iterator[Servers]:
    """Give the server of a kind on a loop; each is started once."""
    signer, path = authority
    certificate = path.with_name("server.pem")
    signer.issue_cert(HOST, "localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    running: dict[tuple[str, str], Serving] = {}
    with contextlib.ExitStack() as programs:

        def serving(kind: str, loop: str) -> Serving:
            if (kind, loop) not in running:
                folder = tmp_path_factory.mktemp("mails")
                arguments = [*("--listen", f"{HOST}:0", "--loop", loop, "--dump", str(folder))]
                if kind != "lmtp":
                    arguments += ["--auth", ":".join(LOGIN)]
                if kind == "sink":
                    arguments += ["--listen-tls", f"{HOST}:0", "--tls-cert", str(certificate)]
                arguments += {
                    "catch": ["--quiet", "--http", "none"],
                    "lmtp": ["--protocol", "lmtp"],
                }.get(kind, [])
                command = "catch" if kind == "catch" else "sink"
                program = programs.enter_context(Program(command, *arguments))
                port = program.ready_port()
                tls_port = program.ready_port() if kind == "sink" else 0
                running[kind, loop] = Serving(port, tls_port, folder, path)
            return running[kind, loop]

        yield serving


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Give a folder that is gone afterwards: pytest would keep gigabytes of mail."""
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        yield Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell once which clients were left out."""
    if ABSENT:
        names = ", ".join(client.name for client in ABSENT)
        terminalreporter.write_line(
            f"interop: not here: {names}; `make interop-clients` installs them"
        )
