"""Who is calling, and what of it they may see and change."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from server.domain.accounts import AccountType


@dataclass(frozen=True, slots=True)
class Scope:
    """The accounts whose data an operation may touch: one account, or every one where `account_id` is None."""

    account_id: UUID | None

    def includes(self, account_id: UUID) -> bool:
        """True where data of the account is inside."""
        return self.account_id is None or self.account_id == account_id


@dataclass(frozen=True, slots=True)
class Principal:
    """The account that a call acts for."""

    account_id: UUID
    account_type: AccountType

    @property
    def writes(self) -> Scope:
        """Everybody changes only their own account's data (reference document, account types)."""
        return Scope(self.account_id)

    def reads(self, account_id: UUID | None = None) -> Scope:
        """What may be read, narrowed to one account where the `account_id` parameter names it.

        An account that sees only itself and names another one sees nothing of it: the scope stays its own.
        """
        if not self.account_type.reads_every_account:
            return Scope(self.account_id)
        return Scope(account_id)
