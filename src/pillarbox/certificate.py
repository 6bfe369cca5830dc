"""The server's certificate: read from files, read again when they change, one for each name.

A renewed certificate is used for the next connection without a restart. Connections that are open
keep what they began with.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pillarbox.channel_binding import end_point
from pillarbox.config import ConfigError

__all__ = ["CertificateFiles", "Certificates", "file_stamp"]

log = logging.getLogger("pillarbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """Where the certificate and its key are.

    Args:
        certificate: A PEM file with the server's certificate and those of its issuers.
        key: A PEM file with the private key; the certificate's own file where it is in there.
        names: Other certificates for clients that ask for these names (SNI).
        client_authorities: A PEM file of authorities whose client certificates are asked for and
            checked; handlers see a valid one as `session.tls.client_certificate`.
    """

    certificate: Path
    key: Path | None = None
    names: Mapping[str, CertificateFiles] = field(default_factory=dict)
    client_authorities: Path | None = None

    def __post_init__(self) -> None:
        """Check that there is something to read."""
        self.check()

    def check(self) -> None:
        """Check that the files can be read.

        Raises:
            ConfigError: One cannot.
        """
        for path in self._paths():
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise ConfigError(
                    f"{path}: {error.strerror}; give a PEM file that this user may read"
                ) from None

    def _paths(self) -> list[Path]:
        paths = [self.certificate, self.key, self.client_authorities]
        return [path for path in paths if path is not None]

    def stamp(self) -> tuple[object, ...]:
        """Give something that differs once a file has changed."""
        return tuple(map(file_stamp, self._paths()))


def file_stamp(path: Path) -> object:
    """Give something that differs once a file has changed; `None` for one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


class Certificates:
    """TLS contexts that follow their files.

    Args:
        files: Where they are.
        password: What the private key is encrypted with.
        follow: Read the files again when they change.

    Raises:
        ConfigError: They cannot be used; the message says which and why.
    """

    def __init__(
        self, files: CertificateFiles, *, password: bytes | None = None, follow: bool = True
    ) -> None:
        self._files = files
        self._password = password
        self.is_followed = follow
        """Whether there is something to read again."""
        self._stamp = files.stamp()
        context, der = _load(files, password)
        self.context = context
        """For the next connection."""
        self.end_point = end_point(der)
        """What a SASL login can be bound to (RFC 5929 §4), if to anything."""
        self.fingerprint = hashlib.sha256(der).digest()
        """What people compare."""
        self._others = {name.lower(): Certificates(other) for name, other in files.names.items()}
        self._listen_to_names()

    def refresh(self) -> None:
        """Read the files again if they have changed; keep what there is if that fails."""
        for other in self._others.values():
            other.refresh()
        if self.is_followed and self._files.stamp() != self._stamp:
            self._read_again()

    def reload(self) -> None:
        """Read the files again in any case; keep what there is if that fails."""
        for other in self._others.values():
            other.reload()
        if self.is_followed:
            self._read_again()

    def _read_again(self) -> None:
        self._stamp = self._files.stamp()  # also when it fails: it is told once
        try:
            self.context, der = _load(self._files, self._password)
        except ConfigError as error:
            log.error("the new certificate is not used, the old one still is: %s", error)
            return
        self.end_point = end_point(der)
        self.fingerprint = hashlib.sha256(der).digest()
        self._listen_to_names()
        log.info("certificate read again: %s", self._files.certificate)

    def for_name(self, name: str | None) -> Certificates:
        """Give those that a client is shown which asks for a name (SNI), or for none."""
        return self._others.get(name.lower(), self) if name is not None else self

    def _listen_to_names(self) -> None:
        def choose(
            connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext
        ) -> None:
            # The object is the one way to remember what was asked for: Python tells it nowhere.
            connection.pillarbox_server_name = name  # type: ignore[union-attr]
            if (shown := self.for_name(name)) is not self:
                connection.context = shown.context

        self.context.sni_callback = choose


def _first_of(certificate: Path) -> bytes:
    """Read the server's own certificate, as DER."""
    pem = certificate.read_text()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    first = pem[pem.index(begin) : pem.index(end) + len(end)]
    return ssl.PEM_cert_to_DER_cert(first)


def _load(files: CertificateFiles, password: bytes | None) -> tuple[ssl.SSLContext, bytes]:
    """Make a context; give it with the certificate that it shows.

    Raises:
        ConfigError: The files cannot be used.
    """
    files.check()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A renegotiation is work that a client can ask for at no cost of its own.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Mail clients seldom come back with a ticket. The usual two are a seventh of a handshake,
    # and the key that they are made with could open recorded sessions as long as we run.
    context.num_tickets = 0
    try:
        # Without any password OpenSSL would ask for that of an encrypted key at the terminal.
        context.load_cert_chain(files.certificate, files.key, password or b"")
        der = _first_of(files.certificate)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise ConfigError(
            f"{files.certificate} and {files.key or 'its key'}: {reason};"
            " give the certificate and the private key that belongs to it, both as PEM and not"
            " encrypted"
        ) from None
    if files.client_authorities is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(files.client_authorities)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise ConfigError(
                f"{files.client_authorities}: {reason}; give certificates as PEM"
            ) from None
    return context, der
