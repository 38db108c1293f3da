"""A fill that nobody follows: what it passes, stores and counts is what any other fill would."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache import CacheMiddleware, Rule
from asgi_cache.capture import Capture
from asgi_cache.policy.decision import Decision
from tests.driver import BODY, START, Connection, Exchange, drive, http_scope

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

FRESH = (b"cache-control", b"max-age=60")
PRIVATE = (b"cache-control", b"private")
HINT: Message = {"type": "http.response.early_hint", "links": [b"</a>"]}
LAST: Message = {"type": BODY, "body": b"page"}


def start(*lines: Any, **more: Any) -> Message:
    """A start message."""
    return {"type": START, "status": 200, "headers": list(lines)} | more


class RaisedError(Exception):
    """The app's own."""


READ = "read"
RAISE = "raise"

RUNS: dict[str, tuple[Message | str, ...]] = {
    "refused": (start(PRIVATE), LAST),
    "in chunks": (start(PRIVATE), {"type": BODY, "body": b"a", "more_body": True}, LAST),
    "stored after all": (start(FRESH), {"type": BODY, "body": b"a", "more_body": True}, LAST),
    "stored and tagged": (start(FRESH, (b"content-length", b"4")), LAST),
    "no list": (start(headers=None), LAST),
    "malformed": (start((b"a", b"\r\n")), LAST),
    "trailers": (start(FRESH, trailers=True), LAST),
    "no start": (),
    "no body": (start(FRESH),),
    "refused, no body": (start(PRIVATE),),
    "body first": (LAST, start(FRESH), LAST),
    "two starts": (start(PRIVATE), start(PRIVATE), LAST),
    "a hint first": (HINT, start(PRIVATE), LAST),
    "a hint, then stored": (HINT, start(FRESH), LAST),
    "raised before": (RAISE,),
    "raised after": (start(PRIVATE), RAISE),
    "raised in a fresh one": (start(FRESH), RAISE),
    "content before": (READ, start(FRESH), LAST),
    "content after": (start(FRESH), READ, LAST),
    "refused, content after": (start(PRIVATE), READ, LAST),
}


async def run(
    alone: bool, steps: tuple[Message | str, ...]
) -> tuple[Exchange, dict[str, int], bool, bool]:
    """What the client has and what is counted, for a fill that goes *alone* or leads."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            if step == READ:
                await receive()
            elif step == RAISE:
                raise RaisedError
            elif not isinstance(step, str):
                await send(dict(step))

    wrapped = CacheMiddleware(app)
    cache = wrapped.cache
    if alone:
        cache.goes_alone = lambda screened: True  # type: ignore[method-assign]
    connection = Connection(http_scope("/page"), b"question" if READ in steps else b"")
    raised = False
    try:
        await connection.run(wrapped)
    except RaisedError:
        raised = True
    counted = cache.metrics.by_label()
    with contextlib.suppress(RaisedError):
        await Connection(http_scope("/page")).run(wrapped)
    hit = cache.metrics.decisions[Decision.FRESH.index] == 1
    return connection.exchange, counted, raised, hit


@pytest.mark.parametrize("name", RUNS)
async def test_it_is_as_any_other_fill(name: str) -> None:
    expected, counted, raised, hit = await run(False, RUNS[name])
    actual, counted_here, raised_here, hit_here = await run(True, RUNS[name])
    assert expected.messages == actual.messages
    assert (counted, raised, hit) == (counted_here, raised_here, hit_here)
    assert hit == (name in ("stored after all", "stored and tagged", "a hint, then stored"))


class Answers:
    """An app that is private once, and then as *line* says; *captures* counts those made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, line: tuple[bytes, bytes]) -> None:
        self.captures = self.calls = 0
        self._line = line
        original = Capture.__init__

        def counted(capture: Capture, *fill: Any, **options: Any) -> None:
            self.captures += 1
            original(capture, *fill, **options)

        monkeypatch.setattr(Capture, "__init__", counted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        self.calls += 1
        await send(start(self._line if self.calls > 1 else PRIVATE))
        await send(LAST)


async def test_a_noted_key_is_judged_without_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Answers(monkeypatch, PRIVATE)
    wrapped = CacheMiddleware(app)
    for _ in range(3):
        exchange = await drive(wrapped)
        assert exchange.cache_status == "asgi-cache; fwd=uri-miss; detail=private"
    assert (app.calls, app.captures) == (3, 1)
    assert wrapped.cache.metrics.by_label()["refusal.private"] == 3


async def test_a_noted_key_is_stored_once_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Answers(monkeypatch, FRESH)
    wrapped = CacheMiddleware(app)
    await drive(wrapped)
    assert (await drive(wrapped)).cache_status == "asgi-cache; fwd=uri-miss; stored"
    assert (await drive(wrapped)).hit
    assert (app.calls, app.captures) == (2, 2)


async def test_the_rule_function_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def rule(request: Any, head: Any) -> Rule:
        asked.append(head)
        return Rule(ttl=60)

    wrapped = CacheMiddleware(Answers(monkeypatch, (b"x-a", b"b")), rule=rule)
    await drive(wrapped)
    assert (await drive(wrapped)).cache_status == "asgi-cache; fwd=uri-miss; stored"
    assert len(asked) == 2


async def test_who_is_cancelled_after_its_bytes_has_stored_them() -> None:
    calls = 0
    sent = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await send(start(PRIVATE if calls == 1 else FRESH, (b"content-length", b"4")))
        await send({**LAST, "more_body": calls == 2})
        if calls == 2:
            sent.set()
            await asyncio.Event().wait()

    wrapped = CacheMiddleware(app)
    await drive(wrapped)
    run = asyncio.ensure_future(drive(wrapped))
    await sent.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await drive(wrapped)).hit
