"""PostgreSQL and Redis for one machine, from the binaries that two wheels carry."""

from fieldline_server.embedded.postgres import Database, Postgres
from fieldline_server.embedded.redis import Redis

__all__ = ["Database", "Postgres", "Redis"]
