"""Who may log in, by a list of users: the secrets, the file they stand in, and the check.

A password is kept as its SCRAM-SHA-256 secret (RFC 5802 §3, written as PostgreSQL writes it), from
which it cannot be read, and which serves PLAIN and LOGIN as well. A user that does not exist costs
the same time as a wrong password, so neither tells who exists.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from pillarbox.certificate import file_stamp
from pillarbox.config import ConfigError
from pillarbox.envelope import Session
from pillarbox.protocol.sasl import (
    STANDARD_MECHANISMS,
    External,
    MechanismFactory,
    Password,
    SaslError,
    ScramSecret,
    ScramUser,
    Token,
    check_identity,
)

__all__ = [
    "ITERATIONS",
    "AnyLogin",
    "Logins",
    "invent_secret",
    "make_secret",
    "parse_secret",
    "render_secret",
]

log = logging.getLogger("pillarbox")

# RFC 7677 §4 wants 4,096 at least and more where it can be borne: some 10 ms of a core, which a
# login costs once and a guess each time.
ITERATIONS = 20_000

_SECRET = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)


def make_secret(password: str, *, salt: bytes | None = None) -> ScramSecret:
    """Derive what is kept of a password.

    Raises:
        ConfigError: It is not Unicode, as what is typed in another encoding.
    """
    salt = os.urandom(16) if salt is None else salt
    try:
        octets = password.encode()
    except UnicodeEncodeError:
        raise ConfigError("the password is not UTF-8; write it in that, or take another") from None
    salted = hashlib.pbkdf2_hmac("sha256", octets, salt, ITERATIONS)
    return _of_salted(salted, salt, ITERATIONS)


# The salt of a user that does not exist has to be the same at each try, or it tells on him.
_MASK = os.urandom(32)


def invent_secret(username: str, *, iterations: int = ITERATIONS) -> ScramSecret:
    """Make up the secret of a user that does not exist: the same each time, and of no password.

    Args:
        username: Who does not exist.
        iterations: As the secrets of those who exist have: the client is told.
    """

    def derive(purpose: str) -> bytes:
        return hmac.digest(_MASK, f"{purpose}:{username}".encode(), "sha256")

    return ScramSecret(derive("salt")[:16], iterations, derive("stored"), derive("server"))


def _of_salted(salted: bytes, salt: bytes, iterations: int) -> ScramSecret:
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramSecret(
        salt,
        iterations,
        hashlib.sha256(client_key).digest(),
        hmac.digest(salted, b"Server Key", "sha256"),
    )


def render_secret(secret: ScramSecret) -> str:
    """Write a secret as one word, as a file of logins has it."""
    salt, stored, server = (
        base64.b64encode(octets).decode()
        for octets in (secret.salt, secret.stored_key, secret.server_key)
    )
    return f"SCRAM-SHA-256${secret.iterations}:{salt}${stored}:{server}"


def parse_secret(text: str) -> ScramSecret:
    """Read what `render_secret()` wrote.

    Raises:
        ValueError: It is something else.
    """
    found = _SECRET.fullmatch(text)
    if found is None:
        raise ValueError("not a hash that `pillarbox passwd` makes")
    try:
        salt, stored, server = (
            binascii.a2b_base64(part, strict_mode=True) for part in found.groups()[1:]
        )
    except binascii.Error:
        raise ValueError("not a hash that `pillarbox passwd` makes") from None
    return ScramSecret(salt, int(found[1]), stored, server)


class Logins:
    """A list of users and their secrets; answers `auth` and `scram_secret` of a handler.

    Args:
        secrets: By the users' names.
        file: More of them, as `user:hash` lines; `refresh()` follows what is changed there.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, secrets: Mapping[str, ScramSecret], *, file: Path | None = None) -> None:
        self.auth_mechanisms = _mechanisms()
        """What clients can log in by: SCRAM where scramp is installed, and PLAIN and LOGIN."""
        self._given = dict(secrets)
        self._file = file
        self._stamp = None if file is None else file_stamp(file)
        self._secrets = self._gathered()
        self._nobody = self._made_up()

    def _made_up(self) -> ScramSecret:
        """Make the secret of nobody: it costs as much to check as most of those that there are."""
        secret = make_secret(os.urandom(16).hex())
        counts = [known.iterations for known in self._secrets.values()] or [secret.iterations]
        return replace(secret, iterations=Counter(counts).most_common(1)[0][0])

    @classmethod
    def read(cls, pairs: Iterable[str] = (), file: Path | None = None) -> Logins:
        """Gather logins from `USER:PASSWORD` texts and a file of `user:hash` lines.

        Raises:
            ConfigError: One of them cannot be used; the message names it, and no password.
        """
        secrets: dict[str, ScramSecret] = {}
        for pair in pairs:
            name, colon, password = pair.partition(":")
            if not colon or not password:
                raise ConfigError("a login is USER:PASSWORD, and one has no colon or no password")
            secrets[_name(name, "the login")] = make_secret(password)
        return cls(secrets, file=file)

    @property
    def is_followed(self) -> bool:
        """Whether there is something to read again."""
        return self._file is not None

    def refresh(self) -> None:
        """Read the file again if it has changed; keep what there is if that fails."""
        if self._file is not None and file_stamp(self._file) != self._stamp:
            self.reload()

    def reload(self) -> None:
        """Read the file again in any case; keep what there is if that fails."""
        if self._file is None:
            return
        self._stamp = file_stamp(self._file)  # also when it fails: it is told once
        try:
            self._secrets = self._gathered()
        except ConfigError as error:
            log.error("the new logins are not used, the old ones still are: %s", error)
            return
        self._nobody = self._made_up()
        log.info("logins read again: %s", self._file)

    def _gathered(self) -> dict[str, ScramSecret]:
        return {**(_read_file(self._file) if self._file is not None else {}), **self._given}

    async def auth(self, _session: Session, credentials: Password | Token | External) -> str | None:
        """Give the user's name if the password is right."""
        if not isinstance(credentials, Password):
            return None
        secret = self._secrets.get(credentials.username)
        # Ten milliseconds of arithmetic are too long for the event loop; OpenSSL frees the thread.
        salted = await asyncio.to_thread(_salted, credentials.password, secret or self._nobody)
        known = secret or self._nobody
        proved = _of_salted(salted, known.salt, known.iterations).stored_key
        is_right = hmac.compare_digest(proved, known.stored_key)
        if secret is None or not is_right:
            return None
        wanted = credentials.authorization_id
        return credentials.username if wanted in ("", credentials.username) else None

    def scram_secret(self, _session: Session, user: ScramUser) -> ScramSecret:
        """Give what SCRAM checks the password by; of nobody, what no password proves."""
        known = self._secrets.get(user.username)
        return known or invent_secret(user.username, iterations=self._nobody.iterations)


