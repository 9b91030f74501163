"""Certificates in PEM files: whether they can be used, whom they name, and whether they were replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

RSA_BITS = 2048
"""Envoy takes no shorter RSA keys."""

CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""Curves of the keys that Envoy takes."""


_NOT_UNDERSTOOD = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class CertificateUnusable(Exception):
    """A file of the settings is not the certificate, key or authority that it should be."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What there is to say of a certificate.

    Attributes:
        name: a name or an IP address that it is valid for.
        names: all of them.
        ends: until when it is valid.
        pem: itself, without its chain.
    """

    name: str
    names: tuple[str, ...]
    ends: datetime
    pem: bytes


def pair(certificate: Path, key: Path, group: str) -> Certificate:
    """The certificate of two files that a server can use.

    Args:
        certificate: PEM file of the certificate, with its chain after it.
        key: PEM file of its private key.
        group: the settings that name the files, without their last parts: LUNA_TLS__.

    Raises:
        CertificateUnusable: a file cannot be read or is not PEM, the key is not that of the certificate or of a kind
            that nobody takes, or the certificate is not valid now.
    """
    setting, key_setting = f"{group}CERTIFICATE", f"{group}KEY"
    first = _certificates(certificate, setting)[0]
    now = datetime.now(UTC)
    if first.not_valid_after_utc < now:
        message = f"{setting}: {certificate} has expired on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise CertificateUnusable(message)
    if first.not_valid_before_utc > now:
        message = f"{setting}: {certificate} is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise CertificateUnusable(message)
    private = _key(key, key_setting)
    if not _taken(private):
        message = f"{key_setting}: {key} is neither RSA of {RSA_BITS} bits or more nor ECDSA on P-256, P-384 or P-521"
        raise CertificateUnusable(message)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        message = f"{key_setting}: {key} is not the key of the certificate in {certificate} ({setting})"
        raise CertificateUnusable(message)
    return _described(first)


def authorities(path: Path, setting: str) -> bytes:
    """The authorities of a file, in PEM.

    Raises:
        CertificateUnusable: it cannot be read, or is not PEM.
    """
    return b"".join(one.public_bytes(Encoding.PEM) for one in _certificates(path, setting))


def shown(path: Path, setting: str) -> Certificate:
    """The certificate of a file, whether it is valid now or not.

    Raises:
        CertificateUnusable: it cannot be read, or is not PEM.
    """
    return _described(_certificates(path, setting)[0])


def mistrust(details: str) -> str:
    """Why a client did not believe a server, out of gRPC's many words; empty where they do not say."""
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is signed by nobody who is believed here"
    if "Hostname Verification" in details:
        return "its certificate has not the name that is expected"
    if "WRONG_VERSION_NUMBER" in details:
        return "it speaks plain text"
    return ""


class Watch:
    """Tells whether files were replaced: by others under their names, by links that lead elsewhere, or by new content.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._seen = self._now()

    def changed(self) -> bool:
        """True once after each time that something was replaced."""
        before, self._seen = self._seen, self._now()
        return before != self._seen

    def _now(self) -> list[tuple[int, int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _certificates(path: Path, setting: str) -> list[x509.Certificate]:
    data = _bytes(path, setting)
    try:
        found = x509.load_pem_x509_certificates(data)
        # what is read later on is tried here
        found[0].public_key()
        _names(found[0])
    except _NOT_UNDERSTOOD as error:
        message = f"{setting}: {path} holds no certificate in PEM"
        raise CertificateUnusable(message) from error
    return found


def _key(path: Path, setting: str) -> PrivateKeyTypes:
    data = _bytes(path, setting)
    try:
        return load_pem_private_key(data, None)
    except TypeError as error:
        message = f"{setting}: the private key in {path} has a password: nobody is there to type it"
        raise CertificateUnusable(message) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"{setting}: {path} holds no private key in PEM"
        raise CertificateUnusable(message) from error


def _bytes(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{setting}: {path} cannot be read: {error.strerror or error}"
        raise CertificateUnusable(message) from error


def _taken(key: PrivateKeyTypes) -> bool:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size >= RSA_BITS
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES)


def _described(one: x509.Certificate) -> Certificate:
    names = _names(one)
    return Certificate(names[0] if names else "", names, one.not_valid_after_utc, one.public_bytes(Encoding.PEM))


def _names(one: x509.Certificate) -> tuple[str, ...]:
    """Whom a certificate is valid for; its common name counts where it has no alternative names, as gRPC has it."""
    try:
        other = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(str(name.value) for name in one.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    addresses = (str(address) for address in other.get_values_for_type(x509.IPAddress))
    return (*other.get_values_for_type(x509.DNSName), *addresses)
