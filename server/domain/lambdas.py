"""Lambdas: users' own programs, where they are kept, and what runs them.

A lambda is a row and an archive. What is wanted is in the row alone; a runner looks at the rows, builds and starts what
they say, and reports how far it is. So nothing is lost where a runner ends at any moment: the next one looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from server.domain.access import Scope
from server.domain.faces import Page
from server.domain.http_calls import HttpCall, HttpReply
from server.domain.permissions import Permissions
from server.domain.tokens import Token

MAIN_FILE = "lambda_main.py"
"""The file of an archive that has the function `main`."""
MAIN_PATH = "main"
"""The path that the function answers on (reference document, entry of a lambda)."""
REQUIREMENTS_FILE = "requirements.txt"
"""The file of an archive that names the packages that it needs."""
DOCUMENTATION_FILE = "openapi.yaml"
"""The file of an archive that describes it; without one its main function does."""


class LambdaType(Enum):
    """What a lambda is for, in LUNA's words."""

    STANDALONE = "standalone"
    HANDLERS = "handlers"


class LambdaStatus(Enum):
    """Whether a lambda runs, in LUNA's words."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"
    NOT_FOUND = "not_found"


class ImageStatus(Enum):
    """How far the build of a lambda is, in LUNA's words."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    ERROR = "error"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Lambda:
    """What is wanted of a lambda.

    Attributes:
        version: grows from 1 with everything that needs a new build.
        commands: of LUNA's image builds; kept and shown, without effect.
        pods: processes of a runner that has a cluster.
        archive_id: names the bytes in the blob store.
        token_id: the token that the lambda calls the service with; it may do no more than who made the lambda.
    """

    lambda_id: UUID
    account_id: UUID
    name: str
    description: str
    lambda_type: LambdaType
    commands: tuple[str, ...]
    pods: int
    archive_id: UUID
    token_id: UUID
    create_time: datetime
    last_update_time: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class LambdaState:
    """How far a runner is with one version of a lambda.

    Attributes:
        version: the version that this tells of.
        base: version of what the build stands upon; empty before it.
        info: what is known of the running program, for people.
        image_logs: what the build wrote, line by line; bounded by the runner.
        documentation: an OpenAPI description in YAML; empty before the build.
    """

    version: int
    status: LambdaStatus
    image_status: ImageStatus
    base: str = ""
    info: Mapping[str, str] = field(default_factory=dict)
    image_logs: tuple[str, ...] = ()
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class LambdaFilter:
    """Which lambdas."""

    lambda_type: LambdaType | None = None
    create_time_gte: datetime | None = None
    create_time_lt: datetime | None = None


@dataclass(frozen=True, slots=True)
class LambdaChange:
    """New texts of a lambda; None leaves one as it is."""

    name: str | None = None
    description: str | None = None


