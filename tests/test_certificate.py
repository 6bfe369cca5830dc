"""Certificates that follow their files, and what is said when they cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from pillarbox.certificate import CertificateFiles, Certificates

AUTHORITY = trustme.CA()


def write(path: Path) -> Path:
    AUTHORITY.issue_cert("mx.test").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture
def file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level("INFO")
    return write(tmp_path / "cert.pem")


def test_a_new_certificate_is_told_of_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates(CertificateFiles(certificate=file))
    before, bound_to = certificates.context, certificates.end_point
    certificates.refresh()
    assert certificates.context is before
    write(file)
    certificates.refresh()
    certificates.refresh()
    assert certificates.context is not before
    assert certificates.end_point != bound_to
    assert caplog.messages == [f"certificate read again: {file}"]


BROKEN = {
    "removed": (None, "No such file or directory; give a PEM file that this user may read"),
    "empty": (b"", "give the certificate and the private key that belongs to it"),
    "no text": (b"\xff", "give the certificate and the private key that belongs to it"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_one_that_cannot_be_used(file: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    octets, remedy = BROKEN[kind]
    certificates = Certificates(CertificateFiles(certificate=file))
    before, bound_to = certificates.context, certificates.end_point
    file.unlink()
    if octets is not None:
        file.write_bytes(octets)
    certificates.refresh()
    certificates.refresh()
    [message] = caplog.messages
    assert message.startswith(f"the new certificate is not used, the old one still is: {file}")
    assert remedy in message
    certificates.reload()  # asked for, it is told again
    assert len(caplog.messages) == 2
    assert certificates.context is before
    assert certificates.end_point == bound_to

    write(file)
    certificates.refresh()
    assert caplog.messages[2:] == [f"certificate read again: {file}"]
    assert certificates.context is not before


def test_the_certificates_of_other_names(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = write(tmp_path / "other.pem")
    files = CertificateFiles(
        certificate=file, names={"other.test": CertificateFiles(certificate=other)}
    )
    certificates = Certificates(files)
    os.utime(other, (1, 1))
    certificates.refresh()
    assert caplog.messages == [f"certificate read again: {other}"]
    caplog.clear()
    certificates.reload()
    assert caplog.messages == [f"certificate read again: {path}" for path in (other, file)]


def test_one_that_has_no_certificate_as_we_need_it(file: Path) -> None:
    """OpenSSL takes this kind of PEM, and no client could bind a login to it."""
    text = file.read_text().replace("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE")
    file.write_text(text.replace("END CERTIFICATE", "END TRUSTED CERTIFICATE"))
    with pytest.raises(ValueError, match="both as PEM"):
        Certificates(CertificateFiles(certificate=file))
