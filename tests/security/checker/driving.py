"""One exchange of one client, who may go away before its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.driver import BODY, START, Connection
from tests.security.checker.app import AppError
from tests.security.checker.bodies import instant

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

    from tests.security.checker.exchange import Got

MOST_SECONDS: Final = 12.0
"""Whoever waits so long is not answered at all."""


async def exchange(app: ASGIApp, scope: Scope, got: Got, after: int | None, seconds: float) -> None:
    """One exchange; its client goes away *after* so many messages, or after *seconds*."""
    connection = Connection(scope)
    messages = 0

    def see(message: Message) -> None:
        nonlocal messages
        messages += 1
        if message["type"] == START:
            got.started = instant()
        if messages == after and not _is_last(message):
            got.left = True
            connection.disconnect()

    connection.on_send = see
    if after == 0:
        got.left = True
        connection.disconnect()
    running = asyncio.current_task()
    impatient = asyncio.get_running_loop().call_later(
        MOST_SECONDS - 1, lambda: setattr(got, "hung_at", awaited_by(running))
    )
    try:
        async with asyncio.timeout(seconds):
            await connection.run(app)
    except TimeoutError:
        got.left = True
    except AppError as error:
        got.raised = f"app:{error}"
    except OSError as error:
        if not got.left:
            got.raised = repr(error)
    except Exception as error:
        got.raised = repr(error)
    finally:
        impatient.cancel()
    exchange = connection.exchange
    starts = [message for message in exchange.messages if message["type"] == START]
    if starts:
        got.status = starts[0]["status"]
        got.headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in starts[0]["headers"]
        ]
        got.body = exchange.body
        got.complete = exchange.complete and len(starts) == 1


def awaited_by(task: asyncio.Task[Any] | None) -> str:
    """What a task waits for, from the outside in."""
    places = []
    coroutine: Any = None if task is None else task.get_coro()
    while coroutine is not None and hasattr(coroutine, "cr_frame"):
        frame = coroutine.cr_frame
        if frame is not None:
            name = Path(frame.f_code.co_filename).name
            places.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}")
        coroutine = coroutine.cr_await
    return " > ".join([*places, repr(coroutine)])


def _is_last(message: Message) -> bool:
    return message["type"] == BODY and not message.get("more_body", False)
