"""Logins: secrets that are made, written, read, and proved."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from pillarbox import ConfigError
from pillarbox.envelope import Session
from pillarbox.login import ITERATIONS, Logins, make_secret, parse_secret, render_secret
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.sasl import Password, ScramUser, Token
from pillarbox.protocol.server import ServerConnection

SECRET = make_secret("pencil", salt=b"0123456789abcdef")
SESSION = Session(
    ServerConnection(Offer(hostname="mx.test")), id="1", peer=("::1", 1), local=("::1", 25)
)


def answer(logins: Logins, credentials: Password | Token) -> str | None:
    return asyncio.run(logins.auth(SESSION, credentials))


def test_there_and_back() -> None:
    text = render_secret(SECRET)
    assert text.startswith(f"SCRAM-SHA-256${ITERATIONS}:MDEyMzQ1Njc4OWFiY2RlZg==$")
    assert parse_secret(text) == SECRET


def test_no_two_salts_are_the_same() -> None:
    assert make_secret("pencil") != make_secret("pencil")


def test_the_vector_of_rfc_7677() -> None:
    # §3: the keys that the exchange with user "user" and password "pencil" is proved by.
    secret = parse_secret(
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert answer(Logins({"user": secret}), Password("user", "pencil")) == "user"


GOOD = render_secret(SECRET)


@pytest.mark.parametrize(
    "text",
    [
        *("", "pencil", GOOD[:-2], GOOD + "=", GOOD.replace("256", "1"), GOOD.replace(":", "$")),
        *(GOOD.replace("$20000", "$0"), GOOD.replace("$20000", "$２"), GOOD + "\n"),
        "SCRAM-SHA-256$1:=$a:b",
    ],
)
def test_no_secret(text: str) -> None:
    with pytest.raises(ValueError, match="not a hash that `pillarbox passwd` makes"):
        parse_secret(text)


LOGINS: list[tuple[Password | Token, str | None]] = [
    (Password("ann", "pencil"), "ann"),
    (Password("ann", "pencil", "ann"), "ann"),
    (Password("ann", "pencil", "ben"), None),
    (Password("ann", "Pencil"), None),
    (Password("ann", ""), None),
    (Password("ben", "pencil"), None),
    (Password("Ann", "pencil"), None),
    (Token("ann", "pencil"), None),
]


@pytest.mark.parametrize(("credentials", "identity"), LOGINS)
def test_login(credentials: Password | Token, identity: str | None) -> None:
    assert answer(Logins({"ann": SECRET}), credentials) == identity


@pytest.mark.parametrize("iterations", [4096, ITERATIONS])
def test_an_unknown_user_costs_as_much_as_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch, iterations: int
) -> None:
    work: list[int] = []
    hash_password = hashlib.pbkdf2_hmac

    def counting(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        work.append(iterations)
        return hash_password(name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counting)
    logins = Logins({"ann": replace(SECRET, iterations=iterations)})
    work.clear()
    assert answer(logins, Password("ann", "wrong")) is None
    assert answer(logins, Password("nobody", "wrong")) is None
    assert work == [iterations, iterations]


def test_the_secret_of_a_user() -> None:
    logins = Logins({"ann": SECRET})
    assert logins.scram_secret(SESSION, ScramUser("ann")) == SECRET


@pytest.mark.parametrize("iterations", [4096, ITERATIONS])
def test_the_secret_of_nobody_looks_like_the_others(iterations: int) -> None:
    """SCRAM tells the salt and the iterations to whoever asks."""
    logins = Logins({"ann": replace(SECRET, iterations=iterations)})
    nobody = logins.scram_secret(SESSION, ScramUser("ben"))
    assert nobody.iterations == iterations
    assert len(nobody.salt) == len(SECRET.salt)
    assert nobody == logins.scram_secret(SESSION, ScramUser("ben"))
    assert nobody != logins.scram_secret(SESSION, ScramUser("cora"))


def test_read(tmp_path: Path) -> None:
    file = tmp_path / "logins"
    file.write_text(f"# who may send\n\nann:{GOOD}\n", encoding="utf-8")
    logins = Logins.read(["ben:a:b"], file)
    assert answer(logins, Password("ann", "pencil")) == "ann"
    assert answer(logins, Password("ben", "a:b")) == "ben"
    assert logins.scram_secret(SESSION, ScramUser("ann")) == SECRET


def test_the_file_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    file = tmp_path / "logins"
    file.write_text(f"ann:{GOOD}\n", encoding="utf-8")
    logins = Logins.read(["ben:pencil"], file)
    assert logins.is_followed
    logins.refresh()
    assert caplog.messages == []

    file.write_text(f"cora:{GOOD}\nben:{GOOD}\n", encoding="utf-8")
    logins.refresh()
    logins.refresh()
    assert caplog.messages == [f"logins read again: {file}"]
    assert answer(logins, Password("ann", "pencil")) is None
    assert answer(logins, Password("ben", "pencil")) == "ben"
    assert answer(logins, Password("cora", "pencil")) == "cora"


@pytest.mark.parametrize("text", ["ann:secret\n", None], ids=["broken", "removed"])
def test_a_file_that_breaks_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    caplog.set_level("INFO")
    file = tmp_path / "logins"
    file.write_text(f"ann:{GOOD}\n", encoding="utf-8")
    logins = Logins.read(file=file)
    file.unlink()
    if text is not None:
        file.write_text(text, encoding="utf-8")
    logins.refresh()
    logins.refresh()  # told once
    [message] = caplog.messages
    assert message.startswith(f"the new logins are not used, the old ones still are: {file}")
    assert "pillarbox passwd" in message or "give a file of user:hash lines" in message
    assert answer(logins, Password("ann", "pencil")) == "ann"
    logins.reload()  # asked for, it is told again
    assert len(caplog.messages) == 2

    file.write_text(f"cora:{GOOD}\n", encoding="utf-8")
    logins.refresh()
    assert caplog.messages[2:] == [f"logins read again: {file}"]


def test_nothing_to_follow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    logins = Logins.read(["ben:pencil"])
    logins.refresh()
    logins.reload()
    assert not logins.is_followed
    assert caplog.messages == []


@pytest.mark.parametrize("pair", ["ann", "ann:", ":secret", "a\nb:secret", "ann:secret\udcff", ""])
def test_no_login(pair: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Logins.read([pair])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("line", ["ann", "ann:secret", f"{GOOD}", f":{GOOD}", f"a\x1bb:{GOOD}"])
def test_a_line_that_is_no_login(tmp_path: Path, line: str) -> None:
    file = tmp_path / "logins"
    file.write_text(f"# logins\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"logins, line 2: ") as caught:
        Logins.read(file=file)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; give a file of user:hash"):
        Logins.read(file=tmp_path / "none")
    file = tmp_path / "logins"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        Logins.read(file=file)
