"""What the host has to be allowed in the namespace of lambdas. It is all that the manifests of the guide allow it."""

from __future__ import annotations

from collections.abc import Iterator

from .programs import Json

NEEDED: dict[tuple[str, str], frozenset[str]] = {
    ("apps", "deployments"): frozenset({"create", "patch", "delete", "list", "watch"}),
    ("", "pods"): frozenset({"list", "watch", "delete"}),
    ("", "pods/log"): frozenset({"get"}),
    ("", "secrets"): frozenset({"create", "patch", "delete"}),
    ("", "services"): frozenset({"create", "patch", "delete", "list"}),
    ("", "configmaps"): frozenset({"create", "patch", "delete", "list"}),
    ("networking.k8s.io", "networkpolicies"): frozenset({"create", "patch", "delete", "list"}),
    ("policy", "poddisruptionbudgets"): frozenset({"create", "patch", "delete", "list"}),
}
"""Group and resource: verbs. Secrets are written, and never read."""


def missing(status: Json) -> Iterator[str]:
    """What of it is not allowed, in words.

    Args:
        status: of a SelfSubjectRulesReview. Where it is incomplete, nothing is known to be missing.
    """
    if status.get("incomplete"):
        return
    rules: list[Json] = status.get("resourceRules") or []
    for (group, resource), verbs in NEEDED.items():
        for verb in sorted(verbs):
            if not any(_allows(rule, group, resource, verb) for rule in rules):
                yield f"{verb} {resource}"


def _allows(rule: Json, group: str, resource: str, verb: str) -> bool:
    if rule.get("resourceNames"):
        return False
    asked = (("apiGroups", (group,)), ("verbs", (verb,)), ("resources", _patterns(resource)))
    return all(any(one in ("*", *names) for one in rule.get(key) or []) for key, names in asked)


def _patterns(resource: str) -> tuple[str, ...]:
    _, slash, part = resource.partition("/")
    return (resource, f"*/{part}") if slash else (resource,)
