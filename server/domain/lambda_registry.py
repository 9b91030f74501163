"""The rules of lambdas: what is taken, in whose name it acts, and how its life is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

from server.domain.access import Principal, Scope
from server.domain.ids import uuid7
from server.domain.lambdas import (
    ArchiveChecks,
    ImageStatus,
    Lambda,
    LambdaChange,
    LambdaHost,
    LambdaState,
    LambdaStatus,
    LambdaStore,
    LambdaType,
)
from server.domain.permissions import ACTIONS, RESOURCES, EmitEvents, Permissions
from server.domain.tokens import TokenRegistry, TokenWish, VisibilityArea
from server.errors import BadBody, BadLambda, LambdaArchiveGone, LambdaNotFound, LambdaNotRunning, Violation

KEPT_FROM_LAMBDAS = frozenset({"token", "lambda"})
"""Kinds of objects that no lambda touches: with them it could give itself more than it has, and outlive its removal."""

EVERYTHING = Permissions(
    grants=frozenset(
        (kind, action) for kind, actions in ACTIONS.items() if kind not in KEPT_FROM_LAMBDAS for action in actions
    ),
    resources=frozenset(RESOURCES),
    emit_events=EmitEvents(allowed=True),
)
"""What a lambda may do where an account itself has made it: all with the account's data."""

UNKNOWN = LambdaState(version=0, status=LambdaStatus.WAITING, image_status=ImageStatus.IN_PROGRESS)
"""What is said of a version that no runner has reported of: it waits to be built."""


@dataclass(frozen=True, slots=True)
class LambdaWish:
    """What a caller wants a lambda to be."""

    name: str
    archive: bytes = field(repr=False)
    description: str = ""
    lambda_type: LambdaType = LambdaType.STANDALONE
    commands: tuple[str, ...] = ()
    pods: int = 1


