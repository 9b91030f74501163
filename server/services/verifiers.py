"""luna.v6.Verifiers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from luna.v6 import matcher_pb2, verifiers_pb2_grpc
from luna.v6 import verifiers_pb2 as pb

from server.domain.access import Scope
from server.domain.descriptors import Descriptor
from server.domain.faces import Page
from server.domain.ids import uuid7
from server.domain.liveness import LivenessThresholds
from server.domain.matching import Matching
from server.domain.policy_rules import check
from server.domain.verification import Verification, check_pairs
from server.domain.verifiers import Verifier, VerifierPolicies, VerifierStore
from server.errors import VerifierNotFound
from server.rpc.calls import current
from server.services.matcher import given_descriptor
from server.services.messages import optional_uuid, timestamp
from server.services.verifications import VerificationMessages, wish_from
from server.services.verifier_policies import verifier_policies, verifier_policies_from


class VerifiersService(verifiers_pb2_grpc.VerifiersServicer):
    """Verifiers, and comparing by them. `liveness` is what absent thresholds of liveness are."""

    def __init__(
        self, verifiers: VerifierStore, verification: Verification, matching: Matching, liveness: LivenessThresholds
    ) -> None:
        self._verifiers = verifiers
        self._verification = verification
        self._matching = matching
        self._liveness = liveness

    async def CreateVerifier(self, request: pb.CreateVerifierRequest, context: object) -> pb.CreateVerifierResponse:
        """Create a verifier."""
        now = datetime.now(UTC)
        policies = self._policies(request.policies)
        new = Verifier(uuid7(), current().principal.account_id, request.description, policies, now, now)
        await self._verifiers.create(new)
        return pb.CreateVerifierResponse(verifier_id=str(new.verifier_id), url=f"/6/verifiers/{new.verifier_id}")

    async def ListVerifiers(self, request: pb.ListVerifiersRequest, context: object) -> pb.ListVerifiersResponse:
        """A page of verifiers."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        page = Page(request.page, request.page_size)
        found = await self._verifiers.find(scope, request.description or None, page)
        return pb.ListVerifiersResponse(verifiers=[_verifier(one) for one in found])

    async def CountVerifiers(self, request: pb.CountVerifiersRequest, context: object) -> pb.CountVerifiersResponse:
        """How many verifiers pass a filter."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        count = await self._verifiers.count(scope, request.description or None)
        return pb.CountVerifiersResponse(verifiers_count=count)

    async def GetVerifier(self, request: pb.GetVerifierRequest, context: object) -> pb.Verifier:
        """One verifier."""
        return _verifier(await self._one(current().principal.reads(), request.verifier_id))

    async def ReplaceVerifier(self, request: pb.ReplaceVerifierRequest, context: object) -> pb.ReplaceVerifierResponse:
        """Replace a verifier."""
        version = await self._verifiers.replace(
            current().principal.writes,
            UUID(request.verifier_id),
            request.description,
            self._policies(request.policies),
            datetime.now(UTC),
        )
        if version is None:
            raise VerifierNotFound(verifier_id=request.verifier_id)
        return pb.ReplaceVerifierResponse(version=version)

    async def DeleteVerifier(self, request: pb.DeleteVerifierRequest, context: object) -> pb.DeleteVerifierResponse:
        """Delete a verifier."""
        if not await self._verifiers.remove(current().principal.writes, UUID(request.verifier_id)):
            raise VerifierNotFound(verifier_id=request.verifier_id)
        return pb.DeleteVerifierResponse()

    async def VerifyRaw(self, request: pb.VerifyRawRequest, context: object) -> pb.VerifyRawResponse:
        """Compare every reference with every candidate."""
        verifier = await self._one(current().principal.writes, request.verifier_id)
        check_pairs(len(request.references), len(request.candidates))
        rows = await self._matching.compare(
            _descriptors(request.references, "references"), _descriptors(request.candidates, "candidates")
        )
        return pb.VerifyRawResponse(
            matches=[
                pb.RawVerifications(
                    reference=_echo(reference),
                    matches=[
                        pb.RawVerification(
                            candidate=_echo(candidate),
                            similarity=similarity,
                            status=verifier.policies.verifies(similarity),
                        )
                        for candidate, similarity in zip(request.candidates, row, strict=True)
                    ],
                )
                for reference, row in zip(request.references, rows, strict=True)
            ]
        )

    async def PerformVerification(
        self, request: pb.PerformVerificationRequest, context: object
    ) -> pb.PerformVerificationResponse:
        """Compare faces with those whom they claim to be."""
        principal = current().principal
        verifier = await self._one(principal.writes, request.verifier_id)
        found = await self._verification.perform(principal, verifier.policies, wish_from(request))
        messages = VerificationMessages(verifier.policies)
        return pb.PerformVerificationResponse(images=[messages.image(one) for one in found])

    def _policies(self, message: pb.VerifierPolicies) -> VerifierPolicies:
        policies = verifier_policies_from(message, self._liveness)
        check(policies.of_faces)
        return policies

    async def _one(self, scope: Scope, verifier_id: str) -> Verifier:
        found = await self._verifiers.get(scope, UUID(verifier_id))
        if found is None:
            raise VerifierNotFound(verifier_id=verifier_id)
        return found


def _verifier(value: Verifier) -> pb.Verifier:
    return pb.Verifier(
        verifier_id=str(value.verifier_id),
        account_id=str(value.account_id),
        description=value.description,
        policies=verifier_policies(value.policies),
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
        version=value.version,
    )


def _descriptors(given: Sequence[matcher_pb2.Reference], name: str) -> list[Descriptor]:
    return [given_descriptor(one, f"{name}.{position}") for position, one in enumerate(given)]


def _echo(reference: matcher_pb2.Reference) -> matcher_pb2.ReferenceEcho:
    return matcher_pb2.ReferenceEcho(id=reference.id, type=reference.type)
