"""One wrapped app on several event loops: a TestClient per test, loops in threads (case O02)."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

import asgi_cache
from tests.integration.apps import bodies, kit, starlette_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from tests.integration.apps.bodies import Told

LOOPS = 2
ROUNDS = 20

# Nobody can close the connections of a loop that ended without a lifespan.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=["memory", "redis"])
def app(request: pytest.FixtureRequest, namespace: str) -> Iterator[ASGIApp]:
    store = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    cached = asgi_cache.CacheMiddleware(
        starlette_app.create(),
        store=store,
        namespace=namespace,
        paths=kit.RULES,
        store_timeout=5.0,
        request_store_timeout=10.0,
    )
    yield cached
    asyncio.run(cached.cache.aclose())
    gc.collect()  # here, where what it warns of is expected


def asked(client: TestClient, url: str) -> tuple[bool, Told]:
    """Whether it was a hit, and what the body tells."""
    answer = client.get(url)
    assert answer.status_code == 200
    assert "store-unavailable" not in answer.headers["cache-status"]
    return "; hit" in answer.headers["cache-status"], bodies.read(answer.content)


@pytest.fixture
def url(namespace: str) -> str:
    return f"/page?id={namespace}"


@pytest.mark.parametrize("lifespan", [False, True])
def test_a_client_for_each_test(app: ASGIApp, url: str, lifespan: bool) -> None:
    """Each has a loop of its own, which ends with it; also where a lifespan closed the store."""
    answers = []
    for _ in range(3):
        client = TestClient(app)
        if lifespan:
            with client:
                answers.append(asked(client, url))
        else:
            answers.append(asked(client, url))
    told = answers[0][1]
    assert [hit for hit, _ in answers] == [False, True, True]
    assert all(each == told for _, each in answers)


def test_purge_from_another_loop(app: ASGIApp, url: str) -> None:
    _, made = asked(TestClient(app), url)
    assert TestClient(app).post("/purge", params={"url": url}).status_code == 204
    hit, told = asked(TestClient(app), url)
    assert not hit
    assert told.serial > made.serial


def test_loops_at_once(app: ASGIApp, url: str) -> None:
    """Loops in threads fill, hit and purge the same URLs, none waiting for another."""
    start = threading.Barrier(LOOPS)

    def run(_: int) -> Iterator[tuple[str, Told]]:
        with TestClient(app) as client:
            start.wait(20)
            for number in range(ROUNDS):
                for path in ("/page", "/ruled/page"):
                    target = f"{path}?id={number}-{url}"
                    yield target, asked(client, target)[1]
                client.post("/purge", params={"url": f"/page?id={number}-{url}"})

    with ThreadPoolExecutor(LOOPS) as pool:
        answers = list(pool.map(lambda number: list(run(number)), range(LOOPS)))
    for each in answers:
        assert len(each) == 2 * ROUNDS
        for target, told in each:
            assert told.path == target.partition("?")[0]
            assert told.query == target.partition("?")[2]
