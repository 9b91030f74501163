"""luna.v6.Tokens and luna.v6.Credentials."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from luna.v6 import tokens_pb2 as pb
from luna.v6 import tokens_pb2_grpc

from server.domain.faces import Page
from server.domain.permissions import ACTIONS, EmitEvents, Permissions
from server.domain.registry import AccountRegistry
from server.domain.tokens import Token, TokenRegistry, TokenStore, TokenWish, VisibilityArea
from server.errors import AccountHeaderOff, BadBody, TokenNotFound
from server.rpc.calls import current
from server.services.accounts import TYPE_OF
from server.services.messages import moment, optional_uuid, texts, timestamp, uuids, word_of

_AREAS = {
    pb.VISIBILITY_AREA_ACCOUNT: VisibilityArea.ACCOUNT,
    pb.VISIBILITY_AREA_ALL: VisibilityArea.ALL,
}
_AREA_OF = {value: key for key, value in _AREAS.items()}
_ACTION_WORDS = {number: word_of(pb.Action.DESCRIPTOR, number) for number in pb.Action.values()}
_ACTION_OF = {word: number for number, word in _ACTION_WORDS.items()}
_RESOURCE_WORDS = {number: word_of(pb.Resource.DESCRIPTOR, number) for number in pb.Resource.values()}
_RESOURCE_OF = {word: number for number, word in _RESOURCE_WORDS.items()}


class TokensService(tokens_pb2_grpc.TokensServicer):
    """Tokens."""

    def __init__(self, registry: TokenRegistry, tokens: TokenStore) -> None:
        self._registry = registry
        self._tokens = tokens

    async def CreateToken(self, request: pb.CreateTokenRequest, context: object) -> pb.CreateTokenResponse:
        """Create a token."""
        token, text = await self._registry.create(current().principal, _wish(request))
        return pb.CreateTokenResponse(token=text, token_id=str(token.token_id), url=_url(token.token_id))

    async def ListTokens(self, request: pb.ListTokensRequest, context: object) -> pb.ListTokensResponse:
        """A page of tokens."""
        found = await self._tokens.find(
            current().principal.reads(optional_uuid(request.account_id)),
            moment(request.create_time_gte) if request.HasField("create_time_gte") else None,
            moment(request.create_time_lt) if request.HasField("create_time_lt") else None,
            Page(request.page, request.page_size),
        )
        return pb.ListTokensResponse(tokens=[_token(one) for one in found])

    async def ReplaceToken(self, request: pb.ReplaceTokenRequest, context: object) -> pb.ReplaceTokenResponse:
        """Replace a token as a whole."""
        token_id = UUID(request.token_id)
        _, text = await self._registry.replace(current().principal, token_id, _wish(request))
        return pb.ReplaceTokenResponse(token=text, token_id=str(token_id), url=_url(token_id))

    async def GetToken(self, request: pb.GetTokenRequest, context: object) -> pb.Token:
        """One token; its JWT is told to its own account alone, and there to nobody who may do less."""
        principal = current().principal
        found = await self._registry.get(principal.reads(), UUID(request.token_id))
        message = _token(found)
        text = await self._registry.jwt_for(principal, found)
        if text is not None:
            message.token = text
        return message

    async def DeleteToken(self, request: pb.DeleteTokenRequest, context: object) -> pb.DeleteTokenResponse:
        """Delete a token."""
        if not await self._tokens.remove(current().principal.writes, UUID(request.token_id)):
            raise TokenNotFound(token_id=request.token_id)
        return pb.DeleteTokenResponse()


class CredentialsService(tokens_pb2_grpc.CredentialsServicer):
    """Credentials."""

    def __init__(self, registry: AccountRegistry, tokens: TokenRegistry, *, account_header: bool) -> None:
        self._registry = registry
        self._tokens = tokens
        self._account_header = account_header

    async def VerifyCredentials(
        self, request: pb.VerifyCredentialsRequest, context: object
    ) -> pb.VerifyCredentialsResponse:
        """Tell whose credentials these are."""
        match [field.name for field, _ in request.ListFields()]:
            case ["login", "password"]:
                account = await self._registry.by_password(request.login, request.password, current().address)
            case ["token"]:
                token, account = await self._tokens.recognise(request.token)
                return pb.VerifyCredentialsResponse(
                    account_id=str(account.account_id),
                    account_type=TYPE_OF[account.account_type],
                    permissions=permissions(token.permissions),
                    visibility_area=_AREA_OF[token.visibility_area],
                )
            case ["account_id"]:
                if not self._account_header:
                    raise AccountHeaderOff
                account = await self._registry.get(UUID(request.account_id))
            case _:
                raise BadBody(field="", message="login with password, or token, or account_id is needed")
        return pb.VerifyCredentialsResponse(
            account_id=str(account.account_id), account_type=TYPE_OF[account.account_type]
        )


def permissions(value: Permissions) -> pb.Permissions:
    """Permissions as a message; actions come in the order of the reference."""
    emit = value.emit_events
    message = pb.Permissions(
        resources=[_RESOURCE_OF[word] for word in sorted(value.resources)],
        emit_events=pb.EmitEvents(
            allowed=emit.allowed, white_list=sorted(texts(emit.white_list)), black_list=sorted(texts(emit.black_list))
        ),
    )
    for kind, actions in ACTIONS.items():
        getattr(message, kind).extend(_ACTION_OF[action] for action in actions if (kind, action) in value.grants)
    return message


def _wish(request: pb.CreateTokenRequest | pb.ReplaceTokenRequest) -> TokenWish:
    return TokenWish(
        permissions=_permissions(request.permissions),
        description=request.description,
        expiration_time=moment(request.expiration_time) if request.HasField("expiration_time") else None,
        visibility_area=_AREAS.get(request.visibility_area),
    )


def _permissions(message: pb.Permissions) -> Permissions:
    grants = {(kind, word) for kind in ACTIONS for word in _words(message, kind)}
    return Permissions(
        grants=frozenset(grants),
        resources=frozenset(_RESOURCE_WORDS[number] for number in message.resources),
        emit_events=EmitEvents(
            allowed=message.emit_events.allowed,
            white_list=frozenset(uuids(message.emit_events.white_list)),
            black_list=frozenset(uuids(message.emit_events.black_list)),
        ),
    )


def _words(message: pb.Permissions, kind: str) -> Sequence[str]:
    """The actions given for a kind of object.

    Raises:
        BadBody: an action that this kind does not know.
    """
    words = [_ACTION_WORDS[number] for number in getattr(message, kind)]
    for place, word in enumerate(words):
        if word not in ACTIONS[kind]:
            allowed = ", ".join(ACTIONS[kind])
            raise BadBody(
                field=f"permissions.{kind}.{place}", message=f"'{word}' is not allowed, allowed are: {allowed}"
            )
    return words


def _token(value: Token) -> pb.Token:
    message = pb.Token(
        token_id=str(value.token_id),
        account_id=str(value.account_id),
        description=value.description,
        permissions=permissions(value.permissions),
        visibility_area=_AREA_OF[value.visibility_area],
        create_time=timestamp(value.create_time),
        last_update_time=timestamp(value.last_update_time),
    )
    if value.expiration_time is not None:
        message.expiration_time.CopyFrom(timestamp(value.expiration_time))
    return message


def _url(token_id: UUID) -> str:
    return f"/6/tokens/{token_id}"
