"""The app under test: the package's middleware around the proxy, put together from the environment.

Any ASGI server that takes a factory can serve `tests.conformance.serve:create`.

    CONFORMANCE_ORIGIN    URL of the suite's origin
    CONFORMANCE_PROFILE   a key of PROFILES; "default" where absent
    CONFORMANCE_STORE     URL of the store; "memory://" where absent
"""

import os
from collections.abc import Mapping
from typing import Any

from .proxy import ASGIApp, ReverseProxy

# Keyword settings of `asgi_cache.wrap`, by profile. None is no cache at all: it shows what the
# server and the proxy alone do to the suite.
PROFILES: Mapping[str, Mapping[str, Any] | None] = {
    "none": None,
    "default": {},
    # All that RFC 9111 and RFC 9213 let a shared cache do, asked for: for an app whose clients may
    # have a say, and which keys nothing on cookies. README documents it.
    "rfc": {
        "targeted_fields": ("ASGI-Cache-Control", "CDN-Cache-Control"),
        "honor_request_directives": True,
        "heuristic_fraction": 0.1,
        "stale_if_error": 60,
        "cookies": "ignore",
        "authorization_must_revalidate": True,
    },
}

# The suite sends a hundred requests at once, which may be over the deadlines of a request on a
# small machine; what it asks is what is stored and reused, not how fast.
PATIENCE: Mapping[str, Any] = {"store_timeout": 5.0, "request_store_timeout": 10.0}


def create() -> ASGIApp:
    """The app that the environment asks for."""
    proxy = ReverseProxy.at(os.environ["CONFORMANCE_ORIGIN"])
    settings = PROFILES[os.environ.get("CONFORMANCE_PROFILE", "default")]
    if settings is None:
        return proxy
    # Here, so that the profile without a cache also runs without the package's dependencies.
    import asgi_cache

    store = os.environ.get("CONFORMANCE_STORE", "memory://")
    app: ASGIApp = asgi_cache.wrap(proxy, **{"store": store, **PATIENCE, **settings})
    return app
