"""Who is calling, and what of it they may see and change."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from server.domain.accounts import AccountType
from server.domain.permissions import Permissions
from server.errors import EventsNotAllowed, HandlerNotAllowed, MissingPermission, MissingResource


@dataclass(frozen=True, slots=True)
class Scope:
    """The accounts whose data an operation may touch: one account, or every one where `account_id` is None."""

    account_id: UUID | None

    def includes(self, account_id: UUID) -> bool:
        """True where data of the account is inside."""
        return self.account_id is None or self.account_id == account_id


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """The token that a call was made with. `reads_all` is its visibility area."""

    token_id: UUID
    permissions: Permissions
    reads_all: bool


@dataclass(frozen=True, slots=True)
class Principal:
    """The account that a call acts for, and the token that it came with, if any."""

    account_id: UUID
    account_type: AccountType
    token: TokenGrant | None = None

    @property
    def writes(self) -> Scope:
        """Everybody changes only their own account's data (reference document, account types)."""
        return Scope(self.account_id)

    @property
    def reads_every_account(self) -> bool:
        """True where the account may, and the token, if there is one, may too."""
        return self.account_type.reads_every_account and (self.token is None or self.token.reads_all)

    def reads(self, account_id: UUID | None = None) -> Scope:
        """What may be read, narrowed to one account where the `account_id` parameter names it.

        An account that sees only itself and names another one sees nothing of it: the scope stays its own.
        """
        return Scope(account_id) if self.reads_every_account else Scope(self.account_id)

    def require(self, kind: str, action: str) -> None:
        """Hold a token to its permissions; an account by itself may do everything with its own.

        Raises:
            MissingPermission: the token lacks the action for the kind of object.
        """
        if self.token is not None and (kind, action) not in self.token.permissions.grants:
            raise MissingPermission(action=action, object=kind)

    def require_resource(self, resource: str) -> None:
        """Hold a token to its resources.

        Raises:
            MissingResource: the token lacks the resource.
        """
        if self.token is not None and resource not in self.token.permissions.resources:
            raise MissingResource(resource=resource)

    def require_events(self, handler_id: UUID | None) -> None:
        """Hold a token to the handlers that it may make events with; None names none.

        Raises:
            EventsNotAllowed: it may not make any.
            HandlerNotAllowed: it may not with this one.
        """
        if self.token is None:
            return
        emit = self.token.permissions.emit_events
        if not emit.allowed:
            raise EventsNotAllowed
        if handler_id is not None and not emit.permits(handler_id):
            raise HandlerNotAllowed(handler_id=handler_id)
