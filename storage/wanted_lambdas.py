"""What a runner of lambdas asks and reports, in PostgreSQL and the blob store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from server.domain.lambdas import Deployment, LambdaState, LambdaType
from server.errors import LambdaArchiveGone
from storage.blobs import BlobStore
from storage.database import ConstraintViolated, Database
from storage.lambdas import archive_key
from storage.listener import Listener
from storage.schema import lambda_states, lambdas

CHANNEL: Final = "luna_lambdas"
"""A trigger notifies it of every change of a row."""
READS: Final = 3
"""How often an archive is looked for that was replaced between the reading of its row and of its bytes."""


class PostgresWantedLambdas:
    """Implements `server.domain.lambdas.WantedLambdas`.

    Args:
        database: where the rows are.
        blobs: where the archives are.
        sign: the JWT of a token; None where the token is gone, and the lambda then has none.
    """

    def __init__(self, database: Database, blobs: BlobStore, sign: Callable[[UUID], Awaitable[str | None]]) -> None:
        self._database = database
        self._blobs = blobs
        self._sign = sign
        self._listener = Listener(database, CHANNEL)

    async def versions(self) -> Mapping[UUID, int]:
        """The newest version of every lambda."""
        rows = await self._database.fetch(select(lambdas.c.lambda_id, lambdas.c.version))
        return {row.lambda_id: row.version for row in rows}

    async def deployment(self, lambda_id: UUID) -> Deployment | None:
        """What is to be built and run; None where the lambda is gone.

        Raises:
            LambdaArchiveGone: the archive is not there.
        """
        missed = None
        for _ in range(READS):
            rows = await self._database.fetch(select(lambdas).where(lambdas.c.lambda_id == lambda_id))
            if not rows:
                return None
            if rows[0].archive_id == missed:
                break
            archive = await self._blobs.get(archive_key(rows[0].archive_id))
            if archive is not None:
                return _deployment(rows[0], archive, await self._sign(rows[0].token_id) or "")
            missed = rows[0].archive_id
        raise LambdaArchiveGone(lambda_id=lambda_id)

    async def report(self, lambda_id: UUID, state: LambdaState) -> None:
        """Keep how far a lambda is. See `WantedLambdas.report`."""
        values = {
            "version": state.version,
            "status": state.status.value,
            "image_status": state.image_status.value,
            "base": _storable(state.base),
            "info": {_storable(name): _storable(value) for name, value in state.info.items()},
            "image_logs": [_storable(line) for line in state.image_logs],
            "documentation": _storable(state.documentation),
        }
        columns = [lambdas.c.lambda_id, *(literal(value, lambda_states.c[name].type) for name, value in values.items())]
        row = select(*columns, func.now()).where(lambdas.c.lambda_id == lambda_id)
        new = insert(lambda_states).from_select(["lambda_id", *values, "report_time"], row)
        changed = {name: new.excluded[name] for name in (*values, "report_time")}
        kept = new.on_conflict_do_update(
            index_elements=["lambda_id"], set_=changed, where=lambda_states.c.version <= new.excluded.version
        )
        try:
            async with self._database.transaction(traced=False) as connection:
                await connection.execute(kept)
        except ConstraintViolated:
            return  # it was deleted meanwhile

    async def changed(self, seconds: float) -> None:
        """Wait until something has changed, or so long."""
        await self._listener.wait(seconds)

    async def close(self) -> None:
        """Stop waiting for changes."""
        await self._listener.close()


def _deployment(row: Row[*tuple[Any, ...]], archive: bytes, token: str) -> Deployment:
    return Deployment(
        lambda_id=row.lambda_id,
        account_id=row.account_id,
        version=row.version,
        lambda_type=LambdaType(row.lambda_type),
        archive=archive,
        token=token,
        pods=row.pods,
    )


def _storable(text: str) -> str:
    """A text without what PostgreSQL cannot keep: programs write whatever they like."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
