"""Scopes, principals and permissions: what may be read, and who may give what."""

from __future__ import annotations

from itertools import product
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.access import Principal, Scope, TokenGrant
from server.domain.accounts import AccountType
from server.domain.permissions import ACTIONS, RESOURCES, EmitEvents, Permissions
from server.errors import MissingPermission, MissingResource

GRANTS = [(kind, action) for kind, actions in ACTIONS.items() for action in actions]
HANDLERS = [UUID(int=number) for number in range(1, 5)]
STRANGER = UUID(int=99)
"""A handler that no list names: it stands for all the others."""

handlers = st.frozensets(st.sampled_from(HANDLERS))
emissions = st.one_of(
    st.builds(EmitEvents, allowed=st.booleans()),
    st.builds(EmitEvents, allowed=st.booleans(), white_list=handlers),
    st.builds(EmitEvents, allowed=st.booleans(), black_list=handlers),
)
permissions = st.builds(
    Permissions,
    grants=st.frozensets(st.sampled_from(GRANTS[:6])),
    resources=st.frozensets(st.sampled_from(RESOURCES)),
    emit_events=emissions,
)


def emitted(value: EmitEvents) -> set[UUID]:
    """The handlers that events may be made with, of all that there are."""
    everyone = {*HANDLERS, STRANGER}
    if not value.allowed:
        return set()
    return set(value.white_list) if value.white_list else everyone - value.black_list


@given(permissions, permissions)
def test_nothing_is_missing_just_where_the_others_are_a_subset(mine: Permissions, other: Permissions) -> None:
    """Written as sets of everything that may be done, and nothing cleverer."""
    subset = (
        other.grants <= mine.grants
        and other.resources <= mine.resources
        and emitted(other.emit_events) <= emitted(mine.emit_events)
    )
    assert (mine.missing_of(other) is None) == subset


@given(permissions)
def test_permissions_lack_nothing_of_themselves_and_nothing_of_none(one: Permissions) -> None:
    assert one.missing_of(one) is None
    assert one.missing_of(Permissions()) is None


@given(permissions, permissions)
def test_what_is_named_as_missing_is_asked_for_and_not_there(mine: Permissions, other: Permissions) -> None:
    missing = mine.missing_of(other)
    if missing is None or missing == "emit_events":
        return
    kind, _, word = missing.partition(": ")
    if kind == "resources":
        assert word in other.resources - mine.resources
    else:
        assert (kind, word) in other.grants - mine.grants


def a_principal(account_type: AccountType, reads_all: bool | None = None, *grants: tuple[str, str]) -> Principal:
    """An account, with a token where `reads_all` is given."""
    token = None if reads_all is None else TokenGrant(uuid4(), Permissions(frozenset(grants)), reads_all)
    return Principal(UUID(int=1), account_type, token)


@pytest.mark.parametrize(("account_type", "reads_all"), list(product(AccountType, (None, False, True))))
def test_everything_is_read_only_where_account_and_token_both_may(
    account_type: AccountType, reads_all: bool | None
) -> None:
    one, other = a_principal(account_type, reads_all), uuid4()
    if account_type is not AccountType.USER and reads_all is not False:
        assert (one.reads(), one.reads(other)) == (Scope(None), Scope(other))
    else:
        assert one.reads() == one.reads(other) == Scope(one.account_id)
    assert one.reads(one.account_id) == one.writes == Scope(one.account_id)


def test_a_scope_includes_its_account_or_everyone() -> None:
    one, other = uuid4(), uuid4()
    assert Scope(one).includes(one)
    assert not Scope(one).includes(other)
    assert Scope(None).includes(other)


@pytest.mark.parametrize("account_type", AccountType)
def test_an_account_by_itself_may_do_everything_with_its_own(account_type: AccountType) -> None:
    one = a_principal(account_type)
    for kind, action in GRANTS:
        one.require(kind, action)
    for resource in RESOURCES:
        one.require_resource(resource)


@pytest.mark.parametrize("grant", GRANTS, ids=":".join)
def test_a_token_may_do_what_it_was_given_and_nothing_else(grant: tuple[str, str]) -> None:
    one = a_principal(AccountType.ADMIN, True, grant)
    one.require(*grant)
    for kind, action in GRANTS:
        if (kind, action) != grant:
            with pytest.raises(MissingPermission, match=f"'{action}' for '{kind}'"):
                one.require(kind, action)


def test_a_token_needs_each_resource_by_name() -> None:
    grant = TokenGrant(uuid4(), Permissions(resources=frozenset({"iso"})), reads_all=True)
    one = Principal(uuid4(), AccountType.ADMIN, grant)
    one.require_resource("iso")
    for resource in ("sdk", "liveness", ""):
        with pytest.raises(MissingResource):
            one.require_resource(resource)
