"""From a URL to a pool of redis-py, which describes connections and holds none.

What must not be here: what is said on a connection (``connections``).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from asgi_cache.errors import ConfigurationError


def pool_of(url: str, connect_timeout: float, limit: int) -> Any:
    """A pool of redis-py for *url*; a ConfigurationError that does not repeat it (passwords)."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ConfigurationError("store must begin with redis://, rediss:// or unix://")
        database = "" if parts.scheme == "unix" else parts.path.strip("/")
        if database and not database.isdecimal():
            raise ConfigurationError(f"store names database {database!r}; it must be a number")
        pool: Any = ConnectionPool.from_url(
            url,
            socket_connect_timeout=connect_timeout,
            socket_timeout=None,  # whoever waits bounds an exchange as a whole
            retry=Retry(NoBackoff(), 0),
            max_connections=limit,
            protocol=2,
        )
        pool.make_connection()
    except ConfigurationError:
        raise
    except TypeError as error:  # an unknown option: names it
        raise ConfigurationError(f"store has a wrong option: {error}") from None
    except Exception:
        raise ConfigurationError("store is no usable URL: host, port, options?") from None
    return pool
