"""Verifiers: what is kept comes back, filters, order, versions, and accounts that are walls."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.checks import CheckName, Range
from server.domain.faces import Page
from server.domain.filters import FaceLimits
from server.domain.liveness import LivenessThresholds
from server.domain.policies import (
    AttributePolicy,
    DetectPolicy,
    ExtractPolicy,
    FaceQualityPolicy,
    LivenessPolicy,
    PolicyCheck,
    SamplePolicy,
)
from server.domain.verifiers import Verifier, VerifierPolicies
from server.domain.vision import Estimation, LivenessState, MaskState
from server.errors import Conflict
from server.services.verifier_policies import ProtoVerifierPolicyForm
from storage.database import Database
from storage.verifiers import PostgresVerifierStore
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number

OUR_SCOPE = Scope(OURS)
LATER = NOW + timedelta(minutes=1)
QUALITY = FaceQualityPolicy(estimate=True, filter=True)
FULL = VerifierPolicies(
    threshold=0.125,
    detect=DetectPolicy(
        estimations=frozenset({Estimation.MASK, Estimation.LANDMARKS68, Estimation.PEOPLE_COUNT}),
        extract_exif=True,
        limits=FaceLimits(
            pitch=0, yaw=90, masks=frozenset({MaskState.MISSING}), liveness=frozenset({LivenessState.SPOOF})
        ),
        liveness=LivenessPolicy(estimate=True, threshold=0.25, quality_threshold=0.75),
        face_quality=FaceQualityPolicy(
            estimate=True,
            filter=True,
            checks={**QUALITY.checks, CheckName.HEAD_YAW: PolicyCheck(estimate=False, threshold=Range(None, 7.5))},
        ),
    ),
    extract=ExtractPolicy(basic_attributes=True, score_threshold=0.375),
    sample=SamplePolicy(store=True),
    attribute=AttributePolicy(store=True, ttl_seconds=86400),
)


@pytest.fixture
def verifiers(database: Database) -> PostgresVerifierStore:
    return PostgresVerifierStore(database, ProtoVerifierPolicyForm(LivenessThresholds(0.5, 0.5)))


def a_verifier(value: int, account: object = OURS, **fields: object) -> Verifier:
    made = {"verifier_id": number(value), "account_id": account, "description": "", "policies": VerifierPolicies()}
    return Verifier(**{**made, "create_time": NOW, "last_update_time": NOW, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("policies", [FULL, VerifierPolicies()], ids=["everything", "defaults"])
async def test_a_verifier_comes_back_as_it_was(verifiers: PostgresVerifierStore, policies: VerifierPolicies) -> None:
    kept = a_verifier(1, description="Ωmega", policies=policies, last_update_time=LATER)
    await verifiers.create(kept)
    assert await verifiers.get(OUR_SCOPE, number(1)) == kept
    assert await verifiers.get(OUR_SCOPE, number(2)) is None
    with pytest.raises(Conflict):
        await verifiers.create(a_verifier(1, THEIRS))


async def test_verifiers_are_found_by_a_part_of_their_description_newest_first(
    verifiers: PostgresVerifierStore,
) -> None:
    await verifiers.create(a_verifier(1, description="50%"))
    await verifiers.create(a_verifier(2, description="50% off", create_time=NOW - timedelta(hours=1)))
    await verifiers.create(a_verifier(3, description="500"))
    await verifiers.create(a_verifier(4, THEIRS, description="50%"))
    cases = {None: [1, 3, 2], "0%": [1, 2], "50": [1, 3, 2], "50_": [], "500": [3], "off": [2]}
    for description, expected in cases.items():
        found = await verifiers.find(OUR_SCOPE, description, Page())
        assert [one.verifier_id.int for one in found] == expected, description
        assert await verifiers.count(OUR_SCOPE, description) == len(expected), description
    assert [one.verifier_id.int for one in await verifiers.find(OUR_SCOPE, None, Page(2, 2))] == [2]
    assert await verifiers.count(EVERYONE, None) == 4


async def test_a_replacement_is_whole_and_counted(verifiers: PostgresVerifierStore) -> None:
    await verifiers.create(a_verifier(1, description="before", policies=FULL))
    assert await verifiers.replace(OUR_SCOPE, number(1), "", VerifierPolicies(), LATER) == 2
    assert await verifiers.replace(OUR_SCOPE, number(1), "after", VerifierPolicies(threshold=0.5), NOW) == 3
    assert await verifiers.get(OUR_SCOPE, number(1)) == a_verifier(
        1, description="after", policies=VerifierPolicies(threshold=0.5), last_update_time=LATER, version=3
    )
    assert await verifiers.replace(OUR_SCOPE, number(2), "", VerifierPolicies(), LATER) is None


async def test_nothing_of_another_account_is_seen_or_changed(verifiers: PostgresVerifierStore) -> None:
    kept = a_verifier(1, THEIRS, description="secret")
    await verifiers.create(kept)
    assert await verifiers.get(OUR_SCOPE, number(1)) is None
    assert await verifiers.find(OUR_SCOPE, "secret", Page()) == []
    assert await verifiers.count(OUR_SCOPE, None) == 0
    assert await verifiers.replace(OUR_SCOPE, number(1), "changed", FULL, LATER) is None
    assert not await verifiers.remove(OUR_SCOPE, number(1))
    assert await verifiers.get(EVERYONE, number(1)) == kept
    assert await verifiers.remove(Scope(THEIRS), number(1))
    assert not await verifiers.remove(Scope(THEIRS), number(1))
    assert await verifiers.get(EVERYONE, number(1)) is None


async def test_policies_of_an_older_and_of_a_newer_release_are_read(
    verifiers: PostgresVerifierStore, database: Database
) -> None:
    await verifiers.create(a_verifier(1))
    form = """'{"verification_threshold": 0.75, "detect_policy": {"detect_auras": true, "estimate_mask": true}}'"""
    async with database.transaction() as connection:
        await connection.execute(text(f"UPDATE verifiers SET policies = {form}"))
    found = await verifiers.get(OUR_SCOPE, number(1))
    assert found is not None
    liveness = LivenessPolicy(threshold=0.5, quality_threshold=0.5)
    detect = DetectPolicy(estimations=frozenset({Estimation.MASK}), liveness=liveness)
    assert found.policies == VerifierPolicies(threshold=0.75, detect=detect)


async def test_policies_that_are_none_are_not_taken_for_some(
    verifiers: PostgresVerifierStore, database: Database
) -> None:
    await verifiers.create(a_verifier(1))
    for form in ('{"verification_threshold": "high"}', '{"verification_threshold": 7}', '{"detect_policy": 1}'):
        async with database.transaction() as connection:
            await connection.execute(text(f"UPDATE verifiers SET policies = '{form}'".replace(":", r"\:")))
        with pytest.raises(ValueError):
            await verifiers.get(OUR_SCOPE, number(1))
