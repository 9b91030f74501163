"""What a cluster is told of one version of a lambda, and how its objects are named and labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from server.domain.lambdas import Deployment, LambdaType

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "luna-open"
"""Owner of every object of a lambda: its label, and its name as a manager of fields."""
LAMBDA_ID = "luna-open/lambda-id"
ACCOUNT_ID = "luna-open/account-id"
VERSION = "luna-open/version"
TYPE = "luna-open/lambda-type"
PODS = "luna-open/pods"
DIGEST = "luna-open/archive-sha256"

SELECTOR = f"{MANAGED_BY}={MANAGER},{LAMBDA_ID}"
"""Finds what lambdas have in the namespace."""

Json = dict[str, Any]
"""An object as the API's JSON has it."""


@dataclass(frozen=True, slots=True)
class Program:
    """One version of a lambda without its archive and its secrets.

    A Deployment alone tells it, so that a new process takes over what it finds.

    Attributes:
        pods: how many run while it is awake.
        digest: SHA-256 of the archive, in hexadecimal: what the pod fetches is what was taken.
    """

    lambda_id: UUID
    account_id: UUID
    version: int
    lambda_type: LambdaType
    pods: int
    digest: str

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """What is to run."""
        return cls(
            lambda_id=deployment.lambda_id,
            account_id=deployment.account_id,
            version=deployment.version,
            lambda_type=deployment.lambda_type,
            pods=deployment.pods,
            digest=hashlib.sha256(deployment.archive).hexdigest(),
        )

    @classmethod
    def read(cls, live: Json) -> Self | None:
        """What a Deployment was made for; None where it does not say so."""
        metadata = live["metadata"]
        labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
        try:
            return cls(
                lambda_id=UUID(labels[LAMBDA_ID]),
                account_id=UUID(labels[ACCOUNT_ID]),
                version=int(labels[VERSION]),
                lambda_type=LambdaType(notes[TYPE]),
                pods=int(notes[PODS]),
                digest=notes[DIGEST],
            )
        except (KeyError, ValueError):
            return None

    @property
    def name(self) -> str:
        """Name of every object of the lambda."""
        return name_of(self.lambda_id)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its objects, and of its pods."""
        return {
            MANAGED_BY: MANAGER,
            "app.kubernetes.io/name": "lambda",
            LAMBDA_ID: str(self.lambda_id),
            ACCOUNT_ID: str(self.account_id),
            VERSION: str(self.version),
        }

    @property
    def annotations(self) -> dict[str, str]:
        """What a Deployment says of it beside its labels."""
        return {TYPE: self.lambda_type.value, PODS: str(self.pods), DIGEST: self.digest}


def name_of(lambda_id: UUID) -> str:
    """Name of a lambda's objects: a DNS label of 43 characters, which leaves room for what is added for pods."""
    return f"lambda-{lambda_id}"


def selector_of(lambda_id: UUID) -> dict[str, str]:
    """Labels that the pods of all versions of a lambda have, and no others."""
    return {MANAGED_BY: MANAGER, LAMBDA_ID: str(lambda_id)}


def lambda_of(live: Json) -> UUID | None:
    """The lambda that an object belongs to."""
    labels: Mapping[str, str] = live["metadata"].get("labels") or {}
    try:
        return UUID(labels[LAMBDA_ID]) if labels.get(MANAGED_BY) == MANAGER else None
    except (KeyError, ValueError):
        return None


def version_of(live: Json) -> int:
    """The version that an object belongs to; 0 where it does not say."""
    text = (live["metadata"].get("labels") or {}).get(VERSION, "")
    return int(text) if text.isascii() and text.isdigit() else 0