class LambdaRegistry:
    """Creates, replaces and deletes lambdas.

    Args:
        store: where they are kept.
        tokens: makes what they act with.
        host: the process that runs them.
        archives: looks at what callers send.
        most: lambdas of one account.
    """

    def __init__(
        self, store: LambdaStore, tokens: TokenRegistry, host: LambdaHost, archives: ArchiveChecks, most: int
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._host = host
        self._archives = archives
        self._most = most

    async def create(self, principal: Principal, wish: LambdaWish) -> Lambda:
        """Keep a new lambda of the caller's account, with a token that may do no more than the caller.

        Raises:
            NoIsolation, Unavailable: lambdas cannot be run now.
            BadLambda: the archive is not valid.
            LambdaNameTaken, TooManyLambdas: the account has one of that name, or as many as it may.
            Busy: too many archives are looked at.
        """
        await self._host.check()
        await self._check(wish.archive)
        may = EVERYTHING if principal.token is None else EVERYTHING.within(principal.token.permissions)
        wanted = TokenWish(may, f"lambda {wish.name}", visibility_area=VisibilityArea.ACCOUNT)
        token = await self._tokens.prepare(principal, wanted)
        new = _wanted(wish, uuid7(), principal.account_id, token.token_id)
        await self._store.create(new, token, wish.archive, self._most)
        return new

    async def replace(self, principal: Principal, lambda_id: UUID, wish: LambdaWish) -> int:
        """Replace a lambda of the caller's account but for its time of creation. Its new version.

        Its token stays, and loses what a caller with a token may not: new code may do no more than who brought it.

        Raises:
            LambdaNotFound: there is none.
            NoIsolation, Unavailable, BadLambda, LambdaNameTaken, Busy: as for `create`.
        """
        old = await self.one(principal.writes, lambda_id)
        await self._host.check()
        await self._check(wish.archive)
        within = None if principal.token is None else principal.token.permissions
        new = _wanted(wish, lambda_id, old.account_id, old.token_id)
        version = await self._store.replace(principal.writes, new, wish.archive, within)
        if version is None:
            raise LambdaNotFound(lambda_id=lambda_id)
        return version

    async def rebuild(self, principal: Principal, lambda_id: UUID) -> int:
        """Ask for a new build of a lambda of the caller's account. Its new version.

        Raises:
            LambdaNotFound: there is none.
            LambdaArchiveGone: what it would be built from is lost.
            NoIsolation, Unavailable: as for `create`.
        """
        wanted = await self.one(principal.writes, lambda_id)
        await self._host.check()
        if not await self._store.has_archive(wanted):
            raise LambdaArchiveGone(lambda_id=lambda_id)
        version = await self._store.rebuild(principal.writes, lambda_id)
        if version is None:
            raise LambdaNotFound(lambda_id=lambda_id)
        return version

    async def patch(self, principal: Principal, lambda_id: UUID, change: LambdaChange) -> None:
        """Change the texts of a lambda of the caller's account.

        Raises:
            BadBody: nothing is to be changed.
            LambdaNotFound: there is none.
            LambdaNameTaken: the account has another one of that name.
        """
        if change == LambdaChange():
            raise BadBody(field="", message="at least one of lambda_name, description is needed")
        if not await self._store.patch(principal.writes, lambda_id, change):
            raise LambdaNotFound(lambda_id=lambda_id)

    async def remove(self, principal: Principal, lambda_id: UUID) -> None:
        """Delete a lambda of the caller's account.

        Raises:
            LambdaNotFound: there is none.
        """
        if await self._store.remove(principal.writes, lambda_id) is None:
            raise LambdaNotFound(lambda_id=lambda_id)

    async def one(self, scope: Scope, lambda_id: UUID) -> Lambda:
        """A lambda inside a scope.

        Raises:
            LambdaNotFound: there is none.
        """
        found = await self._store.get(scope, lambda_id)
        if found is None:
            raise LambdaNotFound(lambda_id=lambda_id)
        return found

    async def state(self, scope: Scope, lambda_id: UUID) -> LambdaState:
        """How far the newest version of a lambda inside a scope is.

        Raises:
            LambdaNotFound: there is none.
        """
        wanted = await self.one(scope, lambda_id)
        reported = await self._store.state(lambda_id)
        return UNKNOWN if reported is None or reported.version < wanted.version else reported

    async def documentation(self, lambda_id: UUID) -> str:
        """The description of a lambda of whatever account in YAML, of the last version that was built.

        Raises:
            LambdaNotFound: there is none.
            LambdaNotRunning: it has not been built yet.
        """
        await self.one(Scope(None), lambda_id)
        reported = await self._store.state(lambda_id) or UNKNOWN
        if not reported.documentation:
            raise LambdaNotRunning(lambda_id=lambda_id, status=reported.status.value)
        return reported.documentation

    async def logs(self, scope: Scope, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        """What a lambda inside a scope wrote lately.

        Raises:
            LambdaNotFound: there is none.
            Unavailable: the process that runs lambdas does not answer.
        """
        await self.one(scope, lambda_id)
        return await self._host.logs(lambda_id, tail_lines)

    async def _check(self, archive: bytes) -> None:
        problems = await self._archives.problems(archive)
        if problems:
            violations = tuple(Violation("archive", problem) for problem in problems)
            raise BadLambda(message="; ".join(problems), violations=violations)


def last(lines: Sequence[str], count: int | None) -> list[str]:
    """The last lines of some; None is all."""
    return list(lines if count is None else lines[max(0, len(lines) - count) :])


def _wanted(wish: LambdaWish, lambda_id: UUID, account_id: UUID, token_id: UUID) -> Lambda:
    now = datetime.now(UTC)
    return Lambda(
        lambda_id=lambda_id,
        account_id=account_id,
        name=wish.name,
        description=wish.description,
        lambda_type=wish.lambda_type,
        commands=wish.commands,
        pods=wish.pods,
        archive_id=uuid4(),
        token_id=token_id,
        create_time=now,
        last_update_time=now,
    )