class LambdaStore(Protocol):
    """Where lambdas are kept. Nothing outside the given scope is seen or changed."""

    async def create(self, new: Lambda, token: Token, archive: bytes, most: int) -> None:
        """Keep a new lambda: its archive, then its row and that of its token together.

        Raises:
            LambdaNameTaken: the account has one of that name.
            TooManyLambdas: the account has `most` already.
        """
        ...

    async def get(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        """One lambda."""
        ...

    async def find(self, scope: Scope, where: LambdaFilter, page: Page) -> list[Lambda]:
        """A page of lambdas, newest first; ties go by id."""
        ...

    async def replace(
        self, scope: Scope, wanted: Lambda, archive: bytes, within: Permissions | None = None
    ) -> int | None:
        """Replace a lambda but for its id, account, token and time of creation. Its new version; None: there is none.

        Where `within` is given, the token is cut down to it at once: it may do no more than who brought the code.

        Raises:
            LambdaNameTaken: the account has another one of that name.
        """
        ...

    async def rebuild(self, scope: Scope, lambda_id: UUID) -> int | None:
        """Ask for a new build of the same archive. The new version; None where there is no such lambda."""
        ...

    async def patch(self, scope: Scope, lambda_id: UUID, change: LambdaChange) -> bool:
        """Change the texts of a lambda. False where there is none.

        Raises:
            LambdaNameTaken: the account has another one of that name.
        """
        ...

    async def remove(self, scope: Scope, lambda_id: UUID) -> Lambda | None:
        """Delete a lambda: row, state and token, then archive. What it was; None where there is none."""
        ...

    async def has_archive(self, wanted: Lambda) -> bool:
        """Whether the archive of a lambda is there."""
        ...

    async def state(self, lambda_id: UUID) -> LambdaState | None:
        """What was last reported of a lambda. Who asks has found it inside of a scope."""
        ...

    async def states(self, lambda_ids: Sequence[UUID]) -> Mapping[UUID, LambdaState]:
        """What was last reported of some lambdas, without the long texts: logs and documentation are empty."""
        ...


class ArchiveChecks(Protocol):
    """What looks at archives of lambdas, without running anything of them."""

    async def problems(self, archive: bytes) -> list[str]:
        """What is wrong with an archive, a sentence each; none where it is valid.

        Raises:
            Busy: too many archives are looked at.
        """
        ...


class WantedLambdas(Protocol):
    """What a runner asks and reports: it works for every account."""

    async def versions(self) -> Mapping[UUID, int]:
        """The newest version of every lambda."""
        ...

    async def deployment(self, lambda_id: UUID) -> Deployment | None:
        """What is to be built and run; None where the lambda is gone.

        Raises:
            LambdaArchiveGone: the archive is not there.
        """
        ...

    async def report(self, lambda_id: UUID, state: LambdaState) -> None:
        """Keep how far a lambda is. One of an older version than the last report, or of no lambda, is left out."""
        ...

    async def close(self) -> None:
        """Stop waiting for changes."""
        ...

    async def changed(self, seconds: float) -> None:
        """Wait until something has changed, or so long."""
        ...


@dataclass(frozen=True, slots=True)
class Deployment:
    """One version of a lambda, ready to be built and run. `token` is a JWT that acts for the account."""

    lambda_id: UUID
    account_id: UUID
    version: int
    lambda_type: LambdaType
    archive: bytes = field(repr=False)
    token: str = field(repr=False)
    pods: int = 1


class LambdaRunner(Protocol):
    """Builds lambdas and runs them apart from the service. Every method may be called at any time, in any order."""

    async def check(self) -> None:
        """Return where lambdas can be kept apart.

        Raises:
            NoIsolation: they cannot; the error says why, and what would help.
        """
        ...

    def deploy(self, deployment: Deployment) -> None:
        """Build and start a version of a lambda, in the background, in place of the version that runs.

        The version that runs goes on until the new one answers. The same version again changes nothing, unless its
        state is gone.
        """
        ...

    async def remove(self, lambda_id: UUID) -> None:
        """Stop a lambda, whatever it does, and delete all that there is of it; nothing where there is none."""
        ...

    def states(self) -> Mapping[UUID, LambdaState]:
        """How far each known lambda is."""
        ...

    async def changed(self) -> None:
        """Wait until a state has changed since the last time that this was waited for."""
        ...

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        """The last lines that a lambda wrote, the oldest first; None is all that are kept. None of an unknown one."""
        ...

    def called(self, lambda_id: UUID, call: HttpCall) -> AbstractAsyncContextManager[HttpReply]:
        """The answer of a lambda, for the length of the block. One that was stopped for idleness is started.

        Raises:
            LambdaNotRunning: it is not there, not built, or ended by itself.
            LambdaFailed: it ended during the call, or answered what is no HTTP.
            Busy: too many calls wait for it.
            DeadlineExceeded: it took too long, also while its body was read.
            RequestTooLarge: the body of the call is larger than it may be.
        """
        ...

    async def close(self) -> None:
        """Stop everything in an orderly way. What is built stays, so that the next start needs no build."""
        ...


class LambdaHost(Protocol):
    """The process that runs lambdas, as servers see it."""

    async def check(self) -> None:
        """Return where lambdas are taken.

        Raises:
            NoIsolation: they cannot be kept apart there.
            Unavailable: the process does not answer.
        """
        ...

    async def logs(self, lambda_id: UUID, tail_lines: int | None) -> list[str]:
        """As `LambdaRunner.logs`.

        Raises:
            Unavailable: the process does not answer.
        """
        ...

    def called(self, lambda_id: UUID, call: HttpCall) -> AbstractAsyncContextManager[HttpReply]:
        """As `LambdaRunner.called`.

        Raises:
            Unavailable: the process does not answer.
        """
        ...
