"""The app, asked without the cache: what it sends is passed on, and nothing is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_cache.handle import Handle
from asgi_cache.messages import START, listed, read_response, status_of, with_handle, with_lines
from asgi_cache.model import ResponseHead
from asgi_cache.policy.decision import Decision
from asgi_cache.policy.emission import forward_status
from asgi_cache.policy.invalidation import is_unsafe, targets_to_invalidate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from asgi_cache.cache import Cache
    from asgi_cache.model import Line, RequestHead
    from asgi_cache.policy.decision import Refusal


async def pass_on(
    app: ASGIApp,
    cache: Cache,
    scope: Scope,
    receive: Receive,
    send: Send,
    request: RequestHead,
    decision: Decision,
    refusal: Refusal | None,
    hear: Callable[[ResponseHead], Awaitable[None]] | None = None,
    *,
    collapsed: bool | None = None,
) -> None:
    """Call *app* with what came and pass on what it sends; *hear* gets the head of its response.

    *collapsed*: as Cache-Status has it, see :func:`forward_status`.
    """
    cache.metrics.decisions[decision.index] += 1
    if refusal is not None:
        cache.metrics.refusals[refusal.index] += 1
    child = with_handle(scope, Handle(cache, request))
    if decision is Decision.METHOD and is_unsafe(request.method):
        await _invalidate(app, cache, child, receive, send, request)
        return
    line = None
    if cache.status_name is not None:
        line = forward_status(cache.status_name, decision, refusal, False, collapsed=collapsed)
    if line is not None:
        send = telling(send, line)
    await app(child, receive, send if hear is None else overhearing(send, hear))


async def _invalidate(
    app: ASGIApp,
    cache: Cache,
    scope: Scope,
    receive: Receive,
    send: Send,
    request: RequestHead,
) -> None:
    """Pass, and spoil what a non-error response to an unsafe method spoils (RFC 9111 §4.4).

    Before the start is passed on, so that whoever has the response sees its effect; and again
    when the app returns, for work that it does after its response.
    """
    names: tuple[bytes, ...] = ()
    store = cache.store_for_request()

    async def invalidating_send(message: Message) -> None:
        nonlocal names
        if message.get("type") == START and not names:
            head, message = read_response(message)
            if head is None:
                head = ResponseHead(status_of(message) or 0, ())
            names = targets_to_invalidate(request, head, cache.settings)
            if names:
                # Whoever is cancelled meanwhile has changed something all the same.
                await cache.shielded(cache.invalidate(names, store))
        await send(message)

    try:
        await app(scope, receive, invalidating_send)
    finally:
        if names:
            await cache.shielded(cache.invalidate(names, store))


def telling(send: Send, line: Line) -> Send:
    """*send* with *line* added to the response's start."""

    async def telling_send(message: Message) -> None:
        if message.get("type") == START:
            message = listed(message)
            if isinstance(message.get("headers", ()), list | tuple):
                message = with_lines(message, (line,))
        await send(message)

    return telling_send


def overhearing(send: Send, hear: Callable[[ResponseHead], Awaitable[None]]) -> Send:
    """*send*, with *hear* called before a well-formed start is passed on."""

    async def overhearing_send(message: Message) -> None:
        if message.get("type") == START:
            head, message = read_response(message)
            if head is not None:
                await hear(head)
        await send(message)

    return overhearing_send
