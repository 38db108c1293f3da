"""Costs by the number of stored responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from benchmarks.growth import __main__ as growth
from benchmarks.growth.trips import Relay
from benchmarks.growth.worker import BODY, Grown, prove_trips
from benchmarks.processes import NotAHitError

if TYPE_CHECKING:
    from pathlib import Path


def row(store: str, grown: float, near_bytes: float) -> dict[str, Any]:
    return {
        "store": store,
        "grown": dict.fromkeys(growth.COSTS, grown),
        "cells": [{"near_bytes": 9e9}, {"near_bytes": near_bytes}],
    }


@pytest.mark.parametrize(
    ("grown", "near_bytes", "reached"),
    [
        (1.2, 1536.0 + len(BODY), [True] * 5),
        (0.5, 1537.0 + len(BODY), [True] * 4 + [False]),
        (1.21, 100.0, [False] * 4 + [True]),
    ],
)
def test_flat_and_small(grown: float, near_bytes: float, reached: list[bool]) -> None:
    assert [goal["reached"] for goal in growth.judge([row("near", grown, near_bytes)])] == reached
    assert len(growth.judge([row("redis", grown, near_bytes)])) == 4


@pytest.mark.parametrize(
    ("store", "commands", "good"),
    [
        ("redis", 2, True),
        ("redis", 0, False),
        ("near", 0.1, True),
        ("near", 0.6, False),
        ("near", 2, False),
    ],
)
def test_hits_near_make_no_commands(store: str, commands: float, good: bool) -> None:
    if good:
        prove_trips(store, commands)
        return
    with pytest.raises(NotAHitError, match=f"{store}: a hit made {commands:g} commands"):
        prove_trips(store, commands)


async def test_round_trips_are_turns_and_not_commands(redis_url: str) -> None:
    async with Relay(redis_url) as relay:
        client: Any = Redis.from_url(relay.url)
        await client.ping()
        before = relay.trips
        async with client.pipeline(transaction=False) as pipe:
            for _ in range(10):
                pipe.ping()
            await pipe.execute()
        assert relay.trips - before == 1
        for _ in range(3):
            await client.ping()
        assert relay.trips - before == 4
        await client.aclose()


async def test_fills_that_are_not_stored_are_no_growth(redis_url: str) -> None:
    grown = Grown("memory", redis_url, 20)
    await grown.fill()
    await grown.cache.purge_all()
    with pytest.raises(NotAHitError, match="was not stored"):
        await grown.end()
    with pytest.raises(NotAHitError, match="app for 20 fills"):
        await grown.fill()  # all of them misses, once more


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--count", "60", "--count", "240", "--rounds", "1"]
    assert growth.main([*sizes, "--without", "near", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "growth.json").read_text())
    memory, far = written["rows"]
    assert [cell["count"] for cell in memory["cells"]] == [60, 240]
    assert memory["trips"] == {}
    assert far["trips"]["hit"] == {"trips": 1, "commands": 2}
    assert far["cells"][1]["far_bytes"] > len(BODY)
    assert len(written["goals"]) == 9
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().out
    assert said.count(", reached") + said.count(", NOT REACHED") == 9


def test_one_redis_will_not_do(capsys: pytest.CaptureFixture[str]) -> None:
    near = ["--count", "30", "--rounds", "1", "--without", "memory", "--without", "redis"]
    status = growth.main([*near, "--redis", "redis://127.0.0.1:1/0"])
    assert status == 2
    assert "every number has a Redis of its own" in capsys.readouterr().err
