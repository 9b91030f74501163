"""The certificates of `luna up`: what is refused at the start, and what is done when they are replaced."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from rich.console import Console

from gateway import edge_secrets
from server import certificates
from server.certificates import Certificate, CertificateUnusable
from server.commands import greeting
from server.edge_client import LastingTrust
from server.settings import Settings, Tls

LOOK_SECONDS = 2.0
"""How often it is looked whether certificates were replaced."""

EARLY = timedelta(days=7)
"""How long before its end a certificate should have been replaced; certbot does it thirty days before."""


def check(settings: Settings) -> Certificate | None:
    """See that certificates, keys and authorities of the settings can be used.

    Returns:
        The certificate of the edge, or None where it has none.

    Raises:
        CertificateUnusable: one cannot; the error names its setting.
    """
    tls, engine, lambdas = settings.tls, settings.engine, settings.lambdas
    edges = _of_edge(tls)
    if tls.client_ca is not None and tls.client_certificate is None and lambdas.own and lambdas.runner == "local":
        message = (
            "LUNA_TLS__CLIENT_CERTIFICATE is empty: with LUNA_TLS__CLIENT_CA lambdas need it and its key to reach the "
            "service. LUNA_LAMBDAS__ENABLED=false does without them"
        )
        raise CertificateUnusable(message)
    LastingTrust(tls)
    if engine.shared and not engine.address and engine.certificate is not None and engine.key is not None:
        certificates.pair(engine.certificate, engine.key, "LUNA_ENGINE__")
    if lambdas.ca is not None:
        certificates.authorities(lambdas.ca, "LUNA_LAMBDAS__CA")
    if lambdas.certificate is not None and lambdas.key is not None and lambdas.own:
        certificates.pair(lambdas.certificate, lambdas.key, "LUNA_LAMBDAS__")
        if lambdas.ca is None:
            message = "LUNA_LAMBDAS__CA is empty: servers and Envoy need it where LUNA_LAMBDAS__CERTIFICATE is set"
            raise CertificateUnusable(message)
    return edges


async def follow(settings: Settings, certificate: Certificate, console: Console) -> None:
    """Let Envoy read certificates that were replaced, once they are good; until then it keeps those that it has.

    Args:
        settings: all settings; they have a certificate of the edge.
        certificate: that certificate.
        console: is told what is replaced, what is not, and every day what soon ends.
    """
    tls = settings.tls
    watch = certificates.Watch([path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None])
    turn, warned = 0, datetime.min.replace(tzinfo=UTC)
    while True:
        now = datetime.now(UTC)
        if certificate.ends - now < EARLY and now - warned > timedelta(days=1):
            warned = now
            said = f"the certificate in LUNA_TLS__CERTIFICATE is to be replaced: {greeting.of(certificate)}"
            console.print(said, style="yellow", markup=False, soft_wrap=True)
        await asyncio.sleep(LOOK_SECONDS)
        if not await asyncio.to_thread(watch.changed):
            continue
        try:
            found = await asyncio.to_thread(_of_edge, tls)
            certificate = certificate if found is None else found
            turn += 1
            await asyncio.to_thread(edge_secrets.write, tls, settings.data / "envoy", turn)
        except (CertificateUnusable, OSError) as error:
            console.print(f"the certificates before stay: {error}", style="yellow", markup=False, soft_wrap=True)
            continue
        console.print(f"certificates were replaced: {greeting.of(certificate)}", markup=False, soft_wrap=True)


def _of_edge(tls: Tls) -> Certificate | None:
    if tls.client_ca is not None:
        certificates.authorities(tls.client_ca, "LUNA_TLS__CLIENT_CA")
    if tls.certificate is None or tls.key is None:
        return None
    return certificates.pair(tls.certificate, tls.key, "LUNA_TLS__")
