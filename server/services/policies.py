"""Policies as a whole: messages to values and back, and the form that they are kept in."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from luna.v6 import policies_pb2 as pb

from server.domain.liveness import LivenessThresholds
from server.domain.policies import Policies
from server.errors import LunaError
from server.rpc.validation import complete, problems
from server.services.detect_policies import (
    detect_policy,
    detect_policy_from,
    extract_policy,
    extract_policy_from,
)
from server.services.match_policies import match_policy, match_policy_from
from server.services.storage_policies import (
    conditional_tag,
    conditional_tag_from,
    storage_policy,
    storage_policy_from,
)

PATH = "policies"
"""Where policies stand in a request."""


def policies_from(message: pb.Policies, liveness: LivenessThresholds, path: str = PATH) -> Policies:
    """Policies as values. Whether they contradict themselves, `server.domain.policy_rules` says.

    Args:
        message: complete (`server.rpc.validation.complete`) and within its limits.
        liveness: what absent thresholds of liveness are.
        path: where the message stands, for errors.

    Raises:
        MissingField: a comparison has no candidates.
        BadBody: half a position is given, or a condition on `meta` is none.
    """
    return Policies(
        detect=detect_policy_from(message.detect_policy, liveness),
        extract=extract_policy_from(message.extract_policy),
        match=tuple(
            match_policy_from(one, f"{path}.match_policy.{position}")
            for position, one in enumerate(message.match_policy)
        ),
        tags=tuple(conditional_tag_from(one) for one in message.conditional_tags_policy),
        storage=storage_policy_from(message.storage_policy),
    )


def policies_message(value: Policies) -> pb.Policies:
    """Policies as a message, every default in it."""
    return pb.Policies(
        detect_policy=detect_policy(value.detect),
        extract_policy=extract_policy(value.extract),
        match_policy=[match_policy(one) for one in value.match],
        conditional_tags_policy=[conditional_tag(one) for one in value.tags],
        storage_policy=storage_policy(value.storage),
    )


class ProtoPolicyForm:
    """Implements `server.domain.policies.PolicyForm`: the JSON form of `luna.v6.Policies`, by the names of its fields.

    Args:
        liveness: what thresholds of liveness are that are not in what is read.
    """

    def __init__(self, liveness: LivenessThresholds) -> None:
        self._liveness = liveness

    def write(self, policies: Policies) -> dict[str, object]:
        """Policies as an object."""
        return MessageToDict(policies_message(policies), preserving_proto_field_name=True)

    def read(self, form: Mapping[str, object]) -> Policies:
        """Policies that were written. What a newer release wrote and this one does not know is not looked at.

        Raises:
            ValueError: the object is no policies.
        """
        message = pb.Policies()
        try:
            ParseDict(dict(form), message, ignore_unknown_fields=True)
            complete(message)
            for problem in problems(message):
                raise ValueError(f"{problem.name}: {problem.description}")
            return policies_from(message, self._liveness)
        except (ParseError, LunaError) as error:
            raise ValueError(str(error)) from error
