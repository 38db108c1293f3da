"""Where the cases run: in memory and on a real Redis, each test in a namespace of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.security.harness import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Place]:
    """Memory, then Redis."""
    url = "" if request.param == "memory" else request.getfixturevalue("redis_url")
    made = Place(request.param, url, namespace)
    yield made
    await made.aclose()


@pytest.fixture
async def memory() -> AsyncIterator[Place]:
    """Memory alone, for what no store has a part in."""
    made = Place("memory", "", "memory")
    yield made
    await made.aclose()


@pytest.fixture
async def redis_place(redis_url: str, namespace: str) -> AsyncIterator[Place]:
    """Redis alone, for what is its own."""
    made = Place("redis", redis_url, namespace)
    yield made
    await made.aclose()
