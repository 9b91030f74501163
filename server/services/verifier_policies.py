"""Policies of verifiers: messages to values and back, and the form that they are kept in.

The detect and extract policies are messages of handlers without some of their fields, with the numbers of the others:
the same bytes are read as either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from luna.v6 import policies_pb2
from luna.v6 import verifiers_pb2 as pb

from server.domain.liveness import LivenessThresholds
from server.domain.policies import AttributePolicy, SamplePolicy
from server.domain.verifiers import VerifierPolicies
from server.errors import LunaError
from server.rpc.validation import complete, problems
from server.services.detect_policies import (
    detect_policy,
    detect_policy_from,
    extract_policy,
    extract_policy_from,
)


def verifier_policies_from(message: pb.VerifierPolicies, liveness: LivenessThresholds) -> VerifierPolicies:
    """Policies as values.

    Args:
        message: complete (`server.rpc.validation.complete`) and within its limits.
        liveness: what absent thresholds of liveness are.
    """
    detect = policies_pb2.DetectPolicy.FromString(message.detect_policy.SerializeToString())
    extract = policies_pb2.ExtractPolicy.FromString(message.extract_policy.SerializeToString())
    for whole in (detect, extract):
        complete(whole)
    attribute = message.storage_policy.attribute_policy
    return VerifierPolicies(
        threshold=message.verification_threshold,
        detect=detect_policy_from(detect, liveness),
        extract=extract_policy_from(extract),
        sample=SamplePolicy(message.storage_policy.face_sample_policy.store_sample),
        attribute=AttributePolicy(attribute.store_attribute, attribute.ttl if attribute.HasField("ttl") else None),
    )


def verifier_policies(value: VerifierPolicies) -> pb.VerifierPolicies:
    """Policies as a message, every default in it."""
    message = pb.VerifierPolicies(
        verification_threshold=value.threshold,
        storage_policy=pb.VerifierStoragePolicy(
            face_sample_policy=pb.VerifierSamplePolicy(store_sample=value.sample.store),
            attribute_policy=pb.VerifierAttributePolicy(
                store_attribute=value.attribute.store, ttl=value.attribute.ttl_seconds
            ),
        ),
    )
    _read_as(message.detect_policy, detect_policy(value.detect))
    _read_as(message.extract_policy, extract_policy(value.extract))
    return message


def _read_as(part: Message, whole: Message) -> None:
    """Set a message from one that has more fields."""
    part.ParseFromString(whole.SerializeToString())
    part.DiscardUnknownFields()


class ProtoVerifierPolicyForm:
    """Implements `server.domain.verifiers.VerifierPolicyForm`: the JSON form of `luna.v6.VerifierPolicies`.

    Args:
        liveness: what thresholds of liveness are that are not in what is read.
    """

    def __init__(self, liveness: LivenessThresholds) -> None:
        self._liveness = liveness

    def write(self, policies: VerifierPolicies) -> dict[str, object]:
        """Policies as an object."""
        return MessageToDict(verifier_policies(policies), preserving_proto_field_name=True)

    def read(self, form: Mapping[str, object]) -> VerifierPolicies:
        """Policies that were written. What a newer release wrote and this one does not know is not looked at.

        Raises:
            ValueError: the object is no policies.
        """
        message = pb.VerifierPolicies()
        try:
            ParseDict(cast("dict[str, Any]", form), message, ignore_unknown_fields=True)
            complete(message)
            for problem in problems(message):
                raise ValueError(f"{problem.name}: {problem.description}")
            return verifier_policies_from(message, self._liveness)
        except (ParseError, LunaError) as error:
            raise ValueError(str(error)) from error
