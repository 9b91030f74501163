"""Authorization: from the headers of a call and the `luna.access` of its method to the account that it acts for."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from uuid import UUID

from luna import options_pb2

from server.domain.access import Principal
from server.domain.registry import AccountRegistry
from server.errors import AccountHeaderOff, AccountNeeded, Forbidden, TokenNotUsable, Unauthenticated
from server.rpc.validation import UUID as UUID_PATTERN


class Authorizer:
    """Decides who calls.

    `Authorization` wins over `Luna-Account-Id` where both are sent: programs written for LUNA send both.
    """

    def __init__(self, registry: AccountRegistry, *, account_header: bool) -> None:
        self._registry = registry
        self._account_header = account_header

    async def caller(self, headers: Mapping[str, str], access: options_pb2.Access | None) -> Principal | None:
        """The account of a call; None for a call of an open method.

        Raises:
            Unauthenticated: credentials are missing or wrong.
            TokenNotUsable: the method refuses tokens.
            AccountHeaderOff, AccountNeeded: the deprecated header is off, or missing for a change.
            Forbidden: the method has no `luna.access`.
        """
        if access is None:
            raise Forbidden(message="the method states no access rule")
        if access.open:
            return None
        authorization = headers.get("authorization")
        if authorization is not None:
            return await self._by_authorization(authorization, access)
        account_id = headers.get("luna-account-id")
        if account_id is not None:
            return await self._by_account_id(account_id)
        if self._account_header and access.changes:
            raise AccountNeeded
        raise Unauthenticated(message="the Authorization header is required")

    async def known(self, headers: Mapping[str, str]) -> Principal | None:
        """The account that an open method's call names all the same, by login and password; None without them.

        Raises:
            Unauthenticated: the credentials are wrong.
        """
        authorization = headers.get("authorization")
        return None if authorization is None else await self._by_authorization(authorization, None)

    async def _by_authorization(self, authorization: str, access: options_pb2.Access | None) -> Principal:
        scheme, _, value = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                login, password = _login_and_password(value.strip())
                return await self._registry.by_password(login, password)
            case "bearer":
                if access is not None and access.no_token:
                    raise TokenNotUsable
                raise Unauthenticated(message="the token is not known")
            case _:
                raise Unauthenticated(message="the Authorization header is neither Basic nor Bearer")

    async def _by_account_id(self, account_id: str) -> Principal:
        if not self._account_header:
            raise AccountHeaderOff
        if not UUID_PATTERN.fullmatch(account_id):
            raise Unauthenticated(message="Luna-Account-Id is not a uuid")
        return await self._registry.by_id(UUID(account_id))


def _login_and_password(value: str) -> tuple[str, str]:
    try:
        login, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # characters outside ASCII, no Base64, no UTF-8
        raise Unauthenticated(message="the Basic credentials are not Base64 of login:password") from None
    if not colon:
        raise Unauthenticated(message="the Basic credentials are not Base64 of login:password")
    return login, password
