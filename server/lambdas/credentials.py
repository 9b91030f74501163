"""TLS of the lambda host: what it shows."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from server.certificates import CertificateUnusable, Watch, pair
from server.settings import Lambdas

log = logging.getLogger(__name__)


def context_of(settings: Lambdas) -> ssl.SSLContext | None:
    """What the host shows; None is plain text. Files that are replaced count from the next connection on.

    Raises:
        CertificateUnusable: certificate or key is no good.
    """
    if settings.certificate is None or settings.key is None:
        return None
    return _Shown(settings.certificate, settings.key).first


class _Shown:
    """The certificate that the host shows. A replaced pair that is no good is told, and the one before stays."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._watch = Watch((certificate, key))
        self.first = self._newest = self._context()
        self.first.sni_callback = self._asked

    def _asked(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Asked before each connection, whether its client names the host or not."""
        if self._watch.changed():
            try:
                self._newest = self._context()
            except (CertificateUnusable, OSError) as error:
                log.error("the certificate before stays: %s", error)
        connection.context = self._newest

    def _context(self) -> ssl.SSLContext:
        pair(self._certificate, self._key, "LUNA_LAMBDAS__")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._certificate, self._key)
        return context
