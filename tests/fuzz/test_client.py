"""The client, whatever a server says: nothing but RemoteProtocolError comes of it."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import LoggedIn, Sent
from pillarbox.protocol.sasl import Password, TlsFacts, Token
from pillarbox.protocol.sasl_client import CLIENT_MECHANISMS, ClientCredentials
from pillarbox.scram_client import SCRAM_CLIENT_MECHANISMS
from tests.fuzz.strategies import pieces
from tests.protocol.client_dialogue import Action, Driver, encrypts, quits, sends

MECHANISMS = {**SCRAM_CLIENT_MECHANISMS, **CLIENT_MECHANISMS}
FACTS = TlsFacts({"tls-unique": b"x"})

REPLY_LINES = [
    *(b"220 mx.test", b"250-mx.test", b"250 PIPELINING", b"250 CHUNKING", b"250-PIPELINING"),
    *(b"250-STARTTLS", b"250-AUTH PLAIN SCRAM-SHA-256", b"250 LIMITS MAILMAX=1 RCPTMAX=1"),
    *(b"220 Go", b"235 OK", b"334 ", b"334 QQ==", b"334 ?", b"535 No", b"501 No"),
    *(b"250 OK", b"354 Go", b"421 Bye", b"450 Later", b"550 No", b"", b"x"),
]
WORDS = [line.split()[0] for line in REPLY_LINES if line]
CREDENTIALS: list[ClientCredentials] = [Password("ann", "secret"), Token("ann", "secret")]

replies = st.one_of(
    st.sampled_from(REPLY_LINES),
    st.builds(lambda word, text: word + b" " + text, st.sampled_from(WORDS), st.binary(max_size=9)),
    st.binary(max_size=40).map(lambda octets: b"334 " + base64.b64encode(octets)),
)
streams = st.lists(replies, max_size=30).map(lambda lines: b"".join(x + b"\r\n" for x in lines))
# Most servers get no further than their greeting; these do.
OPENING = b"220 mx.test\r\n250-mx.test\r\n250-STARTTLS\r\n"
openings = st.sampled_from(
    [
        b"",
        *(
            OPENING + b"250 %b\r\n" % more
            for more in (
                b"PIPELINING",
                b"CHUNKING",
                b"AUTH PLAIN",
                b"AUTH LOGIN",
                b"AUTH SCRAM-SHA-256",
                b"AUTH XOAUTH2",
            )
        ),
    ]
)


def logs_in(credentials: ClientCredentials) -> Action:
    def login(connection: ClientConnection) -> None:
        if not connection.is_logged_in:
            connection.login(credentials, mechanisms=MECHANISMS, allow_plaintext=True)
        else:
            connection.quit()

    return login


def encrypts_once(connection: ClientConnection) -> None:
    if connection.tls_facts is None:
        encrypts(connection)
    else:
        connection.quit()


@given(st.data(), openings, streams, st.booleans(), st.booleans())
def test_any_server(
    data: st.DataObject, opening: bytes, stream: bytes, is_lmtp: bool, is_tls: bool
) -> None:
    actions = [sends("a@b", "c@d"), sends(data=b"x" * 10), sends(), encrypts_once]
    actions += [logs_in(credentials) for credentials in CREDENTIALS]
    order = data.draw(st.permutations(actions))
    lines: list[str] = []
    driver = Driver(
        iter([*order, quits]),
        connection=ClientConnection(
            "client.test", is_lmtp=is_lmtp, is_tls=is_tls, trace=lines.append
        ),
        facts=FACTS,
    )
    driver.pump()
    for piece in data.draw(pieces(opening + stream)):
        driver.hear(piece)
    driver.hear_eof()
    assert driver.is_closed
    assert sum(isinstance(event, Sent) for event in driver.events) <= 3
    assert driver.connection.closing_reply is not None
    # No secret is shown, and none is believed to be known that was not proved.
    said = "\n".join(line for line in lines if line.startswith("C: "))
    assert not any(shown in said for shown in ("secret", "c2VjcmV0", "AGFubgBzZWNyZXQ"))
    proved = [event for event in driver.events if isinstance(event, LoggedIn)]
    assert not any(event.mechanism.startswith("SCRAM") for event in proved)


@given(st.binary(max_size=200), st.booleans())
def test_any_octets(stream: bytes, is_lmtp: bool) -> None:
    driver = Driver(connection=ClientConnection("client.test", is_lmtp=is_lmtp))
    driver.hear(stream)
    driver.hear_eof()
    assert driver.is_closed
