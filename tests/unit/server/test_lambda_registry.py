"""The rules of lambdas: who asks what first, what a lambda may do, and what is told of one that nobody reported of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from domain_stores import NOW, MemoryAccounts, MemoryTokens
from hypothesis import given
from hypothesis import strategies as st

from server.domain.access import Principal, Scope, TokenGrant
from server.domain.accounts import Account, AccountType
from server.domain.handler_registry import HandlerRegistry, HandlerWish
from server.domain.handlers import Handler, HandlerType
from server.domain.lambda_registry import EVERYTHING, LambdaRegistry, LambdaWish, last
from server.domain.lambdas import (
    ImageStatus,
    Lambda,
    LambdaChange,
    LambdaState,
    LambdaStatus,
    LambdaStore,
    LambdaType,
)
from server.domain.permissions import ACTIONS, EmitEvents, Permissions
from server.domain.policies import Policies
from server.domain.tokens import Token, TokenRegistry, VisibilityArea
from server.errors import (
    BadBody,
    BadLambda,
    LambdaArchiveGone,
    LambdaNotFound,
    LambdaNotRunning,
    LambdaOff,
    LunaError,
    MissingField,
    NoIsolation,
)

OURS, THEIRS = UUID(int=1), UUID(int=2)
ACCOUNT = Principal(OURS, AccountType.ADVANCED_USER)
WISH = LambdaWish("mine", b"PK")
NARROW = Permissions(frozenset({("face", "view"), ("lambda", "creation"), ("token", "view")}))


def holder(permissions: Permissions) -> Principal:
    return replace(ACCOUNT, token=TokenGrant(uuid4(), permissions, reads_all=False))


@dataclass
class MemoryLambdas:
    """Lambdas, their tokens and what was asked of them."""

    rows: dict[UUID, Lambda] = field(default_factory=dict)
    tokens: dict[UUID, Token] = field(default_factory=dict)
    told: dict[UUID, LambdaState] = field(default_factory=dict)
    archived: bool = True
    cuts: list[Permissions | None] = field(default_factory=list)

    async def create(self, new: Lambda, token: Token, archive: bytes, most: int) -> None:
        self.rows[new.lambda_id] = new
        self.tokens[new.lambda_id] = token

    async def get(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        row = self.rows.get(lambda_id)
        return row if row is not None and scope.includes(row.account_id) else None

    async def replace(
        self, scope: Scope, wanted: Lambda, archive: bytes, within: Permissions | None = None
    ) -> int | None:
        self.cuts.append(within)
        return None if await self.get(scope, wanted.lambda_id) is None else 2

    async def rebuild(self, scope: Scope, lambda_id: UUID) -> int | None:
        return None if await self.get(scope, lambda_id) is None else 2

    async def patch(self, scope: Scope, lambda_id: UUID, change: LambdaChange) -> bool:
        return await self.get(scope, lambda_id) is not None

    async def remove(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        return self.rows.pop(lambda_id) if await self.get(scope, lambda_id) else None

    async def has_archive(self, wanted: Lambda) -> bool:
        return self.archived

    async def state(self, lambda_id: UUID) -> LambdaState | None:
        return self.told.get(lambda_id)

    async def states(self, lambda_ids: Sequence[UUID]) -> Mapping[UUID, LambdaState]:
        return {one: self.told[one] for one in lambda_ids if one in self.told}


@dataclass
class Host:
    """The process that runs lambdas, which may have no way to keep them apart."""

    apart: bool = True

    async def check(self) -> None:
        if not self.apart:
            raise NoIsolation(message="bwrap is not installed")

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        return [f"the last {tail_lines}"]


@dataclass
class Archives:
    """What looks at archives, and finds what a test says."""

    found: list[str] = field(default_factory=list)
    count: int = 0

    async def problems(self, archive: bytes) -> list[str]:
        self.count += 1
        return self.found


@dataclass
class World:
    store: MemoryLambdas
    host: Host
    archives: Archives
    registry: LambdaRegistry

    async def made(self, principal: Principal = ACCOUNT) -> Lambda:
        return await self.registry.create(principal, WISH)


@pytest.fixture
def world() -> World:
    accounts = MemoryAccounts()
    accounts.rows[OURS] = Account(OURS, "a@b.cd", "x", AccountType.ADVANCED_USER, "", NOW, NOW)
    store, host, archives = MemoryLambdas(), Host(), Archives()
    tokens = TokenRegistry(MemoryTokens(), accounts)
    registry = LambdaRegistry(cast("LambdaStore", store), tokens, cast("Any", host), archives, 5)
    return World(store, host, archives, registry)


async def test_a_lambda_of_an_account_may_do_all_with_its_data_and_nothing_with_tokens_and_lambdas(
    world: World,
) -> None:
    token = world.store.tokens[(await world.made()).lambda_id]
    kinds = {kind for kind, _ in token.permissions.grants}
    assert kinds == ACTIONS.keys() - {"token", "lambda"}
    assert token.permissions.emit_events == EmitEvents(allowed=True)
    assert token.permissions.resources == {"liveness", "iso", "sdk"}
    assert (token.account_id, token.visibility_area, token.expiration_time) == (OURS, VisibilityArea.ACCOUNT, None)
    assert token.description == "lambda mine"


async def test_a_lambda_that_a_token_made_may_do_no_more_than_it(world: World) -> None:
    token = world.store.tokens[(await world.made(holder(NARROW))).lambda_id]
    assert token.permissions == Permissions(frozenset({("face", "view")}))


async def test_new_code_is_cut_down_to_who_brought_it(world: World) -> None:
    one = await world.made()
    assert await world.registry.replace(ACCOUNT, one.lambda_id, WISH) == 2
    assert await world.registry.replace(holder(NARROW), one.lambda_id, WISH) == 2
    assert world.store.cuts == [None, NARROW]


async def test_nothing_is_taken_where_lambdas_cannot_be_kept_apart(world: World) -> None:
    one = await world.made()
    world.host.apart, before = False, world.archives.count
    for call in (
        world.registry.create(ACCOUNT, WISH),
        world.registry.replace(ACCOUNT, one.lambda_id, WISH),
        world.registry.rebuild(ACCOUNT, one.lambda_id),
    ):
        with pytest.raises(NoIsolation, match="bwrap"):
            await call
    assert (len(world.store.rows), world.archives.count, world.store.cuts) == (1, before, [])
    await world.registry.patch(ACCOUNT, one.lambda_id, LambdaChange(name="x"))
    await world.registry.remove(ACCOUNT, one.lambda_id)


async def test_an_archive_that_is_not_valid_changes_nothing_and_every_problem_is_told(world: World) -> None:
    one = await world.made()
    world.archives.found = ["it is too large", "it has no main"]
    for call in (world.registry.create(ACCOUNT, WISH), world.registry.replace(ACCOUNT, one.lambda_id, WISH)):
        with pytest.raises(BadLambda) as refused:
            await call
        assert refused.value.detail == "The lambda is not valid: it is too large; it has no main"
        assert [violation.field for violation in refused.value.violations] == ["archive", "archive"]
    assert len(world.store.rows) == 1
    assert world.store.cuts == []


async def test_an_archive_that_is_gone_is_told_when_a_build_is_asked_for(world: World) -> None:
    one = await world.made()
    world.store.archived = False
    with pytest.raises(LambdaArchiveGone):
        await world.registry.rebuild(ACCOUNT, one.lambda_id)


async def test_what_is_not_there_or_of_another_account_is_not_found(world: World) -> None:
    theirs = replace(await world.made(), account_id=THEIRS)
    world.store.rows[theirs.lambda_id] = theirs
    registry, scope = world.registry, ACCOUNT.writes
    for lambda_id in (uuid4(), theirs.lambda_id):
        for call in (
            registry.replace(ACCOUNT, lambda_id, WISH),
            registry.rebuild(ACCOUNT, lambda_id),
            registry.patch(ACCOUNT, lambda_id, LambdaChange(name="x")),
            registry.remove(ACCOUNT, lambda_id),
            registry.state(scope, lambda_id),
            registry.logs(scope, lambda_id, 1),
        ):
            with pytest.raises(LambdaNotFound):
                await call
    assert theirs.lambda_id in world.store.rows
    with pytest.raises(LambdaNotFound):
        await registry.documentation(uuid4())


async def test_a_change_of_nothing_is_refused(world: World) -> None:
    one = await world.made()
    with pytest.raises(BadBody, match="at least one of lambda_name, description"):
        await world.registry.patch(ACCOUNT, one.lambda_id, LambdaChange())


async def test_a_version_that_nobody_has_reported_of_waits_to_be_built(world: World) -> None:
    one = await world.made()
    first = await world.registry.state(ACCOUNT.writes, one.lambda_id)
    assert (first.status, first.image_status, first.image_logs) == (
        LambdaStatus.WAITING,
        ImageStatus.IN_PROGRESS,
        (),
    )
    with pytest.raises(LambdaNotRunning, match="waiting"):
        await world.registry.documentation(one.lambda_id)
    reported = LambdaState(1, LambdaStatus.RUNNING, ImageStatus.COMPLETED, image_logs=("a",), documentation="yaml")
    world.store.told[one.lambda_id] = reported
    assert await world.registry.state(ACCOUNT.writes, one.lambda_id) == reported
    world.store.rows[one.lambda_id] = replace(one, version=2)
    assert (await world.registry.state(ACCOUNT.writes, one.lambda_id)).image_status is ImageStatus.IN_PROGRESS
    assert await world.registry.documentation(one.lambda_id) == "yaml"


def test_the_last_lines_are_as_many_as_are_asked_for() -> None:
    lines = ("a", "b", "c")
    assert [last(lines, count) for count in (None, 0, 1, 3, 2**32)] == [
        ["a", "b", "c"],
        [],
        ["c"],
        ["a", "b", "c"],
        ["a", "b", "c"],
    ]


HANDLERS = [UUID(int=number) for number in range(4)]
some_handlers = st.frozensets(st.sampled_from(HANDLERS), max_size=3)
emits = st.one_of(
    st.just(EmitEvents()),
    st.builds(lambda ids: EmitEvents(True, white_list=ids), some_handlers),
    st.builds(lambda ids: EmitEvents(True, black_list=ids), some_handlers),
)
grants = st.frozensets(st.sampled_from(sorted((kind, one) for kind, all_ in ACTIONS.items() for one in all_)))
permissions = st.builds(Permissions, grants, st.frozensets(st.sampled_from(["sdk", "iso"])), emits)


@given(permissions, permissions)
def test_what_is_left_inside_of_permissions_is_what_both_allow(one: Permissions, other: Permissions) -> None:
    left = one.within(other)
    assert one.missing_of(left) is None
    assert other.missing_of(left) is None
    assert left.grants == one.grants & other.grants
    assert left.resources == one.resources & other.resources
    for handler in (*HANDLERS, uuid4()):
        both = one.emit_events.permits(handler) and other.emit_events.permits(handler)
        assert left.emit_events.permits(handler) == both
    assert not {kind for kind, _ in one.within(EVERYTHING).grants} & {"token", "lambda"}


class MemoryHandlers:
    def __init__(self) -> None:
        self.made: list[Handler] = []

    async def create(self, new: Handler) -> None:
        self.made.append(new)


LAMBDA_WISH = HandlerWish(handler_type=HandlerType.LAMBDA)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (LAMBDA_WISH, MissingField),
        (replace(LAMBDA_WISH, lambda_id=uuid4()), LambdaNotFound),
        (replace(LAMBDA_WISH, lambda_id=uuid4(), policies=Policies()), BadBody),
        (HandlerWish(policies=Policies(), lambda_id=uuid4()), BadBody),
        (HandlerWish(handler_type=HandlerType.DYNAMIC, lambda_id=uuid4()), BadBody),
    ],
)
async def test_a_handler_of_type_2_and_no_other_has_a_lambda_of_its_account(
    world: World, wish: HandlerWish, expected: type[LunaError]
) -> None:
    handlers = MemoryHandlers()
    registry = HandlerRegistry(cast("Any", handlers), cast("Any", None), cast("LambdaStore", world.store))
    with pytest.raises(expected):
        await registry.create(ACCOUNT, wish)
    assert handlers.made == []


async def test_only_a_lambda_of_type_handlers_stands_in_for_a_handler(world: World) -> None:
    handlers = MemoryHandlers()
    registry = HandlerRegistry(cast("Any", handlers), cast("Any", None), cast("LambdaStore", world.store))
    one = await world.made()
    wish = replace(LAMBDA_WISH, lambda_id=one.lambda_id)
    with pytest.raises(BadBody, match="not of type 'handlers'"):
        await registry.create(ACCOUNT, wish)
    world.store.rows[one.lambda_id] = replace(one, lambda_type=LambdaType.HANDLERS)
    made = await registry.create(ACCOUNT, wish)
    assert (made.handler_type, made.lambda_id, made.policies) == (HandlerType.LAMBDA, one.lambda_id, None)
    world.store.rows[one.lambda_id] = replace(one, lambda_type=LambdaType.HANDLERS, account_id=THEIRS)
    with pytest.raises(LambdaNotFound):
        await registry.create(ACCOUNT, wish)
    off = HandlerRegistry(cast("Any", handlers), cast("Any", None))
    with pytest.raises(LambdaOff):
        await off.create(ACCOUNT, wish)
