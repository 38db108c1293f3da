"""The routes in Quart.

It has neither ``add_middleware`` nor mounts: middlewares go around ``asgi_app``, and the app is
mounted by Starlette.
"""

from __future__ import annotations

from quart import Blueprint, Quart, Response, current_app, request, send_file, session, websocket
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from . import kit
from .sites import ORIGINS

routes = Blueprint("routes", __name__)


def answered(kind: str, user: str | None = None) -> Response:
    made = kit.answer(request.scope, kind, user)
    return Response(made.body, headers=made.headers, mimetype=made.media_type)


@routes.get("/page")
@routes.get("/untagged")
@routes.get("/flavours")
@routes.get("/personal")
async def page() -> Response:
    return answered(request.path[1:])


@routes.post("/page")
async def changed() -> Response:
    return answered("page")


@routes.get("/ruled/page")
async def ruled() -> Response:
    return answered("ruled")


async def revised() -> Response:
    made = await kit.revised(request.scope)
    return Response(made.body, made.status, made.headers, made.media_type)


for path in kit.REVISED:
    routes.add_url_rule(path, view_func=revised)


@routes.get("/me")
@routes.get("/greeting")
async def greeting() -> Response:
    return answered(request.path[1:], session.get("user"))


@routes.post("/login")
async def login() -> Response:
    session["user"] = request.args["user"]
    return Response(status=204)


def streamed(made: kit.Stream) -> Response:
    response = Response(made.pieces, headers=made.headers, mimetype=made.media_type)
    response.timeout = None
    return response


@routes.get("/stream")
@routes.get("/ruled/stream")
async def stream() -> Response:
    return streamed(kit.stream(request.scope))


@routes.get("/events")
async def events() -> Response:
    return streamed(kit.event_stream(request.scope))


@routes.get("/file")
async def file() -> Response:
    kit.describe(request.scope)
    response = await send_file(kit.FILE)
    response.headers["cache-control"] = kit.SHARED
    return response


@routes.get("/boom")
async def boom() -> Response:
    kit.boom(request.scope)
    return Response()


@routes.get("/late-boom")
async def late_boom() -> Response:
    return streamed(kit.late_boom(request.scope))


@routes.get("/background")
@routes.get("/ruled/background")
async def background() -> Response:
    current_app.add_background_task(kit.pass_gate, request.args["id"])
    return answered("background")


@routes.post("/purge")
async def purge() -> Response:
    await kit.purge(request.scope)
    return Response(status=204)


@routes.websocket("/echo")
async def echo() -> None:
    while True:
        text = await websocket.receive()
        assert isinstance(text, str)
        await websocket.send(f"echo {text}")


def create(*, gzip: bool = False, cors: bool = False, sessions: bool = False) -> Quart:
    app = Quart(__name__)
    app.register_blueprint(routes)
    app.secret_key = "not a secret" if sessions else None
    if gzip:
        app.asgi_app = GZipMiddleware(app.asgi_app)  # type: ignore[method-assign, assignment, arg-type]
    if cors:
        app.asgi_app = CORSMiddleware(app.asgi_app, allow_origins=ORIGINS)  # type: ignore[method-assign, assignment, arg-type]
    return app


def mounting() -> Starlette:
    return Starlette(routes=[Mount("/sub", create())])  # type: ignore[arg-type]
