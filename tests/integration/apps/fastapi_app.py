"""The routes in FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, BackgroundTasks, FastAPI, Request, Response, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.middleware.sessions import SessionMiddleware

import asgi_cache

from . import kit
from .sites import ORIGINS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

router = APIRouter()


def page(kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        user = request.session.get("user") if reads_session and "session" in request.scope else None
        made = kit.answer(request.scope, kind, user)
        return Response(made.body, headers=made.headers, media_type=made.media_type)

    reads_session = kind in ("me", "greeting")
    return endpoint


async def revised(request: Request) -> Response:
    made = await kit.revised(request.scope)
    return Response(made.body, made.status, made.headers, made.media_type)


for path in kit.REVISED:
    router.add_api_route(path, revised, methods=["GET", "HEAD"], name=path)
for kind in ("page", "untagged", "flavours", "personal", "me", "greeting"):
    router.add_api_route(f"/{kind}", page(kind), name=kind)
router.add_api_route("/page", page("page"), methods=["POST"], name="changed")
router.add_api_route("/ruled/page", page("ruled"), name="ruled")


@router.post("/login", status_code=204)
async def login(request: Request, user: str) -> None:
    request.session["user"] = user


def streamed(made: kit.Stream) -> Response:
    return StreamingResponse(made.pieces, headers=made.headers, media_type=made.media_type)


@router.get("/ruled/stream")
@router.get("/stream")
async def stream(request: Request) -> Response:
    return streamed(kit.stream(request.scope))


@router.get("/events", response_class=EventSourceResponse)
async def events(request: Request) -> AsyncIterator[ServerSentEvent]:
    async for event in kit.events(request.scope):
        yield ServerSentEvent(raw_data=event)


@router.get("/file")
async def file(request: Request) -> FileResponse:
    kit.describe(request.scope)
    return FileResponse(kit.FILE, headers={"cache-control": kit.SHARED})


@router.get("/boom")
async def boom(request: Request) -> None:
    kit.boom(request.scope)


@router.get("/late-boom")
async def late_boom(request: Request) -> Response:
    return streamed(kit.late_boom(request.scope))


@router.get("/ruled/background")
@router.get("/background")
async def background(request: Request, tasks: BackgroundTasks) -> Response:
    made = kit.answer(request.scope, "background")
    tasks.add_task(kit.pass_gate, request.query_params["id"])
    return Response(made.body, headers=made.headers, background=tasks)


@router.post("/purge", status_code=204)
async def purge(request: Request) -> None:
    await kit.purge(request.scope)


@router.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"echo {text}")


def create(*, gzip: bool = False, cors: bool = False, sessions: bool = False) -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    if gzip:
        app.add_middleware(GZipMiddleware)
    if cors:
        app.add_middleware(CORSMiddleware, allow_origins=ORIGINS)
    if sessions:
        app.add_middleware(SessionMiddleware, secret_key="not a secret")
    return app


def mounting() -> FastAPI:
    app = FastAPI()
    app.mount("/sub", create())
    return app


def added(options: dict[str, Any]) -> FastAPI:
    app = create()
    app.add_middleware(asgi_cache.CacheMiddleware, **options)
    return app
