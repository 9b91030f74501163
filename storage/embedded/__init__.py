"""PostgreSQL and Redis as child processes of this machine, from the binaries inside their wheels.

Prepares folders and says how each server is run, reached and stopped. Starts no long-running process and watches
none: that is the supervisor's work, which this package must not know.
"""

from __future__ import annotations

from storage.embedded.command import Command
from storage.embedded.errors import CannotPrepare
from storage.embedded.postgres import EmbeddedPostgres
from storage.embedded.redis import EmbeddedRedis

__all__ = ["CannotPrepare", "Command", "EmbeddedPostgres", "EmbeddedRedis"]
