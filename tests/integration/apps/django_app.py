"""The routes in Django, by its ASGI handler.

It has no ASGI middleware of its own, no WebSocket, and no tasks after a response; its CORS is
Starlette's, and so is the mount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django  # type: ignore[import-untyped]  # Django has no types of its own
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    FileResponse,
    HttpResponse,
    StreamingHttpResponse,
)
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from . import kit
from .sites import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="not a secret",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    USE_TZ=True,
)
django.setup()


def page(kind: str) -> Callable[[Any], Awaitable[Any]]:
    async def view(request: Any) -> Any:
        reads_session = kind in ("me", "greeting") and hasattr(request, "session")
        user = await request.session.aget("user") if reads_session else None
        made = kit.answer(request.scope, kind, user)
        return HttpResponse(made.body, headers=made.headers, content_type=made.media_type)

    return view


async def revised(request: Any) -> Any:
    made = await kit.revised(request.scope)
    return HttpResponse(
        made.body, status=made.status, headers=made.headers, content_type=made.media_type
    )


async def login(request: Any) -> Any:
    await request.session.aset("user", request.GET["user"])
    return HttpResponse(status=204)


def streamed(made: kit.Stream) -> Any:
    return StreamingHttpResponse(made.pieces, headers=made.headers, content_type=made.media_type)


async def stream(request: Any) -> Any:
    return streamed(kit.stream(request.scope))


async def events(request: Any) -> Any:
    return streamed(kit.event_stream(request.scope))


def file(request: Any) -> Any:
    kit.describe(request.scope)
    return FileResponse(open(kit.FILE, "rb"), headers={"cache-control": kit.SHARED})


async def boom(request: Any) -> Any:
    kit.boom(request.scope)


async def late_boom(request: Any) -> Any:
    return streamed(kit.late_boom(request.scope))


async def purge(request: Any) -> Any:
    await kit.purge(request.scope)
    return HttpResponse(status=204)


urlpatterns = [
    *(
        path(kind, page(kind))
        for kind in ("page", "untagged", "flavours", "personal", "me", "greeting")
    ),
    path("ruled/page", page("ruled")),
    *(path(each[1:], revised) for each in kit.REVISED),
    path("login", login),
    path("stream", stream),
    path("ruled/stream", stream),
    path("events", events),
    path("file", file),
    path("boom", boom),
    path("late-boom", late_boom),
    path("purge", purge),
]


def create(*, gzip: bool = False, cors: bool = False, sessions: bool = False) -> ASGIApp:
    middleware = [
        *(["django.middleware.gzip.GZipMiddleware"] if gzip else []),
        *(["django.contrib.sessions.middleware.SessionMiddleware"] if sessions else []),
        "django.middleware.common.CommonMiddleware",  # says Content-Length
    ]
    with override_settings(MIDDLEWARE=middleware):
        app: ASGIApp = get_asgi_application()
    return CORSMiddleware(app, allow_origins=ORIGINS) if cors else app


def mounting() -> Starlette:
    return Starlette(routes=[Mount("/sub", create())])
