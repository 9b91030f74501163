"""PostgreSQL: one pool of connections, what may go wrong with it, and whether it answers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import asyncpg
from pydantic import SecretStr
from sqlalchemy import Executable, Row, event, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from server import settings
from server.domain.audit import in_progress
from server.errors import Busy, DeadlineExceeded, InvalidInput, LunaError, Unavailable
from storage.trace import leave_trace

Rows: TypeAlias = Sequence[Row[*tuple[Any, ...]]]
"""What a statement answers; it stays inside this package."""

COMPONENT: Final = "PostgreSQL"
CONNECT_SECONDS: Final = 5.0
POOL_SECONDS: Final = 5.0
"""How long a call waits for a free connection before it is refused with 429."""
GRACE_SECONDS: Final = 5.0
"""How much longer than the server's own statement timeout a client waits: a server that is gone says nothing."""
RETRY_SECONDS: Final = 0.2
READY_SECONDS: Final = 2.0
RESTED_SECONDS: Final = 1.0
"""Longer than that a connection is not believed to live still: what is between may have forgotten it."""

_RESTS: Final = "luna.rests"
"""Since when a connection is in the pool, in what SQLAlchemy keeps with it."""

_PLAN_EACH_TIME: Final = text("SET LOCAL plan_cache_mode = force_custom_plan")

Isolation: TypeAlias = Literal["READ COMMITTED", "REPEATABLE READ"]

_TROUBLE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
    OSError,
)
_UNSTORABLE: Final = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError, UnicodeEncodeError)
_DRIVER: Final = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class ConstraintViolated(Exception):
    """A row breaks a unique, foreign key or check constraint. The stores turn it into an error of the domain."""

    def __init__(self, constraint: str) -> None:
        super().__init__(f"constraint {constraint!r} is violated")
        self.constraint = constraint


def neutral(error: Exception) -> Exception:
    """What an error of the driver means to the rest of Luna. An error that has no such meaning comes back as it is."""
    if isinstance(error, PoolTimeout):
        return Busy(message="every database connection is in use", retry_after=1)
    cause = _cause(error)
    if isinstance(error, IntegrityError) or isinstance(cause, asyncpg.IntegrityConstraintViolationError):
        return ConstraintViolated(str(getattr(cause, "constraint_name", None) or ""))
    if isinstance(cause, asyncpg.QueryCanceledError | TimeoutError):
        return DeadlineExceeded()
    if isinstance(cause, asyncpg.LockNotAvailableError):
        return Busy(message="a table is in use", retry_after=1)
    if isinstance(cause, _UNSTORABLE):
        return InvalidInput(message="a text has a character that cannot be stored")
    if isinstance(cause, _TROUBLE) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return Unavailable(component=COMPONENT)
    return error


