"""The sites that a worker serves: one framework's app and the cache, put together in all ways."""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

import asgi_cache

from . import kit
from .front import Front

if TYPE_CHECKING:
    from starlette.types import ASGIApp

ORIGINS = ["https://a.example", "https://b.example"]


class Framework(Protocol):
    """What a framework's module has; ``added`` only where the framework has such a method."""

    def create(self, *, gzip: bool = False, cors: bool = False, sessions: bool = False) -> ASGIApp:
        """The app, with these middlewares of the framework's own or else of Starlette's."""

    def mounting(self) -> ASGIApp:
        """An app with that app mounted at ``/sub``."""


def options() -> dict[str, Any]:
    """The cache's settings; the timeouts allow for a busy machine."""
    return {
        "store": os.environ.get("INTEGRATION_STORE", "memory://"),
        "namespace": os.environ.get("INTEGRATION_NAMESPACE", "integration"),
        "paths": kit.RULES,
        "store_timeout": 5.0,
        "request_store_timeout": 10.0,
    }


def sites(framework: Framework) -> dict[str, ASGIApp]:
    """Every site by the first label of its host."""
    create, given = framework.create, options()
    made: dict[str, ASGIApp] = {
        "plain": asgi_cache.wrap(create(), **given),
        "gzip-inside": asgi_cache.wrap(create(gzip=True), **given),
        "gzip-outside": GZipMiddleware(asgi_cache.wrap(create(), **given)),
        "cors-inside": asgi_cache.wrap(create(cors=True), **given),
        "cors-outside": CORSMiddleware(asgi_cache.wrap(create(), **given), allow_origins=ORIGINS),
        "sessions": asgi_cache.wrap(create(sessions=True), **given),
        "mounting": asgi_cache.wrap(framework.mounting(), **given),
        "mounted": Starlette(routes=[Mount("/sub", asgi_cache.wrap(create(), **given))]),
    }
    added = getattr(framework, "added", None)
    if added is not None:
        made["added"] = added(given)
    return made


def create() -> Front:
    """What a server is told to serve: the framework that the environment names."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("asgi_cache said: %(message)s"))
    logging.getLogger("asgi_cache").addHandler(handler)
    name = f"{__package__}.{os.environ['INTEGRATION_FRAMEWORK']}_app"
    made = sites(importlib.import_module(name))
    plain = made["plain"]
    assert isinstance(plain, asgi_cache.TimingMiddleware)
    assert isinstance(plain.app, asgi_cache.CacheMiddleware)
    return Front(made, plain.app.cache.metrics)
