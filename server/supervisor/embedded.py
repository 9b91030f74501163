"""The embedded servers that the settings ask for, as programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.settings import Settings
from server.supervisor.program import Program
from storage.embedded import EmbeddedPostgres, EmbeddedRedis

START_SECONDS = 120
"""A start takes a second or two; after a crash PostgreSQL first repeats up to 512 MB of log."""

STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Backing:
    """The database and Redis that Luna's own programs are to use.

    Attributes:
        programs: What has to be run for it: none, one or two programs, `postgres` and `redis`.
        database_url: Address of the database, `postgresql://...`.
        redis_url: Address of Redis, `redis://...` or `unix://...`.
    """

    programs: tuple[Program, ...]
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """What Luna's own programs depend on."""
        return tuple(program.name for program in self.programs)

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of Luna's own programs that lead them here. May hold passwords: not for argument lists."""
        return {"LUNA_DATABASE__URL": self.database_url, "LUNA_REDIS__URL": self.redis_url}


def backing(settings: Settings) -> Backing:
    """The servers that `settings` name, or embedded ones in the data folder where they name none.

    Nothing is made or started yet.

    Raises:
        CannotPrepare: the wheel of an embedded server is not installed, or no socket fits.
    """
    programs: list[Program] = []
    if settings.database.url is None:
        postgres = EmbeddedPostgres(settings.data)
        database_url = postgres.url
        programs.append(_program("postgres", postgres))
    else:
        database_url = settings.database.url.get_secret_value()
    if settings.redis.url is None:
        redis = EmbeddedRedis(settings.data)
        redis_url = redis.url
        programs.append(_program("redis", redis))
    else:
        redis_url = settings.redis.url.get_secret_value()
    return Backing(tuple(programs), database_url, redis_url)


def _program(name: str, server: EmbeddedPostgres | EmbeddedRedis) -> Program:
    command = server.command()
    return Program(
        name=name,
        argv=command.argv,
        env=command.env,
        cwd=command.cwd,
        user=command.user,
        before=server.prepare,
        ready=server.ready,
        start_seconds=START_SECONDS,
        stop_signal=command.stop_signal,
        stop_seconds=STOP_SECONDS,
        kill_signal=command.kill_signal,
    )
