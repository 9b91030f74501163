"""Certificates for tests, signed by an authority of theirs or by themselves, and files of them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    private: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key(self) -> bytes:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def locked_key(self, password: bytes) -> bytes:
        """The key with a password."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))


def authority(name: str = "an authority of tests") -> Made:
    """An authority."""
    return _made((), name, None, _key(), authority=True, begins=-1, days=30)


def certificate(
    *names: str, by: Made | None = None, key: Key | None = None, begins: float = -1, days: float = 30
) -> Made:
    """A certificate for some names and IP addresses, signed by an authority or by itself, valid so many days."""
    return _made(names, "a certificate of tests", by, key or _key(), authority=False, begins=begins, days=days)


def placed(made: Made, folder: Path, name: str = "server") -> tuple[Path, Path]:
    """The files of a certificate and its key, moved to where they belong, as careful people replace them."""
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    for path, data in zip(paths, (made.pem, made.key), strict=True):
        moved(path, data)
    return paths


def moved(path: Path, data: bytes) -> None:
    """Replace a file by another one."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


def _key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _made(
    names: tuple[str, ...], common: str, by: Made | None, key: Key, *, authority: bool, begins: float, days: float
) -> Made:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
    signing: CertificateIssuerPrivateKeyTypes = key if by is None else by.private
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else SHA256()
    return Made(builder.sign(signing, algorithm), key)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
