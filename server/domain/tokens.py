"""Tokens: rows that say what is allowed, and JWTs that prove to be of such a row.

A JWT is signed with HS256 under the key that its header names. Keys are replaced from time to time; a key lives as long
as a token that was signed with it. A JWT is only as good as its row: deleting the row or replacing it, which changes
the row's revision, ends every JWT that was signed for it before, in every process at once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Protocol
from uuid import UUID, uuid4

import jwt

from server.domain.access import Principal, Scope, TokenGrant
from server.domain.accounts import Account, AccountStore, AccountType
from server.domain.faces import Page
from server.domain.ids import uuid7
from server.domain.permissions import Permissions
from server.errors import (
    AccountNotFound,
    BadBody,
    PermissionExceeded,
    TokenCorrupted,
    TokenExpired,
    TokenNotFound,
    TokenRefused,
    VisibilityNotAllowed,
)

ALGORITHM = "HS256"
KEY_BYTES = 32
TOO_WIDE = "its visibility area is 'all', and its account is of type 'user'"


class VisibilityArea(Enum):
    """Whose data a token reads. The value is LUNA's word."""

    ACCOUNT = "account"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that JWTs are signed with."""

    key_id: UUID
    secret: bytes = field(repr=False)
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """The row of a token."""

    token_id: UUID
    account_id: UUID
    description: str
    expiration_time: datetime | None
    permissions: Permissions
    visibility_area: VisibilityArea
    key_id: UUID
    revision: UUID
    create_time: datetime
    last_update_time: datetime


@dataclass(frozen=True, slots=True)
class TokenWish:
    """What a caller wants a token to be. Without a visibility area it is the widest that the account may have."""

    permissions: Permissions
    description: str = ""
    expiration_time: datetime | None = None
    visibility_area: VisibilityArea | None = None


class TokenStore(Protocol):
    """Where tokens and their keys are kept."""

    async def add(self, token: Token) -> None:
        """Keep a new token."""
        ...

    async def get(self, scope: Scope, token_id: UUID) -> Token | None:
        """One token."""
        ...

    async def find(
        self, scope: Scope, create_time_gte: datetime | None, create_time_lt: datetime | None, page: Page
    ) -> list[Token]:
        """A page of tokens, newest first; ties go by id."""
        ...

    async def replace(self, scope: Scope, token: Token) -> bool:
        """Replace a token but for its account and create_time. False where there is none."""
        ...

    async def remove(self, scope: Scope, token_id: UUID) -> bool:
        """Delete a token. False where there is none."""
        ...

    async def key(self, key_id: UUID) -> SigningKey | None:
        """One key."""
        ...

    async def newest_key(self) -> SigningKey | None:
        """The key that new tokens are signed with."""
        ...

    async def add_key(self, key: SigningKey) -> None:
        """Keep a new key."""
        ...

    async def remove_unused_keys(self) -> int:
        """Delete the keys that no token was signed with, but for the newest one. How many there were."""
        ...


class TokenRegistry:
    """Issues tokens and recognises them."""

    def __init__(self, store: TokenStore, accounts: AccountStore) -> None:
        self._store = store
        self._accounts = accounts
        self._keys: dict[UUID, SigningKey] = {}

    async def create(self, principal: Principal, wish: TokenWish) -> tuple[Token, str]:
        """Issue a token and its JWT.

        Raises:
            VisibilityNotAllowed: it would read every account's data, and its account may not.
            PermissionExceeded: the caller is a token that may less.
        """
        key = await self._signing_key()
        token = _new_token(principal, wish, key)
        await self._store.add(token)
        return token, _sign(token, key)

    async def prepare(self, principal: Principal, wish: TokenWish) -> Token:
        """A token that is not kept yet: for whoever keeps it together with what it is for.

        Raises:
            VisibilityNotAllowed, PermissionExceeded: as for `create`.
        """
        return _new_token(principal, wish, await self._signing_key())

    async def replace(self, principal: Principal, token_id: UUID, wish: TokenWish) -> tuple[Token, str]:
        """Replace a token; its old JWTs end.

        Raises:
            TokenNotFound: there is none.
            VisibilityNotAllowed, PermissionExceeded: as for `create`.
        """
        old = await self.get(principal.writes, token_id)
        area = _area(principal, wish)
        key = await self._signing_key()
        token = replace(
            old,
            description=wish.description,
            expiration_time=wish.expiration_time,
            permissions=wish.permissions,
            visibility_area=area,
            key_id=key.key_id,
            revision=uuid4(),
            last_update_time=datetime.now(UTC),
        )
        if not await self._store.replace(principal.writes, token):
            raise TokenNotFound(token_id=token_id)
        return token, _sign(token, key)

    async def get(self, scope: Scope, token_id: UUID) -> Token:
        """One token.

        Raises:
            TokenNotFound: there is none.
        """
        token = await self._store.get(scope, token_id)
        if token is None:
            raise TokenNotFound(token_id=token_id)
        return token

    async def jwt_for(self, principal: Principal, token: Token) -> str | None:
        """The JWT of a token, signed anew: it is the same as before, and nobody has to keep it.

        None for another account, and for a caller with a token that may do less: it would gain by asking.
        """
        if token.account_id != principal.account_id:
            return None
        if principal.token is not None:
            too_wide = token.visibility_area is VisibilityArea.ALL and not principal.token.reads_all
            if too_wide or principal.token.permissions.missing_of(token.permissions) is not None:
                return None
        return _sign(token, await self._key(token.key_id))

    async def jwt_of(self, token_id: UUID) -> str | None:
        """The JWT of a token, for what runs on behalf of it; None where there is none (any more)."""
        token = await self._store.get(Scope(None), token_id)
        return None if token is None else _sign(token, await self._key(token.key_id))

    async def recognise(self, text: str) -> tuple[Token, Account]:
        """The token that a JWT proves, and its account; what a call would be refused with is no token to recognise.

        Raises:
            TokenCorrupted: it is no JWT of this service, not the token's present one, or reads more than its account.
            TokenExpired: its time is over.
            TokenNotFound: it has been deleted.
            AccountNotFound: its account has been deleted.
        """
        token, account = await self._present(text)
        if _reads_too_much(token, account):
            raise TokenCorrupted(message=TOO_WIDE)
        return token, account

    async def principal(self, text: str) -> Principal:
        """Who calls with a JWT.

        Raises:
            TokenRefused: it reads every account's data, and its account no longer may.
            LunaError: otherwise as for `recognise`.
        """
        token, account = await self._present(text)
        if _reads_too_much(token, account):
            raise TokenRefused(message=TOO_WIDE)
        grant = TokenGrant(token.token_id, token.permissions, token.visibility_area is VisibilityArea.ALL)
        return Principal(account.account_id, account.account_type, grant)

    async def _present(self, text: str) -> tuple[Token, Account]:
        """The token that a JWT proves, and its account, both as they are now."""
        token_id, revision = await self._proven(text)
        token = await self._store.get(Scope(None), token_id)
        if token is None:
            raise TokenNotFound(token_id=token_id)
        if token.revision != revision:
            raise TokenCorrupted(message="it has been replaced")
        if token.expiration_time is not None and token.expiration_time <= datetime.now(UTC):
            raise TokenExpired(expiration_time=token.expiration_time.isoformat())
        account = await self._accounts.by_id(token.account_id)
        if account is None:
            raise AccountNotFound(account_id=token.account_id)
        return token, account

    async def rotate(self, age: timedelta) -> None:
        """Make a new key where the newest one is older, and delete keys that nothing needs any more."""
        newest = await self._store.newest_key()
        if newest is None or newest.create_time < datetime.now(UTC) - age:
            await self._store.add_key(_new_key())
        await self._store.remove_unused_keys()

    async def _signing_key(self) -> SigningKey:
        key = await self._store.newest_key()
        if key is None:
            key = _new_key()
            await self._store.add_key(key)
        return key

    async def _key(self, key_id: UUID) -> SigningKey:
        """A key by its id; a key never changes, so that it may be remembered."""
        if key_id not in self._keys:
            key = await self._store.key(key_id)
            if key is None:
                raise TokenCorrupted(message="its key is not known")
            self._keys[key_id] = key
        return self._keys[key_id]

    async def _proven(self, text: str) -> tuple[UUID, UUID]:
        """Token and revision that a JWT proves."""
        try:
            key = await self._key(UUID(jwt.get_unverified_header(text).get("kid", "")))
            claims = jwt.decode(
                text,
                key.secret,
                algorithms=[ALGORITHM],
                options={"require": [], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            return UUID(claims["tokenId"]), UUID(claims["revision"])
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
            raise TokenCorrupted(message="it is no token of this service") from None


def _reads_too_much(token: Token, account: Account) -> bool:
    """True where a token was made to read every account's data, and its account has become one that may not."""
    return token.visibility_area is VisibilityArea.ALL and account.account_type is AccountType.USER


