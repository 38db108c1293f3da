"""What a store answers when a command asks it, in words for a person.

What must not be here: the commands themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

from asgi_cache import Cache, StoreError
from asgi_cache.cli.serving import CommandError
from asgi_cache.stores.base import RESPONSE_SLOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_cache.settings import Settings

PATIENCE: Final = 2.0
"""Seconds that a person waits for the store, whatever ``store_timeout`` is."""
UNUSED: Final = b"asgi-cache check"
"""A target, key and name that no request has: no authority stands in it."""
SECONDS_TAKEN: Final = 1.0
"""The life of what a store takes to show that it does."""


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """What the library logs of a store that fails is what a command says, once."""
    logger, handler = logging.getLogger("asgi_cache"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


async def seconds_to_answer(settings: Settings, named: str = "") -> float:
    """How long the store takes to answer a read, once connected. Raises CommandError.

    *named*: where the store's URL stands.
    """
    cache = patient(settings)
    try:
        began = 0.0
        for _ in ("the first also connects", "the second is timed"):
            began = perf_counter()
            await cache.store.read(UNUSED, UNUSED, RESPONSE_SLOT, ())
        return perf_counter() - began
    except StoreError as error:
        reason = str(error).removeprefix("read: ")
        shown = settings.shown()["store"]
        raise CommandError(f"the store {shown}{named} does not answer: {reason}") from None
    finally:
        await close(cache)


async def take_something(settings: Settings, source: str) -> None:
    """Have the store, named by *source*, hold something for a moment. Raises CommandError."""
    cache = patient(settings)
    try:
        await cache.store.settle((UNUSED,), SECONDS_TAKEN)
    except StoreError as error:
        reason = str(error).removeprefix("settle: ")
        raise CommandError(
            f"the store {settings.shown()['store']} (from {source}) answers, but takes nothing: "
            f"{reason}. Requests would go on, and nothing would be stored."
        ) from None
    finally:
        await close(cache)


async def near_tier(settings: Settings, source: str) -> str:
    """What there is to say of the near tier in front of a store, named by *source*, that answers.

    Raises CommandError where it is off.
    """
    cache = Cache(settings)
    try:
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (health := cache.health()).near == "off" and health.near_error is None:
                    await cache.store.read(UNUSED, UNUSED, RESPONSE_SLOT, ())
                    await asyncio.sleep(0.01)
    finally:
        await close(cache)
    if health.near != "off":
        return health.near
    reason = health.near_error or f"no proof within {PATIENCE:g} s that changes are told"
    raise CommandError(
        f"the store {settings.shown()['store']} (from {source}) answers, but the near tier "
        f"(near_bytes = {settings.near_bytes}) is off: {reason}. Requests go on, and every look-up "
        "asks the store; near_bytes = 0 says that this is meant."
    )


def patient(settings: Settings) -> Cache:
    """The cache of *settings*, for a person, who waits longer than a request."""
    patience = {"store_timeout": PATIENCE, "request_store_timeout": PATIENCE}
    return Cache(settings.model_copy(update=patience))


async def close(cache: Cache) -> None:
    """Close *cache*; a failure to do so is not what there is to say."""
    with contextlib.suppress(StoreError):
        await cache.aclose()
