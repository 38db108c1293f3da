"""The cost of a hit: each kind proves what it is."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from benchmarks import hit
from benchmarks.processes import NotAHitError
from benchmarks.subjects import BROWSER, App, Subject, subjects

if TYPE_CHECKING:
    from pathlib import Path


def test_a_short_run(tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--quick", "--rounds", "2", "--count", "50", "--without", "near"]
    assert hit.main([*quick, "--redis", redis_url, "--out", str(tmp_path)]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "hit.json").read_text())["rows"]}
    memory = {"memory", *(f"memory, {what}" for what in ("304", "range", "Vary", "stale"))}
    assert {*memory, "memory, two groups", "redis", "redis, Vary", "redis, 304"} <= rows.keys()
    assert not any(name.startswith("near") for name in rows)
    assert rows["bare app"]["over_bare"] == 0
    for row in rows.values():
        assert 0 < row["us"]["least"] <= row["us"]["median"] <= row["us"]["greatest"]
    bare, nothing, cached = (
        rows[name]["python_calls"] for name in ("bare app", "do-nothing middleware", "memory")
    )
    assert bare < nothing < cached
    assert (tmp_path / "hit.png").read_bytes()[:4] == b"\x89PNG"
    assert "do-nothing middleware" in capsys.readouterr().out


async def test_an_app_that_is_not_cached_is_no_hit(redis_url: str) -> None:
    origin = App()
    subject = Subject("claims to be cached", origin, origin, BROWSER)
    with closing(Redis.from_url(redis_url)) as redis, pytest.raises(NotAHitError, match="claims"):
        await hit.measure(subject, redis, 5)


@pytest.mark.parametrize(
    ("store", "claims", "said"),
    [("redis", "near", "answered without it"), ("memory", "redis", "that were to ask it")],
)
async def test_a_hit_from_another_store_is_none(
    store: str, claims: str, said: str, redis_url: str
) -> None:
    subject = next(one for one in subjects(redis_url) if one.name == store)
    claiming = subject._replace(store=claims)  # type: ignore[arg-type]
    with closing(Redis.from_url(redis_url)) as redis, pytest.raises(NotAHitError, match=said):
        await hit.measure(claiming, redis, 30)
    assert subject.cache is not None
    await subject.cache.aclose()


@pytest.mark.parametrize(
    ("status", "cache_status", "calls", "asked"),
    [
        (200, b"asgi-cache; fwd=uri-miss", 0, 0),
        (304, b"asgi-cache; hit", 0, 0),
        (200, b"asgi-cache; hit", 1, 0),
        (200, b"asgi-cache; hit", 0, 5),
    ],
)
def test_each_proof_counts(status: int, cache_status: bytes, calls: int, asked: int) -> None:
    subject = Subject("a hit", App(), App(), BROWSER)
    good = {"status": 200, "headers": [(b"cache-status", b"asgi-cache; hit")]}
    hit.prove(subject, good, 100, 0, 0)
    start = {"status": status, "headers": [(b"cache-status", cache_status)]}
    with pytest.raises(NotAHitError, match="a hit"):
        hit.prove(subject, start, 100, calls, asked)


async def test_a_round_that_was_disturbed_is_measured_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not for ever, and not for whatever reason."""
    origin = App()
    subject = Subject("bare", origin, origin, BROWSER, hits=False, store="none")
    asked = 0
    reason: type[NotAHitError] = hit.DisturbedError

    def prove(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked < disturbed:
            raise reason("late")

    monkeypatch.setattr(hit, "prove", prove)
    with closing(Redis.from_url(redis_url)) as redis:
        disturbed = hit.TRIES
        assert (await hit.measure(subject, redis, 2)).us > 0
        assert asked == hit.TRIES
        asked, disturbed = 0, 99
        with pytest.raises(hit.DisturbedError, match="late"):
            await hit.measure(subject, redis, 2)
        assert asked == hit.TRIES
        asked, reason = 0, NotAHitError
        with pytest.raises(NotAHitError, match="late"):
            await hit.measure(subject, redis, 2)
        assert asked == 1