def _cause(error: BaseException) -> BaseException:
    """The driver's own exception, below what SQLAlchemy wraps around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _rests(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[_RESTS] = time.monotonic()


class Database:
    """A pool of connections to one PostgreSQL database.

    `url` is a libpq address: `postgresql://user:password@host:port/name?sslmode=require`, or with the folder of a unix
    socket as `?host=/run/postgresql`. Connections are made when they are first needed. One that PostgreSQL has closed
    is known to be, and one that has rested is tried before it is used: a restart of PostgreSQL costs a reconnection
    and no error.
    """

    def __init__(self, url: SecretStr, options: settings.Database, *, application_name: str = "luna") -> None:
        self._url = url
        self._server_settings = {
            "application_name": application_name,
            "statement_timeout": str(max(1, round(options.statement_timeout_seconds * 1000))),
            "timezone": "UTC",
            "jit": "off",  # compiling costs more than any of these statements
        }
        self._command_timeout = options.statement_timeout_seconds + GRACE_SECONDS
        # asyncpg reads the address itself: it knows sslmode, several hosts and unix sockets as libpq does.
        # Autocommit is the ground state, because a statement that stands alone then costs one round trip, not three.
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.open,
            isolation_level="AUTOCOMMIT",
            pool_size=options.pool_size,
            max_overflow=options.pool_overflow,
            pool_timeout=POOL_SECONDS,
            hide_parameters=True,
        )
        event.listen(self._engine.sync_engine, "checkin", _rests)
        event.listen(self._engine.sync_engine, "checkout", self._tried)

    async def open(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of its own, outside the pool; whoever opens it closes it. Errors are the driver's."""
        return await asyncpg.connect(
            dsn=self._url.get_secret_value(),
            timeout=CONNECT_SECONDS,
            command_timeout=self._command_timeout,
            server_settings=self._server_settings,
        )

    async def fetch(
        self, statement: Executable, parameters: Mapping[str, object] | None = None, *, planned: bool = False
    ) -> Rows:
        """The rows of one reading statement, in a snapshot of its own.

        Where PostgreSQL goes away under it, it is sent once more: reading twice does no harm.

        Args:
            statement: the statement.
            parameters: its parameters.
            planned: it is planned for its values each time. PostgreSQL otherwise plans a statement that comes again
                for any values, which for conditions that may pass a million rows or one can be a thousand times slower.

        Raises:
            Unavailable, Busy, DeadlineExceeded: PostgreSQL cannot be reached, has no free connection, is too slow.
        """
        read = self._fetch_planned if planned else self._fetch
        try:
            return await read(statement, parameters)
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)
            return await read(statement, parameters)

    async def _fetch(self, statement: Executable, parameters: Mapping[str, object] | None) -> Rows:
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, parameters)).all()
        except _DRIVER as error:
            raise neutral(error) from error

    async def _fetch_planned(self, statement: Executable, parameters: Mapping[str, object] | None) -> Rows:
        async with self.transaction(traced=False) as connection:
            await connection.execute(_PLAN_EACH_TIME)
            return (await connection.execute(statement, parameters)).all()

    @asynccontextmanager
    async def transaction(
        self, isolation: Isolation = "READ COMMITTED", *, made: Sequence[UUID] = (), traced: bool = True
    ) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        What it changes for a call that announced its change is committed together with its entry in the audit trail.

        Getting the connection is tried twice, because nothing has been sent by then. A statement is never sent twice.

        Args:
            isolation: the level of isolation.
            made: ids of the objects that are made in it, for the entry.
            traced: False where it is no part of the change in progress.

        Raises:
            Unavailable, Busy, DeadlineExceeded: as for `fetch`.
            ConstraintViolated: a statement in the block breaks a constraint.
        """
        change = in_progress() if traced else None
        try:
            async with AsyncExitStack() as stack:
                connection = await self._checkout(stack)
                await connection.execution_options(isolation_level=isolation)
                if change is None:
                    async with connection.begin():
                        yield connection
                    return
                async with AsyncExitStack() as turn:
                    async with connection.begin():
                        yield connection
                        # at the end, so that no other step of the call waits for this one's work: only for its commit
                        await turn.enter_async_context(change.turn)
                        objects = change.missing(made)
                        written = await leave_trace(connection, change, objects)
                    if written:
                        change.keep(objects)
        except _DRIVER as error:
            raise neutral(error) from error

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of the driver, outside the pool, for the length of the block: to read much, at half the cost.

        Raises:
            Unavailable, DeadlineExceeded: as for `fetch`.
        """
        try:
            connection = await self.open()
            try:
                yield connection
            finally:
                connection.terminate()
        except _DRIVER as error:
            raise neutral(error) from error

    async def _checkout(self, stack: AsyncExitStack) -> AsyncConnection:
        try:
            return await stack.enter_async_context(self._engine.connect())
        except _DRIVER as error:
            if not isinstance(neutral(error), Unavailable):
                raise
            await asyncio.sleep(RETRY_SECONDS)
            return await stack.enter_async_context(self._engine.connect())

    def _tried(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        """Before a connection is used: what is closed is opened anew, and so is what has rested and does not answer.

        Not each time (`pool_pre_ping`), because that is a round trip more for each statement that stands alone.

        Raises:
            DisconnectionError: it is not usable; the pool then makes another.
        """
        if connection.driver_connection.is_closed():
            raise DisconnectionError
        if time.monotonic() - record.info.get(_RESTS, math.inf) > RESTED_SECONDS:
            dialect = self._engine.dialect
            try:
                dialect.do_ping(connection)
            except dialect.loaded_dbapi.Error as error:
                raise DisconnectionError from error

    async def ready(self) -> bool:
        """True where PostgreSQL answers within a second or two."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._fetch(select(1), None)
        except (LunaError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Close every connection. A later use opens new ones."""
        await self._engine.dispose()
