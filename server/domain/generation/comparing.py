"""Comparing the subjects of events with faces, events and attributes, as match policies say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from server.domain import matching as search
from server.domain.access import Principal
from server.domain.decisions import comparisons
from server.domain.descriptors import Descriptor
from server.domain.events import Candidate, EventMatch, MatchedAttribute
from server.domain.faces import FaceFilter
from server.domain.generation.subjects import Subject
from server.domain.matching import Found, Matching
from server.domain.policies import (
    AttributeCandidates,
    DescriptorKind,
    EventCandidates,
    FaceCandidates,
    MatchPolicy,
    Policies,
)

Group = tuple[DescriptorKind, tuple[int, ...]]
"""Comparisons that are made of the same descriptors: their places among the policies."""


class Comparing:
    """Makes the comparisons of policies."""

    def __init__(self, matching: Matching) -> None:
        self._matching = matching

    async def compare(
        self, principal: Principal, policies: Policies, subjects: Sequence[Subject], now: datetime
    ) -> list[tuple[EventMatch, ...]]:
        """What came of the comparisons of each subject, in the order of the policies.

        A comparison whose filters a subject does not pass, or for which it has no descriptor, is not made and not in
        the answer; one that finds nobody has no candidates.

        Args:
            principal: the account of the handler.
            policies: what is compared.
            subjects: of which.
            now: what relative times refer to.
        """
        groups: dict[Group, list[int]] = {}
        for place, subject in enumerate(subjects):
            for group in _groups(policies, subject):
                groups.setdefault(group, []).append(place)
        found: list[dict[int, EventMatch]] = [{} for _ in subjects]
        for (kind, positions), places in groups.items():
            chosen = [policies.match[position] for position in positions]
            descriptors = [one for place in places if (one := subjects[place].descriptor(kind)) is not None]
            rows = await self._search(principal, descriptors, chosen, now)
            for place, row in zip(places, rows, strict=True):
                for position, policy, results in zip(positions, chosen, row, strict=True):
                    found[place][position] = EventMatch(policy.label, _candidates(results), policy.targets)
        return [tuple(one[position] for position in sorted(one)) for one in found]

    async def _search(
        self,
        principal: Principal,
        descriptors: Sequence[Descriptor],
        chosen: Sequence[MatchPolicy],
        now: datetime,
    ) -> list[list[list[Found]]]:
        blocks = [_block(one, principal.account_id, now) for one in chosen]
        # whoever sees only itself finds nobody in another account, instead of finding its own faces there
        bound = None if principal.reads_every_account else principal.account_id
        return await self._matching.search(principal, descriptors, blocks, bound)


def similarities(matches: Sequence[EventMatch]) -> dict[str, float]:
    """The similarity of the best candidate, by label; only of those that found somebody."""
    return {one.label: one.candidates[0].similarity for one in matches if one.candidates}


def _groups(policies: Policies, subject: Subject) -> list[Group]:
    """The comparisons that are made of a subject, by the descriptor that they need."""
    labels = {one.label for one in comparisons(policies, subject.facts)}
    groups = []
    for kind in DescriptorKind:
        positions = tuple(
            place for place, one in enumerate(policies.match) if one.label in labels and one.descriptor is kind
        )
        if positions and subject.descriptor(kind) is not None:
            groups.append((kind, positions))
    return groups


def _block(policy: MatchPolicy, account_id: UUID, now: datetime) -> search.Candidates:
    match policy.candidates:
        case FaceCandidates() as faces:
            owner = faces.account_id or account_id
            return search.FaceCandidates(_where(faces, now), owner, policy.limit, policy.threshold)
        case EventCandidates() as events:
            return search.EventCandidates(events.at(now), account_id, policy.limit, policy.threshold)
        case AttributeCandidates(attribute_ids):
            return search.AttributeCandidates(attribute_ids, account_id, policy.limit, policy.threshold)


def _where(faces: FaceCandidates, now: datetime) -> FaceFilter:
    return FaceFilter(
        face_ids=faces.face_ids,
        external_ids=faces.external_ids,
        list_id=faces.list_id,
        user_data=faces.user_data,
        create_time_gte=None if faces.create_time_gte is None else faces.create_time_gte.at(now),
        create_time_lt=None if faces.create_time_lt is None else faces.create_time_lt.at(now),
        face_id_gte=faces.face_id_gte,
        face_id_lt=faces.face_id_lt,
    )


def _candidates(results: Sequence[Found]) -> tuple[Candidate, ...]:
    return tuple(_candidate(one) for one in results)


def _candidate(found: Found) -> Candidate:
    attribute = None
    if (stored := found.attribute) is not None:
        attribute = MatchedAttribute(stored.attribute_id, stored.account_id, stored.create_time)
    return Candidate(found.similarity, found.face, found.event, attribute)
