"""The registry of tokens: what proves a token and what does not, who may give what, and keys that change."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import jwt
import pytest
from domain_stores import NOW, MemoryAccounts, MemoryTokens
from luna.v6 import tokens_pb2

from server.domain.access import Principal, Scope, TokenGrant
from server.domain.accounts import Account, AccountChanges, AccountType
from server.domain.permissions import EmitEvents, Permissions
from server.domain.tokens import SigningKey, Token, TokenRegistry, TokenWish, VisibilityArea
from server.errors import (
    AccountNotFound,
    BadBody,
    LunaError,
    PermissionExceeded,
    TokenCorrupted,
    TokenExpired,
    TokenNotFound,
    TokenRefused,
    VisibilityNotAllowed,
)
from server.rpc.calls import Call, enter
from server.services.tokens import TokensService

USER, ADVANCED = UUID(int=1), UUID(int=2)
VIEW = Permissions(frozenset({("face", "view"), ("token", "modification")}))
DAY = timedelta(days=1)


@dataclass
class World:
    """A registry over stores in memory, with an account of each kind."""

    accounts: MemoryAccounts
    store: MemoryTokens
    registry: TokenRegistry

    def principal(self, account_id: UUID = ADVANCED) -> Principal:
        return Principal(account_id, self.accounts.rows[account_id].account_type)

    async def made(self, account_id: UUID = ADVANCED, **wish: object) -> tuple[Token, str]:
        return await self.registry.create(self.principal(account_id), TokenWish(**{"permissions": VIEW, **wish}))

    async def holder(self, account_id: UUID = ADVANCED, **wish: object) -> Principal:
        """Who calls with a new token."""
        return await self.registry.principal((await self.made(account_id, **wish))[1])

    def forged(
        self,
        token: Token,
        *,
        key: bytes | None = None,
        algorithm: str = "HS256",
        headers: Mapping[str, object] | None = None,
        **claims: object,
    ) -> str:
        """A JWT of a token that differs in something from the one that the service makes."""
        made = {"tokenId": str(token.token_id), "revision": str(token.revision), **claims}
        secret = self.store.keys[token.key_id].secret if key is None else key
        named: dict[str, object] = {"kid": str(token.key_id)} if headers is None else dict(headers)
        return jwt.encode(made, secret, algorithm, headers=named)


@pytest.fixture
def world() -> World:
    accounts, store = MemoryAccounts(), MemoryTokens()
    for account_id, account_type in ((USER, AccountType.USER), (ADVANCED, AccountType.ADVANCED_USER)):
        login = f"{account_type.value}@b.cd"
        accounts.rows[account_id] = Account(account_id, login, "x", account_type, "", NOW, NOW)
    return World(accounts, store, TokenRegistry(store, accounts))


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


async def test_a_signed_token_is_recognised_by_every_process_of_the_same_stores(world: World) -> None:
    token, text = await world.made(description="дверь", expiration_time=datetime.now(UTC) + DAY)
    other = TokenRegistry(world.store, world.accounts)
    for registry in (world.registry, other):
        assert await registry.recognise(text) == (token, world.accounts.rows[ADVANCED])
        expected = Principal(ADVANCED, AccountType.ADVANCED_USER, TokenGrant(token.token_id, VIEW, reads_all=True))
        assert await registry.principal(text) == expected
        assert await registry.jwt_for(expected, token) == text
    assert await world.registry.get(Scope(ADVANCED), token.token_id) == token


async def test_a_jwt_says_which_token_it_is_and_nothing_of_permissions(world: World) -> None:
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    token, text = await world.made(expiration_time=ends)
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "typ": "JWT", "kid": str(token.key_id)}
    assert jwt.decode(text, options={"verify_signature": False}) == {
        "tokenId": str(token.token_id),
        "expirationTime": ends.isoformat(),
        "accountId": str(ADVANCED),
        "revision": str(token.revision),
    }


async def test_the_forgery_without_a_difference_is_accepted(world: World) -> None:
    """Otherwise the tests of forgeries would prove nothing."""
    token, _ = await world.made()
    assert (await world.registry.recognise(world.forged(token)))[0] == token


async def refused(world: World, text: str) -> None:
    with pytest.raises(TokenCorrupted) as caught:
        await world.registry.recognise(text)
    assert caught.value.detail == "Token is corrupted: it is no token of this service"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
async def test_a_jwt_without_a_signature_is_refused(world: World, algorithm: str) -> None:
    token, text = await world.made()
    head, payload, signature = text.split(".")
    unsigned = part({"alg": algorithm, "typ": "JWT", "kid": str(token.key_id)})
    for end in ("", signature):
        await refused(world, f"{unsigned}.{payload}.{end}")
    await refused(world, f"{head}.{payload}.")
    await refused(world, f"{head}.{payload}")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_is_refused_though_the_key_is_right(world: World, algorithm: str) -> None:
    token, _ = await world.made()
    key = SigningKey(token.key_id, b"k" * 64, NOW)
    world.store.keys[key.key_id] = key
    await refused(world, world.forged(token, algorithm=algorithm))
    assert (await world.registry.recognise(world.forged(token)))[0] == token


@pytest.mark.parametrize("name", ["tokenId", "revision", "accountId"])
async def test_a_payload_that_was_changed_is_refused(world: World, name: str) -> None:
    (_, text), (other, _) = await world.made(USER), await world.made()
    head, payload, signature = text.split(".")
    claims = jwt.decode(text, options={"verify_signature": False})
    claims[name] = {"tokenId": str(other.token_id), "revision": str(other.revision), "accountId": str(ADVANCED)}[name]
    await refused(world, f"{head}.{part(claims)}.{signature}")
    await refused(world, f"{head}.{payload}A.{signature}")


async def test_another_key_and_another_keys_name_are_refused(world: World) -> None:
    token, _ = await world.made()
    other = SigningKey(uuid4(), b"o" * 32, NOW)
    world.store.keys[other.key_id] = other
    await refused(world, world.forged(token, key=other.secret))
    await refused(world, world.forged(token, key=b"x" * 32))
    await refused(world, world.forged(token, headers={"kid": str(other.key_id)}))


@pytest.mark.parametrize(
    "kid", [1, 1.5, True, None, [], {}, ["a"], "", "../keys", "x" * 5000, "\0", "é", str(UUID(int=9)), 10**40]
)
async def test_a_name_that_is_no_keys_is_refused(world: World, kid: object) -> None:
    token, text = await world.made()
    _, payload, signature = text.split(".")
    await refused_in_any_words(world, f"{part({'alg': 'HS256', 'kid': kid})}.{payload}.{signature}")
    await refused_in_any_words(world, f"{part({'alg': 'HS256'})}.{payload}.{signature}")
    assert (await world.registry.recognise(text))[0] == token


async def refused_in_any_words(world: World, text: str) -> None:
    with pytest.raises(TokenCorrupted):
        await world.registry.recognise(text)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "...", "a.b.c", "a" * 1_000_000, "." * 10_000, "eyJ.eyJ.eyJ", "é.é.é", "\ud800.a.b", "\0",
        "Bearer x", f"{part([])}.{part([])}.", f"{part('x')}.{part(1)}.x", f"{part(None)}.{part(None)}.",
        part(b"[" * 40_000) + ".a.b", part(b'{"kid":' * 20_000) + ".a.b", part(b"\xff\xfe") + ".a.b",
        part(b'{"kid": ' + b"9" * 5000 + b"}") + ".a.b", part({"alg": "HS256", "crit": ["b64"], "b64": False}) + "..x",
    ],
)  # fmt: skip
async def test_garbage_is_refused(world: World, text: str) -> None:
    await world.made()
    await refused(world, text)


@pytest.mark.parametrize("name", ["tokenId", "revision"])
@pytest.mark.parametrize("value", [None, 1, "", "x", [], {}, "é"])
async def test_claims_that_name_no_token_are_refused_though_they_are_signed(
    world: World, name: str, value: object
) -> None:
    token, _ = await world.made()
    await refused(world, world.forged(token, **{name: value}))


async def test_a_signed_text_that_holds_no_object_is_refused(world: World) -> None:
    token, _ = await world.made()
    key = world.store.keys[token.key_id].secret
    for payload in (b"[]", b"1", b'"x"', b"null", b"", b"\xff", b"[" * 40_000):
        await refused(world, jwt.api_jws.encode(payload, key, "HS256", headers={"kid": str(token.key_id)}))


async def test_a_token_ends_at_its_time_whatever_its_jwt_says(world: World) -> None:
    now = datetime.now(UTC)
    token, text = await world.made(expiration_time=now + DAY)
    await world.registry.recognise(text)
    world.store.rows[token.token_id] = replace(token, expiration_time=now)
    for sent in (text, world.forged(token, expirationTime=(now + DAY).isoformat(), exp=2**31)):
        with pytest.raises(TokenExpired, match=str(now.year)):
            await world.registry.recognise(sent)


async def test_claims_that_other_services_use_for_times_mean_nothing_here(world: World) -> None:
    token, _ = await world.made()
    text = world.forged(token, exp=1, nbf=2**40, iat=2**40)
    assert (await world.registry.recognise(text))[0] == token


async def test_a_replaced_token_is_what_it_was_replaced_by_and_its_old_jwt_ends(world: World) -> None:
    old, before = await world.made(USER, description="old")
    wish = TokenWish(Permissions(), "new", datetime.now(UTC) + DAY)
    new, after = await world.registry.replace(world.principal(USER), old.token_id, wish)
    with pytest.raises(TokenCorrupted, match="replaced"):
        await world.registry.recognise(before)
    assert (await world.registry.recognise(after))[0] == new == world.store.rows[old.token_id]
    assert (new.token_id, new.account_id, new.create_time) == (old.token_id, old.account_id, old.create_time)
    assert (new.description, new.permissions, new.expiration_time) == ("new", Permissions(), wish.expiration_time)
    assert new.last_update_time > old.last_update_time


async def test_a_deleted_token_and_one_of_a_deleted_account_end(world: World) -> None:
    (first, one), (_, other) = await world.made(), await world.made(USER)
    assert await world.store.remove(Scope(ADVANCED), first.token_id)
    with pytest.raises(TokenNotFound):
        await world.registry.recognise(one)
    del world.accounts.rows[USER]
    with pytest.raises(AccountNotFound):
        await world.registry.recognise(other)


async def test_a_token_that_reads_everything_is_refused_once_its_account_no_longer_may(world: World) -> None:
    (_, wide), (_, narrow) = await world.made(), await world.made(visibility_area=VisibilityArea.ACCOUNT)
    changes = AccountChanges(account_type=AccountType.USER)
    await world.accounts.change(ADVANCED, changes, NOW)
    with pytest.raises(TokenRefused, match="visibility area"):
        await world.registry.principal(wide)
    with pytest.raises(TokenCorrupted, match="visibility area"):
        await world.registry.recognise(wide)
    assert (await world.registry.principal(narrow)).reads() == Scope(ADVANCED)
    await world.accounts.change(ADVANCED, AccountChanges(account_type=AccountType.ADVANCED_USER), NOW)
    assert (await world.registry.principal(wide)).reads() == Scope(None)


async def test_the_visibility_area_is_the_widest_allowed_where_none_is_named(world: World) -> None:
    assert (await world.made(USER))[0].visibility_area is VisibilityArea.ACCOUNT
    assert (await world.made())[0].visibility_area is VisibilityArea.ALL
    narrow = await world.holder(visibility_area=VisibilityArea.ACCOUNT)
    assert (await world.registry.create(narrow, TokenWish(VIEW)))[0].visibility_area is VisibilityArea.ACCOUNT


async def test_nobody_gives_a_wider_view_than_they_have(world: World) -> None:
    wish = TokenWish(VIEW, visibility_area=VisibilityArea.ALL)
    token, _ = await world.made(visibility_area=VisibilityArea.ACCOUNT)
    narrow = await world.holder(visibility_area=VisibilityArea.ACCOUNT)
    with pytest.raises(VisibilityNotAllowed):
        await world.registry.create(world.principal(USER), wish)
    for attempt in (world.registry.create(narrow, wish), world.registry.replace(narrow, token.token_id, wish)):
        with pytest.raises(VisibilityNotAllowed):
            await attempt


@pytest.mark.parametrize(
    ("wider", "named"),
    [
        (Permissions(VIEW.grants | {("list", "view")}), "list: view"),
        (Permissions(VIEW.grants, frozenset({"sdk"})), "resources: sdk"),
        (Permissions(VIEW.grants, emit_events=EmitEvents(allowed=True)), "emit_events"),
    ],
)
async def test_a_token_gives_no_more_than_it_has_and_an_account_gives_everything(
    world: World, wider: Permissions, named: str
) -> None:
    holder = await world.holder()
    token, text = await world.made()
    for attempt in (
        world.registry.create(holder, TokenWish(wider)),
        world.registry.replace(holder, token.token_id, TokenWish(wider)),
    ):
        with pytest.raises(PermissionExceeded, match=named):
            await attempt
    assert (await world.registry.recognise(text))[0] == token, "a refused replacement changes nothing"
    assert (await world.registry.create(world.principal(), TokenWish(wider)))[0].permissions == wider
    narrower = Permissions(frozenset({("face", "view")}))
    assert (await world.registry.create(holder, TokenWish(narrower)))[0].permissions == narrower


async def test_a_token_of_another_account_is_not_there(world: World) -> None:
    token, _ = await world.made(USER)
    with pytest.raises(TokenNotFound):
        await world.registry.replace(world.principal(), token.token_id, TokenWish(VIEW))
    with pytest.raises(TokenNotFound):
        await world.registry.get(Scope(ADVANCED), token.token_id)
    assert await world.registry.get(Scope(None), token.token_id) == token


async def test_a_white_and_a_black_list_exclude_each_other(world: World) -> None:
    both = EmitEvents(allowed=True, white_list=frozenset({uuid4()}), black_list=frozenset({uuid4()}))
    with pytest.raises(BadBody, match="exclude"):
        await world.made(permissions=Permissions(emit_events=both))


async def told(world: World, principal: Principal, token: Token) -> str | None:
    """The JWT that GetToken tells, if it does."""
    enter(Call("luna.v6.Tokens.GetToken", "1", caller=principal))
    service = TokensService(world.registry, world.store)
    answer = await service.GetToken(tokens_pb2.GetTokenRequest(token_id=str(token.token_id)), None)
    return answer.token if answer.HasField("token") else None


async def test_a_jwt_is_told_to_its_account_and_to_tokens_that_may_as_much(world: World) -> None:
    """A token that may only look at tokens would otherwise become each of them by looking."""
    wide, text = await world.made()
    narrow, narrow_text = await world.made(
        permissions=Permissions(frozenset({("token", "view")})), visibility_area=VisibilityArea.ACCOUNT
    )
    looking = await world.registry.principal(narrow_text)
    assert await told(world, world.principal(), wide) == text
    assert await told(world, await world.registry.principal(text), wide) == text
    assert await told(world, looking, narrow) == narrow_text
    assert await told(world, looking, wide) is None
    far = await world.made(permissions=narrow.permissions)
    assert await told(world, looking, far[0]) is None, "it reads every account"
    of_user, _ = await world.made(USER)
    assert await told(world, world.principal(), of_user) is None, "it is another account's"


async def test_the_first_token_makes_a_key_and_the_next_ones_use_it(world: World) -> None:
    made = [(await world.made())[0] for _ in range(3)]
    assert {token.key_id for token in made} == set(world.store.keys)
    (key,) = world.store.keys.values()
    assert len(key.secret) == 32


async def test_rotation_makes_a_key_when_the_newest_is_too_old_and_old_tokens_go_on(world: World) -> None:
    await world.registry.rotate(30 * DAY)
    (first,) = world.store.keys.values()
    await world.registry.rotate(30 * DAY)
    assert list(world.store.keys.values()) == [first], "it is young yet"
    aged = replace(first, create_time=first.create_time - 30 * DAY)
    world.store.keys[first.key_id] = aged
    old, text = await world.made()
    await world.registry.rotate(30 * DAY)
    new, _ = await world.made()
    assert set(world.store.keys) == {old.key_id, new.key_id}
    assert old.key_id == first.key_id != new.key_id
    assert world.store.keys[new.key_id].secret != first.secret
    assert (await world.registry.recognise(text))[0] == old


async def test_a_key_goes_when_its_last_token_has_gone_or_was_replaced(world: World) -> None:
    old, text = await world.made(USER)
    key = world.store.keys[old.key_id]
    world.store.keys[old.key_id] = replace(key, create_time=key.create_time - 31 * DAY)
    await world.registry.rotate(30 * DAY)
    assert old.key_id in world.store.keys
    new, _ = await world.registry.replace(world.principal(USER), old.token_id, TokenWish(VIEW))
    await world.registry.rotate(30 * DAY)
    assert set(world.store.keys) == {new.key_id}
    for registry in (world.registry, TokenRegistry(world.store, world.accounts)):
        with pytest.raises(TokenCorrupted):
            await registry.recognise(text)


async def test_a_secret_never_shows_in_an_error_or_in_a_key_as_text(world: World) -> None:
    token, text = await world.made()
    key = world.store.keys[token.key_id]
    assert repr(key.secret) not in repr(key)
    with pytest.raises(LunaError) as caught:
        await world.registry.recognise(text[:-2])
    assert text[:20] not in str(caught.value)
