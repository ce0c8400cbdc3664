"""Connections to a database server: what is lost is noticed, and no wait is without end."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, make_url

_TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms; keepalives do not watch over what was sent and not received
}
_LIMITS_MS = {
    "lock_timeout": 60_000,
    "idle_in_transaction_session_timeout": 240_000,  # less than the default of `storage_wait_s`
}
_MADE_LAST = "alembic_version"  # of Optuna's tables


def connection_timeouts(url: URL) -> dict[str, Any]:
    """Return the options for detecting a lost PostgreSQL server, except those in the URL."""
    if url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    return {key: value for key, value in _TIMEOUTS.items() if key not in url.query}


def unpooled(url: str) -> Engine:
    """Return an engine for a few statements on a server; it keeps no connection."""
    timeouts = connection_timeouts(make_url(url))
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=timeouts)
    limit_waits(engine)
    return engine


def has_studies(engine: Engine) -> bool:
    """Return True if Optuna's tables are all made."""
    return sa.inspect(engine).has_table(_MADE_LAST)


def limit_waits(engine: Engine) -> None:
    """Let the server end a wait for a lock, and free the locks of a run that is stopped or cut.

    Without a limit, everybody waits for what a stopped process holds, and for what a host that is
    gone holds as long as the server believes in it: two hours by default.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for name, limit_ms in _LIMITS_MS.items():
            cursor.execute(f"SET SESSION {name} = {limit_ms}")
        connection.commit()

    engine.dispose()  # earlier connections do not have the listener
