"""README's snippet for each framework does what its comments say."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import fastapi
import httpx
import litestar
import pytest
import quart
from django.conf import settings  # type: ignore[import-untyped]  # Django has no types of its own
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from litestar.config.compression import CompressionConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import asgi_cache
from tests.integration.snippets import SNIPPETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

ORIGIN = "https://a.example"
GIVEN = {
    "__name__": __name__,
    "asgi_cache": asgi_cache,
    "origins": [ORIGIN],
    "secret": "not a secret",
    **{
        each.__name__: each
        for each in (
            *(Starlette, Middleware, CORSMiddleware, GZipMiddleware, SessionMiddleware),
            *(fastapi.FastAPI, quart.Quart, litestar.Litestar),
            *(CompressionConfig, ServerSideSessionConfig),
        )
    },
}


class Shop:
    """The handlers' common part: what they say, and how often they were asked."""

    def __init__(self) -> None:
        self.calls = 0

    def say(self, number: str, user: str | None) -> str:
        self.calls += 1
        return f"product {number} for {user} in call {self.calls} ".ljust(1000, ".")


def ran(framework: str, **more: object) -> dict[str, Any]:
    """The names after the snippet has run."""
    names = {**GIVEN, **more}
    exec(SNIPPETS[framework], names)
    return names


def starlette_app(shop: Shop) -> Any:
    async def product(request: Request) -> PlainTextResponse:
        return PlainTextResponse(shop.say(request.path_params["number"], None))

    async def me(request: Request) -> PlainTextResponse:
        request.session.setdefault("user", request.query_params.get("user"))
        return PlainTextResponse(shop.say("me", request.session["user"]))

    return ran("starlette", routes=[Route("/products/{number}", product), Route("/me", me)])["app"]


def fastapi_app(shop: Shop) -> Any:
    app = ran("fastapi")["app"]

    async def product(number: str) -> str:
        return shop.say(number, None)

    async def me(request: fastapi.Request, user: str | None = None) -> str:
        request.session.setdefault("user", user)
        return shop.say("me", request.session["user"])

    app.get("/products/{number}")(product)
    app.get("/me")(me)
    return app


def litestar_app(shop: Shop) -> Any:
    @litestar.get("/products/{number:str}")
    async def product(request: litestar.Request[Any, Any, Any]) -> str:
        return shop.say(request.path_params["number"], None)

    @litestar.get("/me")
    async def me(request: litestar.Request[Any, Any, Any]) -> str:
        request.session.setdefault("user", request.query_params.get("user"))
        return shop.say("me", request.session["user"])

    return ran("litestar", handlers=[product, me])["app"]


def quart_app(shop: Shop) -> Any:
    app: quart.Quart = ran("quart")["app"]

    @app.get("/products/<number>")
    async def product(number: str) -> str:
        return shop.say(number, None)

    @app.get("/me")
    async def me() -> str:
        quart.session.setdefault("user", quart.request.args.get("user"))
        user: str | None = quart.session["user"]
        return shop.say("me", user)

    return app


def django_app(shop: Shop) -> Any:
    async def product(request: Any, number: str) -> Any:
        return HttpResponse(shop.say(number, None))

    async def me(request: Any) -> Any:
        if await request.session.aget("user") is None:
            await request.session.aset("user", request.GET.get("user"))
        return HttpResponse(shop.say("me", await request.session.aget("user")))

    urls = ModuleType("urls")
    urls.__dict__["urlpatterns"] = [path("products/<number>", product), path("me", me)]
    settings.configure(
        ROOT_URLCONF=urls,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="not a secret",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=[
            "django.middleware.gzip.GZipMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
        ],
    )
    return ran("django")["application"]


APPS: dict[str, Callable[[Shop], Any]] = {
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "quart": quart_app,
    "django": django_app,
}


@pytest.mark.parametrize("framework", APPS)
async def test_snippet(framework: str) -> None:
    shop = Shop()
    app = APPS[framework](shop)

    def client() -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app)
        return httpx.AsyncClient(transport=transport, base_url="http://shop.example")

    async with client() as alice, client() as bob:
        for each, user in ((alice, "alice"), (bob, "bob")):
            mine = await each.get("/me", params={"user": user})
            assert f"for {user} in" in mine.text
            assert "; hit" not in mine.headers["cache-status"]
            assert "; stored" not in mine.headers["cache-status"]
        seen = shop.calls
        for encoding in ("gzip", "identity"):
            first = await alice.get("/products/1", headers={"Accept-Encoding": encoding})
            second = await bob.get("/products/1", headers={"Accept-Encoding": encoding})
            assert "; hit" in second.headers["cache-status"]
            assert second.text == first.text
            assert (second.headers.get("content-encoding") == "gzip") == (encoding == "gzip")
            assert framework == "quart" or second.headers["etag"]
        assert shop.calls == seen + 2
        if framework not in ("litestar", "django"):
            # CORS outside: the page that is stored is for every origin.
            for origin, granted in ((ORIGIN, ORIGIN), ("https://evil.example", None)):
                answer = await bob.get("/products/1", headers={"Origin": origin})
                assert "; hit" in answer.headers["cache-status"]
                assert answer.headers.get("access-control-allow-origin") == granted
            assert shop.calls == seen + 2
