"""The routes in Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

import asgi_cache

from . import kit
from .sites import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.websockets import WebSocket


def page(kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        made = kit.answer(request.scope, kind)
        return Response(made.body, headers=made.headers, media_type=made.media_type)

    return endpoint


def greeting(kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        user = request.session.get("user") if "session" in request.scope else None
        made = kit.answer(request.scope, kind, user)
        return Response(made.body, headers=made.headers, media_type=made.media_type)

    return endpoint


async def revised(request: Request) -> Response:
    made = await kit.revised(request.scope)
    return Response(made.body, made.status, made.headers, made.media_type)


async def login(request: Request) -> Response:
    request.session["user"] = request.query_params["user"]
    return Response(status_code=204)


def streamed(made: kit.Stream) -> Response:
    return StreamingResponse(made.pieces, headers=made.headers, media_type=made.media_type)


async def stream(request: Request) -> Response:
    return streamed(kit.stream(request.scope))


async def events(request: Request) -> Response:
    return streamed(kit.event_stream(request.scope))


async def file(request: Request) -> Response:
    kit.describe(request.scope)
    return FileResponse(kit.FILE, headers={"cache-control": kit.SHARED})


async def boom(request: Request) -> Response:
    kit.boom(request.scope)
    return Response()


async def late_boom(request: Request) -> Response:
    return streamed(kit.late_boom(request.scope))


async def background(request: Request) -> Response:
    made = kit.answer(request.scope, "background")
    task = BackgroundTask(kit.pass_gate, request.query_params["id"])
    return Response(made.body, headers=made.headers, background=task)


async def purge(request: Request) -> Response:
    await kit.purge(request.scope)
    return Response(status_code=204)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"echo {text}")


ROUTES = [
    Route("/page", page("page"), methods=["GET", "POST"]),
    *(Route(f"/{kind}", page(kind)) for kind in ("untagged", "flavours", "personal")),
    *(Route(path, revised) for path in kit.REVISED),
    Route("/me", greeting("me")),
    Route("/greeting", greeting("greeting")),
    Route("/login", login, methods=["POST"]),
    Route("/ruled/page", page("ruled")),
    Route("/ruled/stream", stream),
    Route("/ruled/background", background),
    Route("/stream", stream),
    Route("/events", events),
    Route("/file", file),
    Route("/boom", boom),
    Route("/late-boom", late_boom),
    Route("/background", background),
    Route("/purge", purge, methods=["POST"]),
    WebSocketRoute("/echo", echo),
]


def create(*, gzip: bool = False, cors: bool = False, sessions: bool = False) -> Starlette:
    app = Starlette(routes=ROUTES)
    if gzip:
        app.add_middleware(GZipMiddleware)
    if cors:
        app.add_middleware(CORSMiddleware, allow_origins=ORIGINS)
    if sessions:
        app.add_middleware(SessionMiddleware, secret_key="not a secret")
    return app


def mounting() -> Starlette:
    return Starlette(routes=[Mount("/sub", create())])


def added(options: dict[str, Any]) -> Starlette:
    app = create()
    app.add_middleware(asgi_cache.CacheMiddleware, **options)
    return app
