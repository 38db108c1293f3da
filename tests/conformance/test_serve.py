"""The app under test is what the environment asks for."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from . import serve
from .proxy import ReverseProxy


@pytest.fixture(autouse=True)
def wrapped(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of each call of a stand-in for `asgi_cache.wrap`."""
    calls: list[dict[str, Any]] = []

    def wrap(app: ReverseProxy, **settings: Any) -> str:
        calls.append(settings)
        return f"around {app.port}"

    monkeypatch.setitem(sys.modules, "asgi_cache", SimpleNamespace(wrap=wrap))
    monkeypatch.setenv("CONFORMANCE_ORIGIN", "http://127.0.0.1:8001")
    for name in ("CONFORMANCE_PROFILE", "CONFORMANCE_STORE"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_the_default(wrapped: list[dict[str, Any]]) -> None:
    assert str(serve.create()) == "around 8001"
    assert serve.PROFILES["default"] == {}
    assert wrapped == [{"store": "memory://", **serve.PATIENCE}]


def test_a_profile_and_a_store(
    wrapped: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PROFILES", {"eager": {"heuristic_fraction": 0.1}})
    monkeypatch.setenv("CONFORMANCE_PROFILE", "eager")
    monkeypatch.setenv("CONFORMANCE_STORE", "redis://127.0.0.1:6379/0")
    serve.create()
    redis = "redis://127.0.0.1:6379/0"
    assert wrapped == [{"store": redis, **serve.PATIENCE, "heuristic_fraction": 0.1}]


def test_no_cache_at_all(wrapped: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFORMANCE_PROFILE", "none")
    assert isinstance(serve.create(), ReverseProxy)
    assert wrapped == []
