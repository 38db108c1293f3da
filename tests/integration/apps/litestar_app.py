"""The routes in Litestar.

Its own ``middleware=[...]`` are built once for each route, so there is no such site: the cache
goes around the app.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, WebSocket, asgi, get, post, route, websocket
from litestar.background_tasks import BackgroundTask
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.response import File, ServerSentEvent, Stream

from . import kit
from .sites import ORIGINS


def answered(request: Request[Any, Any, Any], kind: str) -> Response[bytes]:
    reads_session = kind in ("me", "greeting") and "session" in request.scope
    user = request.session.get("user") if reads_session else None
    made = kit.answer(request.scope, kind, user)
    return Response(made.body, headers=made.headers, media_type=made.media_type, status_code=200)


@get(["/page", "/untagged", "/flavours", "/personal", "/me", "/greeting"])
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return answered(request, request.scope["path"].rpartition("/")[2])


@post("/page")
async def changed(request: Request[Any, Any, Any]) -> Response[bytes]:
    return answered(request, "page")


@get("/ruled/page")
async def ruled(request: Request[Any, Any, Any]) -> Response[bytes]:
    return answered(request, "ruled")


@route(list(kit.REVISED), http_method=["GET", "HEAD"])
async def revised(request: Request[Any, Any, Any]) -> Response[bytes]:
    made = await kit.revised(request.scope)
    return Response(
        made.body, headers=made.headers, media_type=made.media_type, status_code=made.status
    )


@post("/login", status_code=204)
async def login(request: Request[Any, Any, Any]) -> None:
    request.session["user"] = request.query_params["user"]


def streamed(made: kit.Stream) -> Stream:
    return Stream(made.pieces, headers=made.headers, media_type=made.media_type)


@get(["/stream", "/ruled/stream"])
async def stream(request: Request[Any, Any, Any]) -> Stream:
    return streamed(kit.stream(request.scope))


@get("/events")
async def events(request: Request[Any, Any, Any]) -> ServerSentEvent:
    return ServerSentEvent(kit.events(request.scope), headers={"cache-control": kit.SHARED})


@get("/file")
async def file(request: Request[Any, Any, Any]) -> File:
    kit.describe(request.scope)
    return File(kit.FILE, headers={"cache-control": kit.SHARED})


@get("/boom")
async def boom(request: Request[Any, Any, Any]) -> None:
    kit.boom(request.scope)


@get("/late-boom")
async def late_boom(request: Request[Any, Any, Any]) -> Stream:
    return streamed(kit.late_boom(request.scope))


@get(["/background", "/ruled/background"])
async def background(request: Request[Any, Any, Any]) -> Response[bytes]:
    made = kit.answer(request.scope, "background")
    task = BackgroundTask(kit.pass_gate, request.query_params["id"])
    return Response(made.body, headers=made.headers, media_type=made.media_type, background=task)


@post("/purge", status_code=204)
async def purge(request: Request[Any, Any, Any]) -> None:
    await kit.purge(request.scope)


@websocket("/echo")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(f"echo {await socket.receive_text()}")
    except WebSocketDisconnect:
        pass


HANDLERS = [
    *(page, changed, ruled, revised, login, stream, events, file),
    *(boom, late_boom, background, purge, echo),
]


# It sets a cookie with every response, which is then nobody else's: not for pages that are shared.
SESSIONS = ServerSideSessionConfig(exclude=["^/page", "^/windowed"])


def create(*, gzip: bool = False, cors: bool = False, sessions: bool = False) -> Litestar:
    return Litestar(
        HANDLERS,
        compression_config=CompressionConfig(backend="gzip") if gzip else None,
        cors_config=CORSConfig(allow_origins=ORIGINS) if cors else None,
        middleware=[SESSIONS.middleware] if sessions else [],
        openapi_config=None,
    )


def mounting() -> Litestar:
    return Litestar([asgi("/sub", is_mount=True)(create())], openapi_config=None)
