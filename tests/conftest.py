"""Fixtures for every test: a virtual clock, a real Redis, a namespace of one's own in it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import redis

from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

if getattr(hypothesis.settings.default, "deadline", None) is not None:
    # Properties are about what is done, on however slow a machine.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """What ``-n`` keeps together."""
    from tests.scheduling import ScopeScheduling

    return ScopeScheduling(config, log)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


_running: list[RedisServer] = []


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole run; a test that stops or pauses one starts its own."""
    with RedisServer() as server:
        _running.append(server)
        yield server
        _running.remove(server)


@pytest.fixture(scope="module", autouse=True)
def _emptied() -> Iterator[None]:
    """No module's tests search through what those of another have stored."""
    yield
    for server in _running:
        immortal = keys_without_end(server.url)
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        assert immortal == []


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has time where time is not what a test is about, on however slow a machine."""
    if request.path.parent.name not in ("faults", "figures", "lifecycle"):
        monkeypatch.setenv("ASGI_CACHE_STORE_TIMEOUT", "5")
        monkeypatch.setenv("ASGI_CACHE_REQUEST_STORE_TIMEOUT", "10")


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def namespace() -> str:
    """A prefix that no other test uses, so there is nothing to clean up."""
    return f"test-{uuid.uuid4().hex}"


def keys_without_end(url: str) -> list[bytes]:
    """Every key without a time to live (case S15)."""
    with redis.Redis.from_url(url) as client:
        return [key for key in client.scan_iter(count=1000) if client.ttl(key) == -1]
