"""Other people's clients against the real program: what is stored is what was sent.

Every client does every case that it is made for, and the cases with TLS on every event loop. `make
test` has the whole on one Python; on the others PILLARBOX_INTEROP=tls leaves TLS, which is all that
Python has a part in: the clients are the same, and what we do with octets has its own tests there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from _pytest.mark import ParameterSet

from tests.conftest import NEW_LOOPS
from tests.interop.cases import CASES, Case
from tests.interop.clients import CLIENTS, HERE
from tests.interop.conftest import Servers, Serving
from tests.interop.sending import LOGIN, Client, NotSent, Sending

RUNS_ALL = os.environ.get("PILLARBOX_INTEROP", "all") == "all"
ROOT = Path(__file__).parents[2]
CASE = {case.name: case for case in CASES}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_is_here(client: Client) -> None:
    client.want()


def test_is_documented() -> None:
    rows = (ROOT / "docs/clients.md").read_text().splitlines()
    assert [row.split("|")[1].strip() for row in rows if row.startswith("| ")][2:] == [
        client.name for client in CLIENTS
    ]


def matrix() -> Iterator[ParameterSet]:
    for case in CASES:
        for client in HERE:
            if case.name in client.cannot or not (RUNS_ALL or case.on_every_loop):
                continue
            for loop in NEW_LOOPS if case.on_every_loop else ["asyncio"]:
                yield pytest.param(client, case, loop, id=f"{client.name}-{case.name}-{loop}")


def sending_of(case: Case, serving: Serving, folder: Path) -> Sending:
    return Sending(
        port=serving.tls_port if case.security == "tls" else serving.port,
        folder=folder,
        authority=serving.authority,
        mails=case.mails,
        mail_from=f"{case.sender}@example.org",
        rcpt_tos=case.rcpt_tos,
        security=case.security,
        mechanism=case.mechanism,
        is_lmtp=case.server == "lmtp",
        is_smtputf8=case.is_smtputf8,
        is_chunked=case.is_chunked,
        is_pipelined=case.is_pipelined,
    )


@pytest.mark.parametrize(("client", "case", "loop"), tuple(matrix()))
def test_stored_as_sent(
    client: Client, case: Case, loop: str, servers: Servers, scratch: Path
) -> None:
    serving = servers(case.server, loop)
    serving.taken()
    client.send(sending_of(case, serving, scratch))
    taken = serving.taken()
    assert len(taken) == len(case.mails)
    for mail, (stored, note) in zip(case.mails, taken, strict=True):
        client.compare(mail, stored, is_chunked=case.is_chunked)
        assert note["mail_from"] == f"{case.sender}@example.org"
        assert note["rcpt_tos"] == list(case.rcpt_tos)
        assert ("SMTPUTF8" in note["mail_parameters"]) >= case.is_smtputf8
        assert (note["tls"] is not None) == (case.security != "none")
        assert note["auth"] == (LOGIN[0] if case.mechanism else None)
    assert len({str(note["peer"]) for _, note in taken}) == 1, "more than one connection"


def deluded(
    name: str, serving: Serving, folder: Path, spoil: Callable[[Sending], Sending]
) -> list[str]:
    """Give the clients that believe they have sent what nobody should take."""
    case = CASE[name]

    def sends(client: Client) -> bool:
        own = folder / client.name
        own.mkdir()
        try:
            client.send(spoil(sending_of(case, serving, own)))
        except NotSent:
            return False
        return True

    clients = [client for client in HERE if case.name not in client.cannot]
    with ThreadPoolExecutor(4) as threads:  # an answer to a wrong password takes its time
        results = list(threads.map(sends, clients))
    return [client.name for client, sent in zip(clients, results, strict=True) if sent]


@pytest.mark.parametrize("name", ["login-plain", "login-login", "login-scram-sha-256"])
def test_wrong_password(name: str, servers: Servers, scratch: Path) -> None:
    serving = servers("sink", "asyncio")
    serving.taken()
    assert deluded(name, serving, scratch, lambda sending: replace(sending, password="x")) == []
    assert serving.taken() == []


@pytest.mark.parametrize("name", ["starttls", "tls-5-MB"])
def test_unknown_authority(name: str, servers: Servers, scratch: Path) -> None:
    """All clients look at the certificate; else the other tests of TLS would tell less."""
    serving = servers("sink", "asyncio")
    serving.taken()
    path = scratch / "other.pem"
    trustme.CA().cert_pem.write_to_path(path)
    assert deluded(name, serving, scratch, lambda sending: replace(sending, authority=path)) == []
    assert serving.taken() == []
