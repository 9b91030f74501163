"""Who reaches the pods of a lambda, and whom they reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from .programs import Json, Program, selector_of

PORT = 8000
"""Where a lambda answers in its pod, and its Service in the cluster."""
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""A label that the API server itself gives to each namespace."""
DNS_NAMESPACE = "kube-system"
DNS_PORTS = (53, 5353)
"""5353 is where the pods behind the DNS service of OpenShift listen; policies see ports of pods."""
PRIVATE = (
    ("0.0.0.0/0", ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")),
    ("::/0", ("::1/128", "fc00::/7", "fe80::/10")),
)
"""All addresses, and those of them that are of no public network: of the cluster, of its nodes' metadata."""
_HTTP_PORTS = {"http": 80, "https": 443}


class Unreachable(ValueError):
    """A policy cannot name a place: policies know namespaces and addresses, and no names of DNS."""


@dataclass(frozen=True, slots=True)
class Place:
    """Something on the network: pods of a namespace, or an address."""

    peer: Mapping[str, object]
    port: int

    @classmethod
    def parse(cls, address: str, labels: Mapping[str, str] | None = None) -> Self:
        """From host:port or a URL. A host is SERVICE.NAMESPACE.svc, with a domain or without one, or an IP address.

        Args:
            address: host:port, or http://host:port.
            labels: of the pods behind a service; None takes all pods of its namespace.

        Raises:
            Unreachable: it is neither of them.
        """
        parts = urlsplit(address if "//" in address else f"//{address}")
        try:
            host, port = parts.hostname, parts.port or _HTTP_PORTS.get(parts.scheme)
        except ValueError as error:
            message = f"'{address}' is no host:port"
            raise Unreachable(message) from error
        if not host or port is None:
            message = f"'{address}' is no host:port"
            raise Unreachable(message)
        return cls(_peer(host, labels or {}), port)

    def rule(self) -> Json:
        """The rule of a policy that lets connections to the place out."""
        return {"to": [dict(self.peer)], "ports": [{"protocol": "TCP", "port": self.port}]}


def _peer(host: str, labels: Mapping[str, str]) -> Json:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return {"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}
    names = host.split(".")
    if len(names) < 3 or names[2] != "svc" or not all(names):
        message = f"'{host}' is neither SERVICE.NAMESPACE.svc nor an IP address"
        raise Unreachable(message)
    peer: Json = {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: names[1]}}}
    if labels:
        peer["podSelector"] = {"matchLabels": dict(labels)}
    return peer


def policy(program: Program, *, host: Place, platform: Place, index: Place | None, everywhere: bool) -> Json:
    """The NetworkPolicy of a lambda's pods.

    Policies are of pods, not of containers: the build and the lambda have the same one. Whoever wants more of it adds a
    policy beside it, as what several of them allow is added up.

    Args:
        program: the lambda.
        host: the process that calls it, and has its archive.
        platform: gRPC of the platform.
        index: where packages come from; None where a policy cannot name it, or nothing is needed.
        everywhere: lambdas may reach public addresses.
    """
    dns = {
        "to": [{"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: DNS_NAMESPACE}}}],
        "ports": [{"protocol": protocol, "port": port} for port in DNS_PORTS for protocol in ("UDP", "TCP")],
    }
    places = [host, platform, *([index] if index is not None else [])]
    egress: list[Json] = [dns, *(place.rule() for place in places)]
    if everywhere:
        egress.append({"to": [{"ipBlock": {"cidr": cidr, "except": list(private)}} for cidr, private in PRIVATE]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": program.name, "labels": program.labels},
        "spec": {
            "podSelector": {"matchLabels": selector_of(program.lambda_id)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [dict(host.peer)], "ports": [{"protocol": "TCP", "port": PORT}]}],
            "egress": egress,
        },
    }
