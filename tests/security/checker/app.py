"""The app that is cached: it says what it saw, and what it says of sharing is true.

Where it calls an answer public it looks at nobody's credentials; under a rule it looks at all that
it is shown, so that an answer tells whose request it was made for.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.driver import BODY, START
from tests.security.checker.bodies import Told, body_of, instant, line_of
from tests.security.checker.pages import KINDS, scopes_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.security.checker.board import Board
    from tests.security.checker.pages import CallKey, Kind

TOLD: Final = "x-told"
"""The response field that says what the body's first line says."""
HEAD_TOLD: Final = "x-head-told"
"""The same of an answer to HEAD, which may freshen another answer's fields."""
CONFIRMED: Final = "x-confirmed"
"""When a call of the app last said so."""
CREDENTIALS: Final = ("cookie", "authorization")
UNWAITED: Final = (*CREDENTIALS, "range")
"""An app call that sees one of them is its request's own."""


class AppError(Exception):
    """What the app raises: its text is the request's ``x-ask``."""


def user_of(fields: dict[str, str]) -> str | None:
    """Whom the app takes the request's author for."""
    if "authorization" in fields:
        return fields["authorization"].removeprefix("Bearer ")
    _, found, rest = fields.get("cookie", "").partition("user=")
    return rest.partition(";")[0] if found else None