class AnyLogin:
    """Lets everybody in as whom they say they are: for catching mail, and for nothing else."""

    auth_mechanisms = ("PLAIN", "LOGIN")

    def auth(self, _session: Session, credentials: Password | Token | External) -> str | None:
        """Give the name that the client gave."""
        return credentials.username if isinstance(credentials, Password) else None


def _mechanisms() -> dict[str, MechanismFactory]:
    names = ("PLAIN", "LOGIN")
    plain = {name: STANDARD_MECHANISMS[name] for name in names}
    if find_spec("scramp") is None:
        return plain
    from pillarbox.scram import SCRAM_MECHANISMS

    return {**SCRAM_MECHANISMS, **plain}


def _salted(password: str, secret: ScramSecret) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), secret.salt, secret.iterations)


def _read_file(file: Path) -> dict[str, ScramSecret]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{file}: {reason}; give a file of user:hash lines") from None
    secrets: dict[str, ScramSecret] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{file}, line {number}"
        name, _, text = line.strip().partition(":")
        try:
            secrets[_name(name, where)] = parse_secret(text)
        except ValueError:
            raise ConfigError(
                f"{where}: not user:hash; make such a line by `pillarbox passwd USER`"
            ) from None
    return secrets


def _name(name: str, where: str) -> str:
    try:
        return check_identity(name)
    except SaslError as error:
        raise ConfigError(f"{where}: {error}") from None
