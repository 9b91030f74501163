"""TLS between servers and a shared engine: what the engine shows, and what servers believe."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from server.certificates import CertificateUnusable, Watch, authorities, pair
from server.settings import Engine

log = logging.getLogger(__name__)

_GROUP = "LUNA_ENGINE__"


class SeveralEngines(Exception):
    """Several engines by TLS need one name that all of their certificates have: gRPC checks no list of addresses."""


def credentials_of(settings: Engine) -> grpc.ServerCredentials | None:
    """What an engine shows; None is plain text. Files that are replaced count from the next connection on.

    Raises:
        CertificateUnusable: certificate or key is no good.
    """
    if settings.certificate is None or settings.key is None:
        return None
    shown = _Shown(settings.certificate, settings.key)
    # None, which the types do not have, is gRPC's word for nothing new
    return grpc.dynamic_ssl_server_credentials(shown.configuration(), shown.replaced)  # type: ignore[arg-type]


def trusted(settings: Engine) -> tuple[grpc.ChannelCredentials, list[tuple[str, str | int]]] | None:
    """Credentials and options of a server's channel to its engines; None is plain text.

    Raises:
        CertificateUnusable: the file of authorities is no good.
        SeveralEngines: there are several, and no name.
    """
    if settings.ca is None:
        return None
    if "," in settings.address and not settings.name:
        raise SeveralEngines
    credentials = grpc.ssl_channel_credentials(authorities(settings.ca, "LUNA_ENGINE__CA"))
    return credentials, [("grpc.ssl_target_name_override", settings.name)] if settings.name else []


class _Shown:
    """The certificate that an engine shows. A replaced pair that is no good is told, and the one before stays."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._watch = Watch((certificate, key))

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What is in the files.

        Raises:
            CertificateUnusable: it is no good.
        """
        pair(self._certificate, self._key, _GROUP)
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._certificate.read_bytes())])

    def replaced(self) -> grpc.ServerCertificateConfiguration | None:
        """What is new in the files, if there is something; gRPC asks before each connection."""
        if not self._watch.changed():
            return None
        try:
            return self.configuration()
        except (CertificateUnusable, OSError) as error:
            log.error("the certificate before stays: %s", error)
            return None