class App:
    """One site's app in one worker."""

    def __init__(self, site: str, worker: int, board: Board, seed: int) -> None:
        self.site = site
        self.worker = worker
        self.spent: dict[str, int] = {}
        """Nanoseconds in the app, by ``x-ask``."""
        self.at_once: Counter[str] = Counter()
        """The most calls that all workers had under way for one key that others may wait for, by

        kind of page.
        """
        self.waited_for = 0
        """Calls that others may wait for."""
        self.beyond = 0
        """Those of them that began while as many as there are workers were under way."""
        self._board = board
        self._draw = random.Random(f"{seed} {site} {worker}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            return
        began = instant()
        fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        ask = fields.get("x-ask")
        key = self._key(scope, fields)
        calls = 0 if key is None else self._board.call(self.worker, key, 1)
        if key is not None and calls:
            kind = str(key[1])
            self.at_once[kind] = max(self.at_once[kind], calls)
            self.waited_for += 1
            self.beyond += calls > self._board.workers
        try:
            await self._answer(scope, fields, ask, send)
        finally:
            if key is not None:
                self._board.call(self.worker, key, -1)
            if ask is not None:
                self.spent[ask] = self.spent.get(ask, 0) + instant() - began

    def _key(self, scope: Scope, fields: dict[str, str]) -> CallKey | None:
        """What others may wait for; ``None`` where nobody does."""
        if scope["method"] != "GET" or not fields.keys().isdisjoint(UNWAITED):
            return None
        if fields.get("cache-control") == "no-store":
            return None
        path = scope["path"]
        kind = path.split("/")[1]
        query = scope["query_string"].decode("latin-1")
        language = fields.get("accept-language") if kind == "lang" else None
        inputs = (fields["host"], query, fields.get("x-forwarded-host"), language)
        return (self.site, kind, path, *inputs)

    async def _pause(self) -> None:
        chance = self._draw.random()
        if chance < 0.003:
            await asyncio.sleep(0.1)
        elif chance < 0.12:
            await asyncio.sleep(self._draw.uniform(0.0, 0.015))
        elif chance < 0.5:
            await asyncio.sleep(0)

    async def _answer(
        self, scope: Scope, fields: dict[str, str], ask: str | None, send: Send
    ) -> None:
        path, host = scope["path"], fields["host"]
        query = scope["query_string"].decode("latin-1")
        await self._pause()
        if scope["method"] == "POST":
            await self._change(host, path, query, send)
            return
        draw = self._draw
        name = path.split("/")[1]
        kind = KINDS[name]
        folded = "&".join(part for part in query.split("&") if not part.startswith("junk"))
        version = instant()
        data = self._board.latest("changed", scopes_of(self.site, host, path, folded))
        await self._pause()
        seen = tuple(
            (name, value)
            for name, value in fields.items()
            if kind.personal or name not in CREDENTIALS
        )
        user = user_of(dict(seen))
        told = Told(
            site=self.site,
            worker=self.worker,
            serial=self._board.count(self.worker, "serial"),
            ask=ask,
            method=scope["method"],
            host=host,
            path=path,
            query=query,
            fields=seen,
            user=user,
            version=version,
            data=data,
            status=self._status(name, user, ask),
            length=draw.randrange(66_000, 90_000) if kind.large else draw.randrange(40, 700),
            fault=draw.choice(["cut", "raise"]) if name == "stream" and draw.random() < 0.1 else "",
        )
        await self._send(told, name, kind, fields, send)

    def _status(self, name: str, user: str | None, ask: str | None) -> int:
        draw = self._draw
        if name == "own" and user is None:
            return 401
        if name == "error":
            if draw.random() < 0.1:
                raise AppError(ask)
            return draw.choice([200, 200, 200, 404, 500, 204])
        if name == "onerror" and draw.random() < 0.3:
            if draw.random() < 0.5:
                raise AppError(ask)
            return draw.choice([500, 503])
        return 200

    async def _send(
        self, told: Told, name: str, kind: Kind, fields: dict[str, str], send: Send
    ) -> None:
        draw = self._draw
        body = b"" if told.status == 204 else body_of(told)
        lines = [*kind.lines, (CONFIRMED, str(told.version))]
        if name == "own" and told.user is not None:
            lines.append(("cache-control", "private"))
        if name == "groups":
            more = ', "more"' if draw.random() < 0.3 else ""
            lines.append(("cache-groups", f'"h{int(told.path.split("/")[2]) % 2}"{more}'))
        if name == "cookie" and draw.random() < 0.3:
            lines.append(("set-cookie", f"sid={told.ask}"))
        tag = tag_of(kind, told)
        if tag is not None and told.status == 200:
            lines.append(("etag", tag))
            sent = fields.get("if-none-match", "")
            if f'.{told.data}"' in sent:
                # A strong tag names one answer, and it still holds.
                lines[-1] = ("etag", sent)
                await send(start_of(304, lines))
                await send({"type": BODY, "body": b""})
                return
        lines.append((HEAD_TOLD if told.method == "HEAD" else TOLD, line_of(told)))
        counted = name != "stream" and draw.random() < 0.7
        if (counted or told.method == "HEAD") and told.status != 204:
            lines.append(("content-length", str(len(body))))
        await send(start_of(told.status, lines))
        if told.method == "HEAD":
            body = b""
        chunks = draw.randint(2, 4) if name == "stream" else draw.choice([1, 1, 2])
        size = max(1, -(-len(body) // chunks))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        for index, piece in enumerate(pieces, 1):
            if told.fault and index == len(pieces):
                if told.fault == "raise":
                    raise AppError(told.ask)
                return
            await send({"type": BODY, "body": piece, "more_body": index < len(pieces)})
            if index < len(pieces):
                await self._pause()

    async def _change(self, host: str, path: str, query: str, send: Send) -> None:
        """POST: the data change; sometimes it fails, and nothing does."""
        if self._draw.random() < 0.1:
            await send(start_of(503, []))
            await send({"type": BODY, "body": b""})
            return
        scopes, lines = posted_scopes(self.site, host, path, query), []
        if len(scopes) > 1:
            lines = [("cache-group-invalidation", '"h0"')]
        self._board.note(self.worker, "changed", scopes, instant())
        await self._pause()
        await send(start_of(200, lines))
        await send({"type": BODY, "body": b""})


def posted_scopes(site: str, host: str, path: str, query: str) -> list[tuple[str, ...]]:
    """What a POST changes: its own URL, and where that is of ``groups`` a group of its host."""
    scopes: list[tuple[str, ...]] = [(site, "url", host, path, query)]
    if path == "/groups/0":
        scopes.append((site, "group", "h0", host))
    return scopes


def tag_of(kind: Kind, told: Told) -> str | None:
    """Its entity tag: a weak one names the data, a strong one the answer too."""
    if kind.tag == "weak":
        return f'W/"d.{told.data}"'
    if kind.tag == "strong":
        return f'"{told.worker}.{told.serial}.{told.data}"'
    return None


def start_of(status: int, lines: list[tuple[str, str]]) -> dict[str, Any]:
    """The start message."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in lines]
    return {"type": START, "status": status, "headers": headers}
