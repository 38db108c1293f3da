"""The catalogue in processes of its own: every endpoint answers, and what is a hit is proved."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from benchmarks.processes import NotAHitError, Server, seed
from benchmarks.techniques import measure as measure_technique
from benchmarks.techniques import techniques
from benchmarks.throughput import measure, measure_mixed
from benchmarks.traffic import Request, endpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.traffic import Endpoint
    from tests.servers import RedisServer

ENDPOINTS = {endpoint.name: endpoint for endpoint in endpoints()}
LOAD = ("builtin", 0.2, 2)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('bench') / 'catalogue.db'}"
    seed(url)
    return url


@pytest.fixture(scope="module")
def upstreams(database: str) -> Iterator[str]:
    with Server("upstreams", "--database", database) as server:
        yield server.url


@pytest.fixture(scope="module")
def uncached(database: str, upstreams: str) -> Iterator[Server]:
    with Server("shop", "--database", database, "--upstreams", upstreams) as server:
        yield server


@pytest.fixture(scope="module")
def cached(database: str, upstreams: str) -> Iterator[Server]:
    with Server(
        *("shop", "--database", database, "--upstreams", upstreams, "--store", "memory://")
    ) as server:
        yield server


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=list(ENDPOINTS))
def test_each_endpoint(endpoint: Endpoint, uncached: Server, cached: Server) -> None:
    without = measure(uncached, endpoint, False, *LOAD)
    assert without.app_calls == without.sample.requests > 0
    assert (without.statements > 0) == (endpoint.database or not endpoint.cacheable)
    with_ = measure(cached, endpoint, True, *LOAD)
    assert (with_.app_calls == 0) == endpoint.cacheable
    assert with_.hit_ratio == (1 if endpoint.cacheable else 0)


def test_a_seeded_database_stays_as_it_is(database: str) -> None:
    with sqlite3.connect(database.partition("///")[2]) as connection:
        connection.execute("UPDATE bench_users SET name = 'kept' WHERE id = 1")
    seed(database)
    with sqlite3.connect(database.partition("///")[2]) as connection:
        (name,) = connection.execute("SELECT name FROM bench_users WHERE id = 1").fetchone()
    assert name == "kept"


@pytest.mark.parametrize(
    ("table", "count"), [("products", 30_000), ("reviews", 120_000), ("posts", 12_000)]
)
def test_every_row_is_there(database: str, table: str, count: int) -> None:
    with sqlite3.connect(database.partition("///")[2]) as connection:
        found = connection.execute(f"SELECT count(*), max(id) FROM bench_{table}").fetchone()
    assert found == (count, count)


def test_the_mixed_load_fills_the_cache(uncached: Server, cached: Server) -> None:
    load = ("builtin", 0.6, 2)
    assert measure_mixed(uncached, False, 0, *load).hit_ratio == 0
    ratios = [measure_mixed(cached, True, number, *load).hit_ratio for number in (0, 1)]
    assert 0 < ratios[0] < 1
    assert 0 < ratios[1] < 1


def test_what_is_not_a_hit_is_not_measured(uncached: Server, cached: Server) -> None:
    with pytest.raises(NotAHitError, match="a hit was to be measured"):
        measure(uncached, ENDPOINTS["product"], True, *LOAD)
    with pytest.raises(NotAHitError, match="no hit was to be measured"):
        measure(cached, ENDPOINTS["product"], False, *LOAD)


@pytest.mark.parametrize(
    "path",
    ["/products/0", "/products/0/stock", "/products?category=1&page=0", "/search?q=a", "/me"],
)
def test_what_is_wrong_is_refused(path: str, cached: Server) -> None:
    status, cache_status = cached.get(Request(path))
    assert status in (401, 404, 422)
    assert "hit" not in cache_status


def test_pages_have_what_they_say(uncached: Server) -> None:
    with urlopen(f"{uncached.url}/about") as page:
        assert page.headers["Cache-Control"] == "public, max-age=3600"
        assert 8_000 < len(page.read()) < 10_000
    status, _ = uncached.get(Request("/me", (("Cookie", "user=3"),)))
    assert status == 200


def test_each_technique(database: str, upstreams: str, redis_server: RedisServer) -> None:
    options = ["steps", "--database", database, "--upstreams", upstreams]
    options += ["--redis", redis_server.url, "--distant-redis", redis_server.url]
    statements = {}
    with Server(*options) as bare, Server(*options, "--store", redis_server.url) as cached:
        for technique in techniques():
            for side in ("without", "with"):
                server = cached if technique.cached and side == "with" else bare
                got = measure_technique(server, technique, side, *LOAD)
                statements[technique.name, side] = got.statements / got.sample.requests
        # Visitors that keep what they may keep ask for less, once they have come twice.
        caching = next(one for one in techniques() if one.name == "Cache-Control alone")
        seconds = LOAD[1]
        while statements["Cache-Control alone", "with"] >= 2 and seconds < 5:
            seconds *= 2
            got = measure_technique(bare, caching, "with", LOAD[0], seconds, LOAD[2])
            statements["Cache-Control alone", "with"] = got.statements / got.sample.requests
    assert statements["eager loading", "without"] == 21
    assert statements["eager loading", "with"] == 2
    assert statements["connection pool", "with"] == 1
    assert statements["this middleware", "without"] <= 0.01
    assert statements["Cache-Control alone", "with"] < 2
