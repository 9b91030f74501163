"""luna.v6.Accounts."""

from __future__ import annotations

from luna.v6 import accounts_pb2 as pb
from luna.v6 import accounts_pb2_grpc

from server.domain.access import Principal
from server.domain.accounts import AccountType
from server.domain.registry import AccountRegistry
from server.errors import BadBody
from server.rpc.authorization import Authorizer
from server.rpc.calls import current
from server.rpc.validation import UUID as UUID_PATTERN
from server.services.messages import optional_uuid, timestamp

TYPES = {
    pb.ACCOUNT_TYPE_USER: AccountType.USER,
    pb.ACCOUNT_TYPE_ADVANCED_USER: AccountType.ADVANCED_USER,
    pb.ACCOUNT_TYPE_ADMIN: AccountType.ADMIN,
}
TYPE_OF = {value: key for key, value in TYPES.items()}


class AccountsService(accounts_pb2_grpc.AccountsServicer):
    """Accounts."""

    def __init__(self, registry: AccountRegistry, authorizer: Authorizer) -> None:
        self._registry = registry
        self._authorizer = authorizer

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: object) -> pb.CreateAccountResponse:
        """Create an account."""
        account = await self._registry.create(
            login=request.login,
            password=request.password,
            account_type=TYPES[request.account_type],
            description=request.description,
            account_id=optional_uuid(_wanted_id()),
            by=await self._administrator(),
        )
        return pb.CreateAccountResponse(account_id=str(account.account_id), url="/6/account")

    async def GetAccount(self, request: pb.GetAccountRequest, context: object) -> pb.Account:
        """The account of the caller."""
        account = await self._registry.get(current().principal.account_id)
        return pb.Account(
            account_id=str(account.account_id),
            login=account.login,
            account_type=TYPE_OF[account.account_type],
            description=account.description,
            create_time=timestamp(account.create_time),
            last_update_time=timestamp(account.last_update_time),
        )

    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: object) -> pb.UpdateAccountResponse:
        """Change the account of the caller."""
        await self._registry.change(
            current().principal.account_id,
            login=request.login if request.HasField("login") else None,
            password=request.password if request.HasField("password") else None,
            account_type=TYPES[request.account_type] if request.HasField("account_type") else None,
            description=request.description if request.HasField("description") else None,
        )
        return pb.UpdateAccountResponse()

    async def _administrator(self) -> Principal | None:
        """Who creates an account where not everyone may: credentials are then needed although the method is open."""
        if self._registry.open_registration:
            return None
        call = current()
        return await self._authorizer.known(call.headers, call.address)


def _wanted_id() -> str:
    wanted = current().headers.get("luna-account-id", "")
    if wanted and not UUID_PATTERN.fullmatch(wanted):
        raise BadBody(field="Luna-Account-Id", message=f"'{wanted[:64]}' is not a uuid (lower case, with dashes)")
    return wanted
