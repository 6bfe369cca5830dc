"""SCRAM: the vector of RFC 7677, and that nothing but the exact secret succeeds."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.login import make_secret, parse_secret
from pillarbox.protocol.sasl import (
    Challenge,
    Failure,
    Outcome,
    Question,
    SaslError,
    ScramSecret,
    ScramUser,
    Success,
    TlsFacts,
)
from pillarbox.scram import SCRAM_MECHANISMS, Scram

VECTOR = parse_secret(
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
SECRET = make_secret("secret")
FACTS = TlsFacts({"tls-server-end-point": b"x" * 32})
FIRST = b"n,,n=ann,r=abcdefghijklmnop"


def challenge(outcome: Outcome) -> bytes:
    assert isinstance(outcome, Challenge)
    return outcome.data


def test_the_vector_of_rfc_7677() -> None:
    exchange = Scram("SCRAM-SHA-256", None, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert exchange.start(first) == Question(ScramUser("user"))
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert challenge(exchange.answer(VECTOR)) == (
        b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    final = b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert challenge(exchange.respond(final)) == (b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert exchange.respond(b"") == Success("user")


def play(
    password: str, secret: ScramSecret | None, *, name: str = "SCRAM-SHA-256", user: str = "ann"
) -> Outcome:
    """Log in as a client of scramp."""
    binding = ("tls-server-end-point", b"x" * 32) if name.endswith("-PLUS") else None
    client = scramp.ScramClient([name], user, password, channel_binding=binding)
    exchange = SCRAM_MECHANISMS[name](FACTS)
    assert exchange.start(None) == Challenge(b"")
    assert exchange.respond(client.get_client_first().encode()) == Question(ScramUser(user))
    client.set_server_first(challenge(exchange.answer(secret)).decode())
    outcome = exchange.respond(client.get_client_final().encode())
    if isinstance(outcome, Failure):
        return outcome
    client.set_server_final(challenge(outcome).decode())
    return exchange.respond(b"")


@pytest.mark.parametrize("name", SCRAM_MECHANISMS)
@pytest.mark.parametrize("user", ["ann", "a,b=c", "né"])
def test_login(name: str, user: str) -> None:
    assert play("secret", SECRET, name=name, user=user) == Success(user)
    assert play("Secret", SECRET, name=name, user=user) == Failure()
    assert play("secret", None, name=name, user=user) == Failure()


@pytest.mark.parametrize(
    ("name", "header", "binding"),
    [
        ("SCRAM-SHA-256", b"n,a=ann,", b""),
        ("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,a=ann,", b"x" * 32),
    ],
)
@pytest.mark.parametrize("password", ["secret", "Secret"])
def test_a_client_that_says_whom_it_acts_as(
    name: str, header: bytes, binding: bytes, password: str
) -> None:
    """What mutt sends: the authorization id, though it is the user's own name."""
    exchange = Scram(name, FACTS if binding else None, nonce="server")
    bare = b"n=ann,r=abcdefghijklmnop"
    assert exchange.start(header + bare) == Question(ScramUser("ann"))
    first = challenge(exchange.answer(SECRET))
    final = b"c=" + base64.b64encode(header + binding) + b",r=abcdefghijklmnopserver"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), SECRET.salt, SECRET.iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    signature = hmac.digest(stored_key, b",".join((bare, first, final)), "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    outcome = exchange.respond(final + b",p=" + base64.b64encode(proof))
    if password == "secret":
        assert challenge(outcome).startswith(b"v=")
        assert exchange.respond(b"") == Success("ann")
    else:
        assert outcome == Failure()


def test_an_authorization_id_that_changes_on_the_way() -> None:
    exchange = Scram("SCRAM-SHA-256", None)
    exchange.start(b"n,a=ann,n=ann,r=abcdefghijklmnop")
    nonce = challenge(exchange.answer(SECRET)).split(b",")[0]
    assert exchange.respond(b"c=biws," + nonce + b",p=" + b"A" * 43 + b"=") == Failure()


def test_nobody_has_the_same_salt_each_time() -> None:
    salts = set()
    for user in ("ann", "ann", "ben"):
        exchange = Scram("SCRAM-SHA-256", None)
        exchange.start(b"n,,n=%b,r=abcdefghijklmnop" % user.encode())
        salts.add(challenge(exchange.answer(None)).split(b",")[1])
    assert len(salts) == 2


@pytest.mark.parametrize(
    "first",
    [
        *(b"", b"n,,", b"n,,n=,r=abc", b"n,,n=ann", b"x,,n=ann,r=abc", b"\xff", b"n,,n=a\nb,r=abc"),
        *(b"n,a=ben,n=ann,r=abc", b"n,,n=ann,r=", b"p=,,n=ann,r=abc", b"n,,m=x,n=ann,r=abc"),
    ],
)
def test_no_first_message(first: bytes) -> None:
    with pytest.raises(SaslError):
        Scram("SCRAM-SHA-256", None).start(first)


@pytest.mark.parametrize(
    ("name", "first", "facts"),
    [
        ("SCRAM-SHA-256-PLUS", FIRST, FACTS),
        ("SCRAM-SHA-256-PLUS", b"y,,n=ann,r=abcdefghijklmnop", FACTS),
        ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=ann,r=abcdefghijklmnop", FACTS),
        ("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=ann,r=abcdefghijklmnop", None),
        ("SCRAM-SHA-256", b"p=tls-server-end-point,,n=ann,r=abcdefghijklmnop", FACTS),
    ],
)
def test_a_binding_that_is_not_there(name: str, first: bytes, facts: TlsFacts | None) -> None:
    exchange = Scram(name, facts)
    assert isinstance(exchange.start(first), Question)
    assert exchange.answer(SECRET) == Failure()


def test_a_server_that_seems_to_have_no_binding() -> None:
    """The client could bind and saw no -PLUS, which we do offer: somebody took it off the list."""
    assert Scram("SCRAM-SHA-256", FACTS).start(b"y,,n=ann,r=abcdefghijklmnop") == Failure()
    assert isinstance(Scram("SCRAM-SHA-256", None).start(b"y,,n=ann,r=abc"), Question)


PARTS = st.sampled_from([b"c=biws", b"r=", b"abc", b"p=", b",", b"=", b"n", b"p=AAAA", b"AA=="])
RESPONSES = st.one_of(st.binary(), st.lists(st.one_of(PARTS, st.binary(max_size=3))).map(b"".join))


@given(RESPONSES)
def test_any_first_message(response: bytes) -> None:
    exchange = Scram("SCRAM-SHA-256", FACTS)
    try:
        outcome = exchange.start(response)
    except SaslError:
        return
    assert isinstance(outcome, Question)
    assert isinstance(exchange.answer(SECRET), Challenge | Failure)


@given(RESPONSES, st.booleans(), st.booleans())
def test_any_proof(response: bytes, is_known: bool, has_nonce: bool) -> None:
    exchange = Scram("SCRAM-SHA-256", None)
    exchange.start(FIRST)
    nonce = challenge(exchange.answer(SECRET if is_known else None)).split(b",")[0]
    if has_nonce:
        proof = base64.b64encode(response)
        response = b"c=biws," + nonce + b",p=" + proof
    try:
        outcome = exchange.respond(response)
    except SaslError:
        return
    assert outcome == Failure()
