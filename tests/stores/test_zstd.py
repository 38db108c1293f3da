"""Bodies at rest, compressed: never another body than was stored, whatever lies there."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

import asgi_cache
from asgi_cache.errors import CorruptRecord
from asgi_cache.stores import RESPONSE_SLOT, RedisStore
from asgi_cache.stores.bodies import APART_BYTES, BINDING, body_place
from asgi_cache.stores.sealing import checked
from asgi_cache.stores.zstd import SAMPLE_BYTES, WORTH, deflated, inflated
from tests.security.harness import resident_bytes
from tests.stores.records import stored_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers import RedisServer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TARGET, KEY = b"shop.example/", b"https\0shop.example/"
TEXT = json.dumps([{"id": number, "name": f"product {number}"} for number in range(8000)]).encode()
NOISE = os.urandom(len(TEXT))


@given(st.binary(max_size=200), st.integers(1, 2000), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_what_was_deflated_is_what_is_inflated(head: bytes, times: int, tail: bytes) -> None:
    body = head * times + tail
    data = deflated(body)
    assert len(data) <= len(body)
    assert data == body or inflated(data, len(body)) == body


@pytest.mark.parametrize(
    "body",
    [NOISE, NOISE[: SAMPLE_BYTES - 1], b"", b"x", zstd.compress(NOISE.hex().encode())],
    ids=["noise", "a little", "nothing", "a byte", "a frame"],
)
def test_what_is_not_worth_it_is_left_as_it_is(body: bytes) -> None:
    assert deflated(body) is body


def test_only_the_middle_is_promising() -> None:
    body = NOISE + bytes(SAMPLE_BYTES) + os.urandom(len(NOISE))
    assert deflated(body) is body


def test_text_is_worth_it() -> None:
    assert len(deflated(TEXT)) < WORTH * len(TEXT)


FRAME = zstd.compress(TEXT, 3)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (FRAME, len(TEXT) - 1),
        (FRAME, len(TEXT) + 1),
        (FRAME, 0),
        (FRAME[:-1], len(TEXT)),
        (FRAME + b"x", len(TEXT)),
        (FRAME + FRAME, len(TEXT)),
        (FRAME + FRAME, 2 * len(TEXT)),
        (b"", len(TEXT)),
        (b"", 0),
        (NOISE, len(TEXT)),
        (TEXT, len(TEXT)),
    ],
)
def test_anything_but_one_whole_frame_of_that_size_is_corrupt(data: bytes, size: int) -> None:
    with pytest.raises(CorruptRecord):
        inflated(data, size)


def seconds_to_refuse(frame: bytes, size: int) -> float:
    began = time.process_time()
    with pytest.raises(CorruptRecord, match="another size"):
        inflated(frame, size)
    return time.process_time() - began


def test_d12_a_bomb_is_inflated_to_the_size_that_was_said_and_no_further() -> None:
    """The largest size that default settings believe is 2 MiB."""
    bomb = zstd.compress(bytes(1 << 30))
    assert len(bomb) < 100_000
    seconds_to_refuse(bomb, 2**21)
    before = resident_bytes()
    took = min(seconds_to_refuse(bomb, 2**21) for _ in range(5))
    grown = resident_bytes() - before
    print(f"{took * 1000:.2f} ms, {grown / 2**20:.2f} MiB")
    assert took < 0.010
    assert grown < 8 * 2**20


@pytest.mark.parametrize("size", [2**20, 2**21, 2**21 + 1, 2**23, 2**25])
def test_every_frame_of_ours_has_a_window_that_is_allowed(size: int) -> None:
    body = (TEXT * (size // len(TEXT) + 1))[:size]
    assert inflated(deflated(body), size) == body


def test_a_frame_with_a_vast_window_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(CorruptRecord, match="memory"):
        inflated(frame, len(TEXT))


# ------------------------------------------------------------------ in a store


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_server.url) as opened:
        yield opened


@pytest.fixture
async def store(redis_server: RedisServer, namespace: str) -> AsyncIterator[RedisStore]:
    opened = RedisStore(redis_server.url, namespace, compress_bytes=1)
    yield opened
    await opened.aclose()


def response(body: bytes) -> Any:
    return stored_response(time.time() + 60, body=body)


async def held(store: RedisStore) -> Any:
    (record,), _ = await store.read(TARGET, KEY, RESPONSE_SLOT, [b"n"])
    return record


def lies_at(store: RedisStore) -> bytes:
    return body_place(store.record_place(TARGET, KEY, 0))


@pytest.mark.parametrize("size", [APART_BYTES + 1, len(TEXT)], ids=["here", "in a thread"])
async def test_a_body_lies_small_and_is_read_as_it_was(
    store: RedisStore, client: redis.asyncio.Redis, size: int
) -> None:
    body = TEXT[:size]
    await store.write(TARGET, KEY, {0: response(body)}, ())
    assert await client.strlen(lies_at(store)) < size // 2
    assert (await held(store)).body == body


async def test_noise_lies_as_it_is(store: RedisStore, client: redis.asyncio.Redis) -> None:
    await store.write(TARGET, KEY, {0: response(NOISE)}, ())
    assert await client.get(lies_at(store)) == NOISE
    assert (await held(store)).body == NOISE


@pytest.mark.parametrize("compress_bytes", [0, len(TEXT)])
async def test_a_store_that_compresses_nothing_reads_what_others_compressed(
    store: RedisStore,
    redis_server: RedisServer,
    namespace: str,
    client: redis.asyncio.Redis,
    compress_bytes: int,
) -> None:
    other = RedisStore(redis_server.url, namespace, compress_bytes=compress_bytes)
    await store.write(TARGET, KEY, {0: response(TEXT)}, ())
    assert (await held(other)).body == TEXT
    await other.write(TARGET, KEY, {0: response(TEXT)}, ())
    assert await client.get(lies_at(store)) == TEXT
    assert (await held(store)).body == TEXT
    await other.aclose()


async def test_a_frame_that_is_not_the_heads_is_a_miss_and_is_not_inflated(
    store: RedisStore, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(data: bytes, size: int) -> bytes:
        raise AssertionError(f"inflated: {len(data)} to {size}")

    monkeypatch.setattr("asgi_cache.stores.bodies.inflated", never)
    frame = deflated(TEXT)
    wrong = [TEXT, frame[:-1], frame[:-1] + bytes([frame[-1] ^ 1]), zstd.compress(TEXT[::-1])]
    for number, data in enumerate(wrong, 1):
        await store.write(TARGET, KEY, {0: response(TEXT)}, ())
        await client.set(lies_at(store), data, px=60_000)
        assert await held(store) is None
        assert store.corrupt_records == number


@pytest.mark.parametrize("said", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 2**33])
async def test_a_head_that_lies_about_the_size_is_a_miss(
    store: RedisStore, client: redis.asyncio.Redis, said: int
) -> None:
    """As somebody could write it who may write to Redis and knows no secret."""
    await store.write(TARGET, KEY, {0: response(TEXT)}, ())
    place, frame = store.record_place(TARGET, KEY, 0), deflated(TEXT)
    digest = hashlib.sha256(frame).digest()
    head = await client.get(place)
    assert isinstance(head, bytes)
    honest = BINDING.pack(len(frame), len(TEXT), digest)
    assert honest in head
    payload = head[8:].replace(honest, BINDING.pack(len(frame), said, digest))
    await client.set(place, checked(payload), px=60_000)
    assert await held(store) is None
    assert store.corrupt_records == 1


async def test_a_setting_turns_it_on_and_off(
    redis_server: RedisServer, namespace: str, client: redis.asyncio.Redis
) -> None:
    for compress_bytes in (None, 0):
        options: dict[str, Any] = (
            {} if compress_bytes is None else {"compress_bytes": compress_bytes}
        )
        cache = asgi_cache.Cache(store=redis_server.url, namespace=namespace, **options)
        await cache.store.write(TARGET, KEY, {0: response(TEXT)}, ())
        (place,) = [key async for key in client.scan_iter(f"{namespace}:*:b")]
        assert (await client.get(place) == TEXT) is (compress_bytes == 0)
        (record,), _ = await cache.store.read(TARGET, KEY, RESPONSE_SLOT, [b"n"])
        assert getattr(record, "body", None) == TEXT
        await cache.aclose()
