"""How this package's own clients reach the ports that Envoy has: in plain text, or by TLS.

Where the settings have the certificate of the service itself, clients of the same machine believe that certificate and
no other, whatever it names: what they connect to is an address of loopback, which no certificate names. Elsewhere they
believe authorities, and the certificate has to name the host.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from server.certificates import CertificateUnusable, Watch, authorities, pair, shown
from server.settings import Tls

_KEPT = 2
"""Certificates that are believed: Envoy may still have the one before, where the new one is no good."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a client believes of a service, and what it shows of itself.

    Attributes:
        roots: certificates, in PEM, that the service has or that have signed its own; None is what everybody believes.
        name: the name that the service's certificate has to have; empty is the host that is connected to.
        own: certificate and key that are shown to a service that wants them.
    """

    roots: bytes | None = None
    name: str = ""
    own: tuple[Path, Path] | None = None

    def channel(self) -> tuple[grpc.ChannelCredentials, list[tuple[str, str]]]:
        """Credentials and options of a gRPC channel."""
        chain, key = (self.own[0].read_bytes(), self.own[1].read_bytes()) if self.own else (None, None)
        credentials = grpc.ssl_channel_credentials(self.roots, private_key=key, certificate_chain=chain)
        return credentials, [("grpc.ssl_target_name_override", self.name)] if self.name else []

    def context(self, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
        """The same for other connections, which speak one of some protocols."""
        context = ssl.create_default_context() if self.roots is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.roots is not None:
            context.load_verify_locations(cadata=self.roots.decode())
            # a certificate that is believed by itself need not be an authority's
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = not self.name
        context.set_alpn_protocols(list(protocols))
        if self.own:
            context.load_cert_chain(*self.own)
        return context


def trust_of(tls: Tls) -> Trust | None:
    """What clients believe by the settings; None is plain text.

    Raises:
        CertificateUnusable: a file is not what it should be.
    """
    own = own_of(tls)
    if tls.certificate is not None:
        return trusted_itself(tls.certificate, "LUNA_TLS__CERTIFICATE", own)
    if tls.ca is not None:
        return Trust(authorities(tls.ca, "LUNA_TLS__CA"), "", own)
    return None


def trusted_itself(path: Path, setting: str, own: tuple[Path, Path] | None = None) -> Trust:
    """The certificate of a file is believed, wherever it is met, and no other.

    Raises:
        CertificateUnusable: there is none in the file.
    """
    certificate = shown(path, setting)
    # where all names of a domain are meant, one of them is expected
    return Trust(certificate.pem, certificate.name.replace("*", "any", 1), own)


class LastingTrust:
    """What a process that runs for long believes: files that were replaced are read again.

    Args:
        tls: the settings.

    Raises:
        CertificateUnusable: a file is not what it should be.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        files = (tls.certificate, tls.ca, tls.client_certificate, tls.client_key)
        self._watch = Watch([path for path in files if path is not None])
        self._kept = [trust_of(tls)]

    def context(self, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext | None:
        """The context of a new connection; None is plain text."""
        newest = self._newest()
        if newest is None:
            return None
        if self._tls.certificate is None:
            return newest.context(protocols)
        roots = b"".join(one.roots for one in self._kept if one is not None and one.roots is not None)
        return Trust(roots, newest.name, newest.own).context(protocols)

    def _newest(self) -> Trust | None:
        if self._watch.changed():
            # half of it may be there: it is looked at again when the rest has come
            with suppress(CertificateUnusable):
                self._kept = [trust_of(self._tls), *self._kept][:_KEPT]
        return self._kept[0]


def own_of(tls: Tls) -> tuple[Path, Path] | None:
    """Certificate and key that clients show.

    Raises:
        CertificateUnusable: they are no good.
    """
    if tls.client_certificate is None or tls.client_key is None:
        return None
    pair(tls.client_certificate, tls.client_key, "LUNA_TLS__CLIENT_")
    return tls.client_certificate, tls.client_key
