"""``X-Response-Time``: one, by itself around any app, in place of one that is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import asgi_cache
from asgi_cache import ConfigurationError, TimingMiddleware, timing
from tests.driver import BODY, START, Recorder, drive

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send


@pytest.mark.parametrize(
    ("style", "shown"), [("ms", "1500.240ms"), ("s", "1.5002s")], ids=["ms", "s"]
)
async def test_the_time_is_from_the_call_to_the_start(
    style: Any, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [10.0]
    monkeypatch.setattr(timing, "perf_counter", lambda: times[0])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        times[0] += 1.50024
        await send({"type": START, "status": 200, "headers": [(b"x", b"1")]})
        times[0] += 100
        await send({"type": BODY, "body": b""})

    exchange = await drive(TimingMiddleware(app, style=style))
    assert exchange.headers == [(b"x", b"1"), (b"x-response-time", shown.encode())]


async def test_it_is_on_by_default_and_in_milliseconds() -> None:
    for app in (TimingMiddleware(Recorder()), asgi_cache.wrap(Recorder())):
        (value,) = (await drive(app)).values("x-response-time")
        assert re.fullmatch(r"\d+\.\d{3}ms", value)


async def test_l15_there_is_one_and_it_is_this_requests() -> None:
    """On a fill and on a hit, with one of the app's own, and with another cache inside."""
    recorder = Recorder(
        [("cache-control", "max-age=60"), ("X-Response-Time", "app's"), ("x-response-time", "too")]
    )
    app = asgi_cache.wrap(asgi_cache.wrap(recorder))
    for _ in range(2):
        exchange = await drive(app)
        (value,) = exchange.values("x-response-time")
        assert value.endswith("ms")
    assert exchange.hit


async def test_l15_fields_of_one_exchange_are_not_replayed() -> None:
    recorder = Recorder(
        [
            ("cache-control", "max-age=60"),
            ("x-request-id", "7"),
            ("server-timing", "app;dur=1"),
            ("x-own", "1"),
        ]
    )
    app = asgi_cache.wrap(recorder)
    first = await drive(app)
    assert [first.field(name) for name in ("x-request-id", "server-timing")] == ["7", "app;dur=1"]
    second = await drive(app)
    assert second.hit
    assert [second.field(name) for name in ("x-request-id", "server-timing")] == [None] * 2
    assert second.field("x-own") == "1"


async def test_it_can_be_switched_off() -> None:
    for app in (
        TimingMiddleware(Recorder(), style=False),
        asgi_cache.wrap(Recorder(), response_time=False),
    ):
        assert (await drive(app)).field("x-response-time") is None


@pytest.mark.parametrize("style", ["us", "", None, True, 1.5])
def test_other_styles_are_refused(style: Any) -> None:
    with pytest.raises(ConfigurationError, match="it must be 'ms', 's' or False"):
        TimingMiddleware(Recorder(), style=style)


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "else"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": kind}
    await TimingMiddleware(app)(scope, receive, send)
    assert all(one is other for one, other in zip(seen, (scope, receive, send), strict=True))


@pytest.mark.parametrize("headers", [None, 7], ids=repr)
async def test_headers_that_are_no_headers_are_the_servers_business(headers: Any) -> None:
    start: Message = {"type": START, "status": 200, "headers": headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)

    exchange = await drive(TimingMiddleware(app))
    assert exchange.messages[0] is start


async def test_only_the_start_is_changed() -> None:
    messages: list[Message] = [
        {"type": "http.response.push", "path": "/", "headers": []},
        {"type": BODY, "body": b"x"},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    exchange = await drive(TimingMiddleware(app))
    assert all(one is other for one, other in zip(exchange.messages, messages, strict=True))


async def test_lines_that_are_no_lines_are_passed_on() -> None:
    lines: list[Any] = [7, (), (b"x",), ("X-Response-Time", "text"), None]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": START, "status": 200, "headers": lines})

    exchange = await drive(TimingMiddleware(app))
    assert exchange.messages[0]["headers"][:-1] == lines
    assert len(lines) == 5


async def test_the_message_of_the_app_is_not_written_to() -> None:
    start: Message = {"type": START, "status": 200, "headers": [(b"x", b"1")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)

    await drive(TimingMiddleware(app))
    assert start == {"type": START, "status": 200, "headers": [(b"x", b"1")]}


async def test_time_does_not_run_backwards_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """O08: the wall clock has no part in it."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    (value,) = (await drive(TimingMiddleware(Recorder()))).values("x-response-time")
    assert float(value.removesuffix("ms")) >= 0
