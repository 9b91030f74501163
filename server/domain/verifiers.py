"""Verifiers: named sets of policies by which a person is compared with others, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.policies import (
    AttributePolicy,
    DetectPolicy,
    EventPolicy,
    ExtractPolicy,
    NotificationPolicy,
    Policies,
    SamplePolicy,
    StoragePolicy,
)


@dataclass(frozen=True, slots=True)
class VerifierPolicies:
    """What a verifier does with an image.

    Attributes:
        threshold: a face is that of a candidate where their similarity, in [0, 1], is above this.
        detect: what is estimated and which faces are left out; of faces all are looked for, of bodies none.
        extract: what is extracted besides the descriptor of the face.
        sample: whether samples are stored; without conditions.
        attribute: whether temporary attributes are made; without conditions.
    """

    threshold: float = 0.9
    detect: DetectPolicy = field(default_factory=DetectPolicy)
    extract: ExtractPolicy = field(default_factory=ExtractPolicy)
    sample: SamplePolicy = field(default_factory=lambda: SamplePolicy(store=False))
    attribute: AttributePolicy = field(default_factory=AttributePolicy)

    def verifies(self, similarity: float) -> bool:
        """True where a similarity is above the threshold; one that only reaches it is not."""
        return similarity > self.threshold

    @property
    def of_faces(self) -> Policies:
        """What is done before the comparison, as the policies of a handler that makes no events."""
        nothing = SamplePolicy(store=False)
        storage = StoragePolicy(
            face_sample=self.sample,
            body_sample=nothing,
            attribute=self.attribute,
            event=EventPolicy(store=False),
            notification=NotificationPolicy(send=False),
        )
        return Policies(detect=self.detect, extract=self.extract, storage=storage)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A verifier. `version` grows from 1 with every replacement."""

    verifier_id: UUID
    account_id: UUID
    description: str
    policies: VerifierPolicies
    create_time: datetime
    last_update_time: datetime
    version: int = 1


class VerifierStore(Protocol):
    """Where verifiers are kept. Nothing outside the given scope is seen or changed.

    `description` selects by a part of it, as it is written; None selects all.
    """

    async def create(self, new: Verifier) -> None:
        """Keep a new verifier."""
        ...

    async def get(self, scope: Scope, verifier_id: UUID) -> Verifier | None:
        """One verifier."""
        ...

    async def find(self, scope: Scope, description: str | None, page: Page) -> list[Verifier]:
        """A page of verifiers, newest first; ties go by id."""
        ...

    async def count(self, scope: Scope, description: str | None) -> int:
        """How many verifiers."""
        ...

    async def replace(
        self, scope: Scope, verifier_id: UUID, description: str, policies: VerifierPolicies, now: datetime
    ) -> int | None:
        """Replace what a verifier says. Its new version; None where there is none."""
        ...

    async def remove(self, scope: Scope, verifier_id: UUID) -> bool:
        """Delete a verifier. False where there is none."""
        ...


class VerifierPolicyForm(Protocol):
    """The form that policies of verifiers are kept in: objects of JSON by the names of the API."""

    def write(self, policies: VerifierPolicies) -> dict[str, object]:
        """Policies as an object."""
        ...

    def read(self, form: Mapping[str, object]) -> VerifierPolicies:
        """Policies that were written, by this release or an older one.

        Raises:
            ValueError: the object is no policies.
        """
        ...