def _sign(token: Token, key: SigningKey) -> str:
    claims = {
        "tokenId": str(token.token_id),
        "expirationTime": None if token.expiration_time is None else token.expiration_time.isoformat(),
        "accountId": str(token.account_id),
        "revision": str(token.revision),
    }
    return jwt.encode(claims, key.secret, ALGORITHM, headers={"kid": str(key.key_id)})


def _new_token(principal: Principal, wish: TokenWish, key: SigningKey) -> Token:
    now = datetime.now(UTC)
    return Token(
        token_id=uuid7(),
        account_id=principal.account_id,
        description=wish.description,
        expiration_time=wish.expiration_time,
        permissions=wish.permissions,
        visibility_area=_area(principal, wish),
        key_id=key.key_id,
        revision=uuid4(),
        create_time=now,
        last_update_time=now,
    )


def _area(principal: Principal, wish: TokenWish) -> VisibilityArea:
    """The visibility area of a new token, after what it may do has been held to what its maker may."""
    if principal.token is not None:
        missing = principal.token.permissions.missing_of(wish.permissions)
        if missing is not None:
            raise PermissionExceeded(permission=missing)
    if wish.permissions.emit_events.white_list and wish.permissions.emit_events.black_list:
        raise BadBody(field="permissions.emit_events", message="white_list and black_list exclude each other")
    if wish.visibility_area is None:
        return VisibilityArea.ALL if principal.reads_every_account else VisibilityArea.ACCOUNT
    if wish.visibility_area is VisibilityArea.ALL and not principal.reads_every_account:
        raise VisibilityNotAllowed
    return wish.visibility_area


def _new_key() -> SigningKey:
    return SigningKey(uuid4(), secrets.token_bytes(KEY_BYTES), datetime.now(UTC))
