"""Authorization: from the headers of a call and the `luna.access` of its method to the account that it acts for."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from uuid import UUID

from google.protobuf.message import Message
from luna import options_pb2

from server.domain.access import Principal
from server.domain.accounts import Account
from server.domain.registry import AccountRegistry
from server.domain.tokens import TokenRegistry
from server.errors import (
    AccountHeaderOff,
    AccountNeeded,
    AccountNotFound,
    CredentialsWrong,
    Forbidden,
    TokenCorrupted,
    TokenExpired,
    TokenNotFound,
    TokenNotUsable,
    Unauthenticated,
)
from server.rpc.validation import UUID as UUID_PATTERN


class Authorizer:
    """Decides who calls.

    `Authorization` wins over `Luna-Account-Id` where both are sent: programs written for LUNA send both.
    """

    def __init__(self, registry: AccountRegistry, tokens: TokenRegistry, *, account_header: bool) -> None:
        self._registry = registry
        self._tokens = tokens
        self._account_header = account_header

    async def caller(
        self, headers: Mapping[str, str], access: options_pb2.Access | None, address: str
    ) -> Principal | None:
        """The account of a call; None for a call of an open method.

        Raises:
            Unauthenticated: credentials are missing or wrong.
            Busy: there were too many wrong passwords.
            TokenNotUsable, TokenRefused: the method refuses tokens, or the token may no longer be what it says.
            AccountHeaderOff, AccountNeeded: the deprecated header is off, or missing for a change.
            Forbidden: the method has no `luna.access`.
        """
        if access is None:
            raise Forbidden(message="the method states no access rule")
        if access.open:
            return None
        if access.no_token and headers.get("authorization", "")[:7].lower() == "bearer ":
            raise TokenNotUsable
        principal = await self.known(headers, address)
        if principal is not None:
            return principal
        if self._account_header and access.changes:
            raise AccountNeeded
        raise Unauthenticated(message="the Authorization header is required")

    async def known(self, headers: Mapping[str, str], address: str) -> Principal | None:
        """The account that a call's credentials name; None where it has none.

        Raises:
            LunaError: as for `caller`.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            return await self._by_authorization(authorization, address)
        account_id = headers.get("luna-account-id")
        return None if account_id is None else await self._by_account_id(account_id)

    async def _by_authorization(self, authorization: str, address: str) -> Principal:
        scheme, _, value = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                login, password = _login_and_password(value.strip())
                try:
                    return principal_of(await self._registry.by_password(login, password, address))
                except CredentialsWrong as error:
                    # the codes of the credentials verifier are its own; here it is the request that fails
                    raise Unauthenticated(message=error.detail) from None
            case "bearer":
                try:
                    return await self._tokens.principal(value.strip())
                except (TokenCorrupted, TokenExpired, TokenNotFound, AccountNotFound) as error:
                    raise Unauthenticated(message=error.detail) from None
            case _:
                raise Unauthenticated(message="the Authorization header is neither Basic nor Bearer")

    async def _by_account_id(self, account_id: str) -> Principal:
        if not self._account_header:
            raise AccountHeaderOff
        if not UUID_PATTERN.fullmatch(account_id):
            raise Unauthenticated(message="Luna-Account-Id is not a uuid")
        try:
            return principal_of(await self._registry.get(UUID(account_id)))
        except AccountNotFound as error:
            raise Unauthenticated(message=error.detail) from None


def principal_of(account: Account) -> Principal:
    """An account as itself, without a token."""
    return Principal(account.account_id, account.account_type)


def permit(principal: Principal, access: options_pb2.Access, request: Message) -> None:
    """Hold a token to what a method needs.

    Raises:
        MissingPermission, MissingResource: the token lacks something; the error names it.
        EventsNotAllowed, HandlerNotAllowed: it may not make events, or not with the handler.
    """
    if access.resource:
        principal.require_resource(access.resource)
    for permission in access.permissions:
        if not permission.field or _word(request, permission.field) == permission.word:
            principal.require(permission.object, permission.action)
    if access.emit_events:
        principal.require_events(_handler_id(request))


def _handler_id(request: Message) -> UUID | None:
    """The handler that a request names; None where its text is no id, which validation then refuses."""
    text = str(getattr(request, "handler_id"))  # noqa: B009 - the option is for requests that have it
    return UUID(text) if UUID_PATTERN.fullmatch(text) else None


def _word(request: Message, name: str) -> str:
    """The word of an enum field; that of the enum's first value where the field is absent."""
    enum = request.DESCRIPTOR.fields_by_name[name].enum_type
    number = getattr(request, name)
    value = (enum.values_by_number.get(number) if enum and number else None) or (enum.values[1] if enum else None)
    return str(value.GetOptions().Extensions[options_pb2.value].word) if value else ""


def _login_and_password(value: str) -> tuple[str, str]:
    try:
        login, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # characters outside ASCII, no Base64, no UTF-8
        raise Unauthenticated(message="the Basic credentials are not Base64 of login:password") from None
    if not colon:
        raise Unauthenticated(message="the Basic credentials are not Base64 of login:password")
    return login, password
