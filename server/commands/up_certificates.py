"""The certificates of `luna up`: what is refused at the start, and what is done when they are replaced."""

from __future__ import annotations

import asyncio

from rich.console import Console

from gateway import edge_secrets
from server import certificates
from server.certificates import Certificate, CertificateUnusable
from server.commands import greeting
from server.edge_client import LastingTrust
from server.settings import Settings

LOOK_SECONDS = 2.0
"""How often it is looked whether certificates were replaced."""


def check(settings: Settings) -> Certificate | None:
    """See that certificates, keys and authorities of the settings can be used.

    Returns:
        The certificate of the edge, or None where it has none.

    Raises:
        CertificateUnusable: one cannot; the error names its setting.
    """
    tls, engine = settings.tls, settings.engine
    edges = None
    if tls.certificate is not None and tls.key is not None:
        edges = certificates.pair(tls.certificate, tls.key, "LUNA_TLS__")
    if tls.client_ca is not None:
        certificates.authorities(tls.client_ca, "LUNA_TLS__CLIENT_CA")
        if tls.client_certificate is None and settings.lambdas.own and settings.lambdas.runner == "local":
            message = (
                "LUNA_TLS__CLIENT_CERTIFICATE is empty: with LUNA_TLS__CLIENT_CA lambdas need it and its key to reach "
                "the service. LUNA_LAMBDAS__ENABLED=false does without them"
            )
            raise CertificateUnusable(message)
    LastingTrust(tls)
    if engine.shared and not engine.address and engine.certificate is not None and engine.key is not None:
        certificates.pair(engine.certificate, engine.key, "LUNA_ENGINE__")
    lambdas = settings.lambdas
    if lambdas.ca is not None:
        certificates.authorities(lambdas.ca, "LUNA_LAMBDAS__CA")
    if lambdas.certificate is not None and lambdas.key is not None and settings.lambdas.own:
        certificates.pair(lambdas.certificate, lambdas.key, "LUNA_LAMBDAS__")
        if lambdas.ca is None:
            message = "LUNA_LAMBDAS__CA is empty: servers and Envoy need it where LUNA_LAMBDAS__CERTIFICATE is set"
            raise CertificateUnusable(message)
    return edges


async def follow(settings: Settings, console: Console) -> None:
    """Let Envoy read certificates that were replaced, once they are good; until then it keeps those that it has."""
    tls = settings.tls
    watch = certificates.Watch([path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None])
    turn = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not await asyncio.to_thread(watch.changed):
            continue
        try:
            certificate = await asyncio.to_thread(check, settings)
            turn += 1
            await asyncio.to_thread(edge_secrets.write, tls, settings.data / "envoy", turn)
        except (CertificateUnusable, OSError) as error:
            console.print(f"the certificates before stay: {error}", style="yellow", markup=False, soft_wrap=True)
            continue
        told = greeting.of(certificate) if certificate is not None else ""
        console.print(f"certificates were replaced: {told}", markup=False, soft_wrap=True)
