"""Handlers: what is kept comes back, filters, versions, accounts that are walls, and rows that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.handlers import Handler, HandlerFilter, HandlerType
from server.domain.liveness import LivenessThresholds
from server.domain.policies import (
    ConditionalTag,
    DetectPolicy,
    FaceCandidates,
    Filters,
    MatchCondition,
    MatchPolicy,
    Policies,
    TimeBound,
)
from server.errors import Conflict, HandlerCorrupted
from server.services.policies import ProtoPolicyForm
from storage import handlers as module
from storage.database import Database
from storage.handlers import PostgresHandlerStore
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, number

OUR_SCOPE, THEIR_SCOPE = Scope(OURS), Scope(THEIRS)
RICH = Policies(
    detect=DetectPolicy(bodies=True),
    match=(MatchPolicy("a", FaceCandidates(list_id=number(3), create_time_gte=TimeBound("now-3M"))),),
    tags=(ConditionalTag("known", Filters(match=(MatchCondition("a", 0.8),))),),
)


class CountingForm(ProtoPolicyForm):
    """The real form, which counts how often it is read."""

    def __init__(self) -> None:
        super().__init__(LivenessThresholds())
        self.read_count = 0

    def read(self, form: Mapping[str, object]) -> Policies:
        self.read_count += 1
        return super().read(form)


@pytest.fixture
def form() -> CountingForm:
    return CountingForm()


@pytest.fixture
def handlers(database: Database, form: CountingForm) -> PostgresHandlerStore:
    return PostgresHandlerStore(database, form)


def a_handler(value: int, account: UUID = OURS, **fields: object) -> Handler:
    """A static handler made at `NOW`, with other fields where they are given."""
    made = {
        "handler_id": number(value),
        "account_id": account,
        "handler_type": HandlerType.STATIC,
        "description": "",
        "policies": Policies(),
        "lambda_id": None,
        "create_time": NOW,
        "last_update_time": NOW,
    }
    return Handler(**{**made, **fields})  # type: ignore[arg-type] # each is of its field's type


async def test_a_handler_comes_back_as_it_was(handlers: PostgresHandlerStore) -> None:
    static = a_handler(1, description="Ωmega", policies=RICH)
    dynamic = a_handler(2, handler_type=HandlerType.DYNAMIC, policies=None)
    of_lambda = a_handler(3, handler_type=HandlerType.LAMBDA, policies=None, lambda_id=number(9))
    for one in (static, dynamic, of_lambda):
        await handlers.create(one)
        for _ in range(2):
            assert await handlers.get(OUR_SCOPE, one.handler_id) == one
    assert await handlers.get(OUR_SCOPE, number(4)) is None
    with pytest.raises(Conflict):
        await handlers.create(a_handler(1, THEIRS))


async def test_each_filter_selects_what_it_says(handlers: PostgresHandlerStore) -> None:
    await handlers.create(a_handler(1, description="50%"))
    await handlers.create(a_handler(2, description="50% off", create_time=NOW - timedelta(hours=1)))
    await handlers.create(a_handler(3, handler_type=HandlerType.DYNAMIC, policies=None, description="500"))
    await handlers.create(a_handler(4, handler_type=HandlerType.LAMBDA, policies=None, lambda_id=number(9)))
    cases = {
        HandlerFilter(): [1, 3, 4, 2],
        HandlerFilter(handler_type=HandlerType.STATIC): [1, 2],
        HandlerFilter(handler_type=HandlerType.DYNAMIC): [3],
        HandlerFilter(not_type=HandlerType.DYNAMIC): [1, 4, 2],
        HandlerFilter(description="0%"): [1, 2],
        HandlerFilter(description="50", not_type=HandlerType.STATIC): [3],
    }
    for where, expected in cases.items():
        assert [one.handler_id.int for one in await handlers.find(OUR_SCOPE, where, Page())] == expected, where
        assert await handlers.count(OUR_SCOPE, where) == len(expected), where
        assert await handlers.find(THEIR_SCOPE, where, Page()) == []
        assert await handlers.count(THEIR_SCOPE, where) == 0
    assert [one.handler_id.int for one in await handlers.find(OUR_SCOPE, HandlerFilter(), Page(2, 3))] == [2]
    assert [one.handler_id.int for one in await handlers.find(EVERYONE, HandlerFilter(), Page(1, 1))] == [1]


async def test_an_account_is_a_wall(handlers: PostgresHandlerStore) -> None:
    kept = a_handler(1)
    await handlers.create(kept)
    assert await handlers.get(OUR_SCOPE, number(1)) == kept
    assert await handlers.get(THEIR_SCOPE, number(1)) is None
    assert await handlers.replace(THEIR_SCOPE, replace(kept, description="theirs")) is None
    assert not await handlers.remove(THEIR_SCOPE, number(1))
    assert await handlers.get(OUR_SCOPE, number(1)) == kept
    assert await handlers.remove(OUR_SCOPE, number(1))
    assert not await handlers.remove(OUR_SCOPE, number(1))
    assert await handlers.get(OUR_SCOPE, number(1)) is None


async def test_a_replaced_handler_keeps_its_beginning_and_its_account(handlers: PostgresHandlerStore) -> None:
    await handlers.create(a_handler(1, policies=RICH))
    later = NOW + timedelta(minutes=1)
    changed = a_handler(
        1,
        THEIRS,
        handler_type=HandlerType.DYNAMIC,
        policies=None,
        description="new",
        create_time=later,
        last_update_time=later,
    )
    assert await handlers.replace(OUR_SCOPE, changed) == 2
    expected = replace(changed, account_id=OURS, create_time=NOW, version=2)
    assert await handlers.get(OUR_SCOPE, number(1)) == expected
    assert await handlers.replace(OUR_SCOPE, replace(changed, handler_id=number(9))) is None


async def test_versions_grow_by_one_where_many_replace_at_once(handlers: PostgresHandlerStore) -> None:
    await handlers.create(a_handler(1))
    versions = await asyncio.gather(*(handlers.replace(OUR_SCOPE, a_handler(1)) for _ in range(8)))
    assert sorted(version or 0 for version in versions) == list(range(2, 10))


async def test_policies_are_decoded_once_for_each_version(
    database: Database, handlers: PostgresHandlerStore, form: CountingForm
) -> None:
    await handlers.create(a_handler(1, policies=RICH))
    for _ in range(3):
        found = await handlers.get(OUR_SCOPE, number(1))
        assert found is not None
        assert found.policies == RICH
    assert form.read_count == 1
    # another process replaces it
    await PostgresHandlerStore(database, form).replace(OUR_SCOPE, a_handler(1))
    for _ in range(3):
        found = await handlers.get(OUR_SCOPE, number(1))
        assert found is not None
        assert (found.policies, found.version) == (Policies(), 2)
    assert form.read_count == 2
    assert (await handlers.find(OUR_SCOPE, HandlerFilter(), Page()))[0].policies == Policies()
    assert form.read_count == 2


async def test_decoded_policies_are_bounded(
    handlers: PostgresHandlerStore, form: CountingForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_DECODED", 2)
    for value in (1, 2, 3):
        await handlers.create(a_handler(value))
    for value in (1, 2, 1, 3, 1):  # 3 takes the place of 2, which was read longest ago
        await handlers.get(OUR_SCOPE, number(value))
    assert form.read_count == 3
    await handlers.get(OUR_SCOPE, number(2))
    assert form.read_count == 4


@pytest.mark.parametrize(
    "change",
    [
        """policies = '{"detect_policy": {"pitch_threshold": 181}}'""",
        """policies = '{"match_policy": [{"label": "a"}]}'""",
        "policies = '[]'",
        "policies = '1'",
        "policies = NULL",
        "handler_type = 7",
    ],
)
async def test_a_row_that_cannot_be_read_is_told(
    database: Database, handlers: PostgresHandlerStore, change: str
) -> None:
    await handlers.create(a_handler(1))
    await handlers.create(a_handler(2))
    async with database.transaction() as connection:
        await connection.execute(text(f"UPDATE handlers SET {change} WHERE handler_id = :id"), {"id": number(1)})
    with pytest.raises(HandlerCorrupted, match=str(number(1))):
        await handlers.get(OUR_SCOPE, number(1))
    with pytest.raises(HandlerCorrupted):
        await handlers.find(OUR_SCOPE, HandlerFilter(), Page())
    assert await handlers.get(OUR_SCOPE, number(2)) == a_handler(2)
    assert await handlers.count(OUR_SCOPE, HandlerFilter()) == 2
    assert await handlers.remove(OUR_SCOPE, number(1))
