"""A write under a lease: all or nothing, by a script, and without where scripts are forbidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from asgi_cache.errors import StoreRefused
from asgi_cache.stores import RedisStore
from asgi_cache.stores.base import RESPONSE_SLOT
from asgi_cache.stores.capabilities import LEFT, NOTHING
from tests.stores.records import stored_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asgi_cache.model import Record, StoredResponse
    from tests.servers import RedisServer

TARGET, KEY, PLACE = b"target", b"key", b"p" * 32
LIFE = 60.0
USER = "fenced"


@pytest.fixture(params=["script", "watch", "unknown"])
async def store(
    request: pytest.FixtureRequest, redis_url: str, namespace: str
) -> AsyncIterator[RedisStore]:
    """For a user who may do everything, or all but send scripts; or where there are none."""
    url = redis_url
    client: Any
    async with Redis.from_url(redis_url) as client:
        if request.param == "watch":
            await client.execute_command(
                "ACL", "SETUSER", USER, "on", "nopass", "~*", "&*", "+@all", "-eval"
            )
            url = redis_url.replace("redis://", f"redis://{USER}:any@")
        made = RedisStore(url, namespace)
        if request.param == "unknown":
            replace_eval(made)
        yield made
        await made.aclose()
        await client.execute_command("ACL", "DELUSER", USER)


def replace_eval(store: RedisStore) -> None:
    """As a server does that has renamed the command."""
    send = store._connections.join_unchecked

    async def join_unchecked(operation: str, commands: Any) -> list[Any]:
        renamed = [
            (b"LAVE", *command[1:]) if command[0] == b"EVAL" else command for command in commands
        ]
        return await send(operation, renamed)

    store._connections.join_unchecked = join_unchecked  # type: ignore[method-assign]


def response(body: bytes, **changes: Any) -> StoredResponse:
    return stored_response(body=body, **changes)


async def held(store: RedisStore) -> Record | None:
    (record,), _ = await store.read(TARGET, KEY, RESPONSE_SLOT, ())
    return record


async def test_c09_what_the_holder_writes_is_there_and_the_lease_is_given_back(
    store: RedisStore,
) -> None:
    one, two = response(b"one"), response(b"two")
    for body in (one, two):
        assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
        assert await store.write_leased(TARGET, KEY, {0: body}, (), PLACE, b"token")
        assert await held(store) == body


async def test_c09_who_has_lost_its_lease_writes_nothing(store: RedisStore) -> None:
    one, two = response(b"one"), response(b"two")
    for _ in range(2):  # whether or not scripts are known to be forbidden
        assert await store.leases.take(TARGET, PLACE, b"another", LIFE)
        assert not await store.write_leased(TARGET, KEY, {0: two}, (), PLACE, b"token")
        assert await held(store) in (None, one)
        assert await store.write_leased(TARGET, KEY, {0: one}, (), PLACE, b"another")
        assert not await store.write_leased(TARGET, KEY, {0: two}, (), PLACE, b"token")
        assert await held(store) == one


async def test_those_who_wait_are_told(store: RedisStore) -> None:
    assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
    async with await store.leases.listen(TARGET, PLACE) as listening:
        assert await store.write_leased(TARGET, KEY, {0: response(b"one")}, (), PLACE, b"token")
        assert await listening.next(5) == b"1"


async def test_nobody_is_told_of_what_the_server_has_no_memory_for(
    server: RedisServer, namespace: str
) -> None:
    store = RedisStore(server.url, namespace)
    assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
    async with await store.leases.listen(TARGET, PLACE) as listening:
        async with Redis.from_url(server.url) as client:
            await client.config_set("maxmemory", "1")
            with pytest.raises(StoreRefused):
                await store.write_leased(TARGET, KEY, {0: response(b"one")}, (), PLACE, b"token")
            await client.config_set("maxmemory", "0")
        await store.leases.release(TARGET, PLACE, b"token", LEFT)
        assert await listening.next(5) == LEFT
    await store.aclose()


async def test_a_lease_is_given_back_to_a_server_without_memory(
    server: RedisServer, namespace: str
) -> None:
    store = RedisStore(server.url, namespace)
    assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
    async with await store.leases.listen(TARGET, PLACE) as listening:
        async with Redis.from_url(server.url) as client:
            await client.config_set("maxmemory", "1")
            await store.leases.release(TARGET, PLACE, b"another", LEFT)
            await store.leases.release(TARGET, PLACE, b"token", NOTHING)
            await client.config_set("maxmemory", "0")
        assert await listening.next(5) == NOTHING
    assert await store.leases.take(TARGET, PLACE, b"another", LIFE)
    await store.aclose()


async def test_who_has_lost_its_lease_gives_none_back(store: RedisStore) -> None:
    assert await store.leases.take(TARGET, PLACE, b"another", LIFE)
    for _ in range(2):  # whether or not scripts are known to be forbidden
        await store.leases.release(TARGET, PLACE, b"token", LEFT)
        assert not await store.leases.take(TARGET, PLACE, b"token", LIFE)
    async with await store.leases.listen(TARGET, PLACE) as listening:
        await store.leases.release(TARGET, PLACE, b"another", LEFT)
        assert await listening.next(5) == LEFT
    assert await store.leases.take(TARGET, PLACE, b"token", LIFE)


async def test_what_has_ended_is_removed(store: RedisStore) -> None:
    await store.write(TARGET, KEY, {0: response(b"one")}, ())
    assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
    over = response(b"two", discard_at=store.now() - 1)
    assert await store.write_leased(TARGET, KEY, {0: over}, (), PLACE, b"token")
    assert await held(store) is None


async def test_stamps_outlive_what_carries_them(store: RedisStore, redis_url: str) -> None:
    await store.settle([b"n"], 1.0)
    assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
    long = response(b"one", discard_at=store.now() + 1000)
    assert await store.write_leased(TARGET, KEY, {0: long}, [b"n"], PLACE, b"token")
    async with Redis.from_url(redis_url) as client:
        assert await client.pttl(store.stamp_place(b"n")) > 1_000_000


async def test_x14_what_the_server_forgets_of_scripts_costs_nothing(
    store: RedisStore, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as client:
        for _ in range(2):
            await client.script_flush()
            assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
            assert await store.write_leased(TARGET, KEY, {0: response(b"1")}, (), PLACE, b"token")


async def test_a_forbidden_script_is_sent_once(store: RedisStore) -> None:
    sent: list[bool] = []
    send = store._connections.join_unchecked

    async def join_unchecked(operation: str, commands: Any) -> list[Any]:
        replies = await send(operation, commands)
        sent.extend(
            type(reply) is int
            for reply, command in zip(replies, commands, strict=True)
            if command[0] == b"EVAL"
        )
        return replies

    store._connections.join_unchecked = join_unchecked  # type: ignore[method-assign]
    for _ in range(3):
        assert await store.leases.take(TARGET, PLACE, b"token", LIFE)
        assert await store.write_leased(TARGET, KEY, {0: response(b"1")}, (), PLACE, b"token")
    assert sent in ([True] * 3, [False])
