"""What `luna up` says when everything is up: where, as whom, and what to type."""

from __future__ import annotations

import ipaddress

from server import certificates
from server.certificates import Certificate
from server.settings import Settings


def lines(settings: Settings, login: str, password: str) -> tuple[str, ...]:
    """What is printed."""
    rest, target, tls = rest_root(settings), f"{settings.grpc.host}:{settings.grpc.port}", settings.tls
    basic = f"{login}:{password}"
    secure, curl, grpcurl = "", "", "-plaintext "
    if tls.certificate is not None:
        certificate = certificates.shown(tls.certificate, "LUNA_TLS__CERTIFICATE")
        secure = f"TLS    {of(certificate)}"
        curl, grpcurl = f"--cacert '{tls.certificate}' ", f"-cacert '{tls.certificate}' "
        if tls.client_ca is not None:
            own = str(tls.client_certificate or "CERTIFICATE"), str(tls.client_key or "KEY")
            curl += "--cert '{}' --key '{}' ".format(*own)
            grpcurl += "-cert '{}' -key '{}' ".format(*own)
        name = _name(certificate)
        if name and not _names(certificate, settings.rest.host):
            rest = f"https://{name}:{settings.rest.port}"
            curl += f"--connect-to ::{settings.rest.host}: "
        if name and not _names(certificate, settings.grpc.host):
            grpcurl += f"-authority {name} "
    return (
        f"REST   {rest}/6",
        f"gRPC   {target}   (reflection and grpc.health.v1 are on)",
        *([secure] if secure else []),
        f"docs   {rest}/docs/dev   (OpenAPI at {rest}/docs/spec)",
        f"data   {settings.data}   (logs in logs/)",
        f"login  {login}   password  {password}",
        "",
        f"curl {curl}-u '{basic}' {rest}/6/account",
        f"grpcurl {grpcurl}-H \"authorization: Basic $(printf '%s' '{basic}' | base64 -w0)\" "
        f"{target} luna.v6.Accounts/GetAccount",
        "",
        "Ctrl-C stops all of it.",
    )


def rest_root(settings: Settings) -> str:
    """The address of REST."""
    scheme = "http" if settings.tls.certificate is None else "https"
    return f"{scheme}://{settings.rest.host}:{settings.rest.port}"


def of(certificate: Certificate) -> str:
    """Whom a certificate names, and how long."""
    return f"{', '.join(certificate.names) or 'no name'}, valid until {certificate.ends:%Y-%m-%d %H:%M} UTC"


def _name(certificate: Certificate) -> str:
    return certificate.name.replace("*", "any", 1)


def _names(certificate: Certificate, host: str) -> bool:
    """Whether a certificate is good for a host, as clients judge it."""
    host = host.strip("[]")
    try:
        return str(ipaddress.ip_address(host)) in certificate.names
    except ValueError:
        wide = f"*.{host.partition('.')[2]}"
        return host in certificate.names or wide in certificate.names
