"""The rules of handlers: which kind needs what, and that what their policies name is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Principal
from server.domain.faces import ListFilter, ListStore, Page
from server.domain.handlers import Handler, HandlerStore, HandlerType
from server.domain.ids import uuid7
from server.domain.lambdas import LambdaStore, LambdaType
from server.domain.policies import Policies
from server.domain.policy_rules import check, lists_of
from server.errors import BadBody, HandlerNotFound, LambdaNotFound, LambdaOff, ListsNotFound, MissingField


@dataclass(frozen=True, slots=True)
class HandlerWish:
    """What a caller wants a handler to be.

    Attributes:
        handler_type: None is not told. Then `is_dynamic` tells, and where that is not told either, whether there are
            policies (reference document: a handler without policies is dynamic).
        is_dynamic: the old way to tell the kind; None is not told.
    """

    description: str = ""
    policies: Policies | None = None
    handler_type: HandlerType | None = None
    is_dynamic: bool | None = None
    lambda_id: UUID | None = None

    @property
    def kind(self) -> HandlerType:
        """The kind of handler that is meant."""
        if self.handler_type is not None:
            return self.handler_type
        dynamic = self.policies is None if self.is_dynamic is None else self.is_dynamic
        return HandlerType.DYNAMIC if dynamic else HandlerType.STATIC


class HandlerRegistry:
    """Creates, replaces and checks handlers.

    Args:
        handlers: where they are kept.
        lists: where the lists are that policies name.
        lambdas: where the lambdas are that stand in for handlers; None where lambdas are off.
    """

    def __init__(self, handlers: HandlerStore, lists: ListStore, lambdas: LambdaStore | None = None) -> None:
        self._handlers = handlers
        self._lists = lists
        self._lambdas = lambdas

    async def create(self, principal: Principal, wish: HandlerWish) -> Handler:
        """Keep a new handler of the caller's account.

        Raises:
            BadBody, MissingField: the kind and what comes with it do not fit, or the policies contradict themselves.
            ListsNotFound: a list that the policies name is not there.
            LambdaOff: a lambda is to stand in for it, and lambdas are off.
            LambdaNotFound: that lambda is not there.
        """
        now = datetime.now(UTC)
        new = await self._handler(principal, wish, uuid7(), now)
        await self._handlers.create(new)
        return new

    async def replace(self, principal: Principal, handler_id: UUID, wish: HandlerWish) -> Handler:
        """Replace a handler of the caller's account but for its time of creation.

        Raises:
            HandlerNotFound: there is none.
            BadBody, MissingField, ListsNotFound, LambdaOff, LambdaNotFound: as for `create`.
        """
        handler = await self._handler(principal, wish, handler_id, datetime.now(UTC))
        version = await self._handlers.replace(principal.writes, handler)
        if version is None:
            raise HandlerNotFound(handler_id=handler_id)
        return replace(handler, version=version)

    async def check(self, principal: Principal, policies: Policies, path: str = "policies") -> None:
        """Hold policies to the rules, and see that the lists that they name are there.

        Raises:
            BadBody: they contradict themselves.
            ListsNotFound: a list is not there.
        """
        check(policies, path)
        for scope, list_ids in lists_of(policies, principal).items():
            wanted = tuple(dict.fromkeys(list_ids))
            there = await self._lists.find(scope, ListFilter(list_ids=wanted), Page(size=len(wanted)))
            known = {one.list_id for one in there}
            absent = next((list_id for list_id in wanted if list_id not in known), None)
            if absent is not None:
                raise ListsNotFound(list_id=absent)

    async def _handler(self, principal: Principal, wish: HandlerWish, handler_id: UUID, now: datetime) -> Handler:
        _check_kind(wish)
        if wish.policies is not None:
            await self.check(principal, wish.policies)
        if wish.lambda_id is not None:
            await self._check_lambda(principal, wish.lambda_id)
        return Handler(
            handler_id=handler_id,
            account_id=principal.account_id,
            handler_type=wish.kind,
            description=wish.description,
            policies=wish.policies,
            lambda_id=wish.lambda_id,
            create_time=now,
            last_update_time=now,
        )

    async def _check_lambda(self, principal: Principal, lambda_id: UUID) -> None:
        if self._lambdas is None:
            raise LambdaOff
        found = await self._lambdas.get(principal.writes, lambda_id)
        if found is None:
            raise LambdaNotFound(lambda_id=lambda_id)
        if found.lambda_type is not LambdaType.HANDLERS:
            raise BadBody(field="lambda_id", message="the lambda is not of type 'handlers'")


def _check_kind(wish: HandlerWish) -> None:
    if wish.kind is HandlerType.LAMBDA:
        if wish.lambda_id is None:
            raise MissingField(field="lambda_id")
        if wish.policies is not None:
            raise BadBody(field="policies", message="a handler of type 2 has none: its lambda decides")
        return
    if wish.lambda_id is not None:
        raise BadBody(field="lambda_id", message="only a handler of type 2 has a lambda")
    if wish.kind is HandlerType.STATIC and wish.policies is None:
        raise MissingField(field="policies")
    if wish.kind is HandlerType.DYNAMIC and wish.policies is not None:
        raise BadBody(field="policies", message="a dynamic handler has none: each request brings them")
