"""PostgreSQL and Redis of all tests here. Wherever else they were imported, pytest would start them once more."""

from __future__ import annotations

from tests.servers import database, database_url, postgres, redis_client, redis_url

__all__ = ["database", "database_url", "postgres", "redis_client", "redis_url"]
