"""The benchmark beside others: goals, proofs, what is missing, and a round for real."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

import asgi_cache
from benchmarks import report
from benchmarks.disturbance import Disturbance, Look
from benchmarks.load import Sample
from benchmarks.peers import __main__ as command
from benchmarks.peers import environments, rounds
from benchmarks.peers.apps import lines
from benchmarks.peers.goals import GOALS, Goal, judge
from benchmarks.peers.measuring import Measured, Served, check_fields, measure, prove
from benchmarks.peers.pages import Calls, Pages, body_of, calls_in
from benchmarks.peers.targets import BARE, TARGETS, Cell, Target, cells
from benchmarks.processes import MissingError, NotAHitError
from benchmarks.traffic import Request
from tests.driver import drive

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {target.name: target for target in TARGETS}


def measured(
    per_second: float = 100.0, app_calls: int = 0, commands: int = 0, writes: int = 0
) -> Measured:
    return Measured(Sample(1000, per_second, 1.0, 2.0, 0), app_calls, commands, writes, 10.0)


# ---------------------------------------------------------------------- targets


async def test_what_a_hit_may_reach_is_measured_with_its_lines(tmp_path: Path) -> None:
    """Else that row would be no limit: every line costs the server that writes it."""
    calls = Calls(str(tmp_path))
    cached = asgi_cache.wrap(Pages(calls), store="memory://")
    await drive(cached, "/pages/1024/1")
    told = (await drive(cached, "/pages/1024/1")).headers
    limit = (await drive(lines(calls, ""), "/pages/1024/1")).headers
    assert b"; hit" in dict(told)[b"cache-status"]
    assert [name for name, _ in limit] == [name for name, _ in told]
    for (_, one), (_, other) in zip(limit, told, strict=True):
        assert abs(len(one) - len(other)) <= 2


# ---------------------------------------------------------------------- goals


def test_a_goal_is_the_median_of_the_rounds_ratios() -> None:
    figures = {
        BARE: {"per_second": [100.0, 200.0, 50.0], "p99_ms": [2.0, 2.0, 2.0]},
        "memory": {"per_second": [90.0, 100.0, 45.0], "p99_ms": [2.0, 9.0, 3.0]},
    }
    share, p99 = judge(figures)
    assert (share["limit"], share["figure"], share["reached"]) == (0.82, 0.9, True)
    assert (p99["limit"], p99["figure"], p99["reached"]) == (1.5, 1.5, True)
    figures["memory"] = {"per_second": [81.0, 163.0, 41.0], "p99_ms": [3.1, 3.1, 3.1]}
    assert [goal["reached"] for goal in judge(figures)] == [False, False]


@pytest.mark.parametrize(
    ("goal", "figure", "met"),
    [
        (Goal("a", "b", 2.0), 2.0, True),
        (Goal("a", "b", 2.0), 1.99, False),
        (Goal("a", "b", 2.0, above=True), 2.0, False),
        (Goal("a", "b", 2.0, above=True), 2.01, True),
        (Goal("a", "b", 2.0, "p99_ms"), 2.0, True),
        (Goal("a", "b", 2.0, "p99_ms"), 2.01, False),
    ],
)
def test_at_least_more_than_and_at_most(goal: Goal, figure: float, met: bool) -> None:
    assert goal.met_by(figure) is met


def test_every_peer_has_its_goal() -> None:
    wanted = {target.name: 4.0 if target.asks_redis else 2.0 for target in TARGETS if target.peer}
    wanted |= {"litestar memory": 1.7, "litestar redis": 2.0}
    assert {goal.other: goal.limit for goal in GOALS if goal.other in wanted} == wanted
    assert all(goal.one in BY_NAME and goal.other in BY_NAME for goal in GOALS)


# ---------------------------------------------------------------------- proofs


@pytest.mark.parametrize(
    ("name", "got"),
    [
        (BARE, measured(app_calls=1000)),
        ("memory", measured(app_calls=10)),
        ("near", measured(commands=10)),
        ("redis", measured(commands=32)),
        ("plain GET", measured(app_calls=1000, commands=1000)),
        ("pass-through", measured(app_calls=1000)),
        ("stored miss", measured(app_calls=1000, commands=9000, writes=1000)),
    ],
)
def test_what_is_what_it_says_passes(name: str, got: Measured) -> None:
    prove(BY_NAME[name], got, 32)


@pytest.mark.parametrize(
    ("name", "got", "said"),
    [
        (BARE, measured(app_calls=999), "to call the app"),
        ("memory", measured(app_calls=11), "the app was called 11 times"),
        ("memory", measured(commands=11), "without Redis"),
        ("near", measured(commands=2000), "without Redis"),
        ("redis", measured(commands=31), "was to ask Redis"),
        ("redis", measured(app_calls=11, commands=2000), "the app was called 11 times"),
        ("plain GET", measured(app_calls=1000), "was to ask Redis"),
        ("pass-through", measured(app_calls=900), "to call the app"),
        ("stored miss", measured(commands=9000, writes=1000), "to call the app"),
        ("stored miss", measured(app_calls=1000, commands=9000, writes=9), "9 SETs"),
    ],
)
def test_what_is_something_else_fails(name: str, got: Measured, said: str) -> None:
    with pytest.raises(NotAHitError, match=said):
        prove(BY_NAME[name], got, 32)


@pytest.mark.parametrize(
    ("name", "status", "fields", "length", "good"),
    [
        ("memory", 200, {"cache-status": "asgi-cache; hit; ttl=9"}, 9, True),
        ("memory", 200, {"cache-status": "asgi-cache; fwd=uri-miss"}, 9, False),
        ("memory", 200, {}, 9, False),
        ("memory", 500, {"cache-status": "asgi-cache; hit"}, 9, False),
        ("memory", 200, {"cache-status": "asgi-cache; hit"}, 0, False),
        ("pass-through", 200, {"cache-status": "asgi-cache; fwd=uri-miss"}, 9, True),
        ("pass-through", 200, {"cache-status": "asgi-cache; hit"}, 9, False),
        ("nginx", 200, {"x-cache": "HIT"}, 9, True),
        ("nginx", 200, {"x-cache": "MISS"}, 9, False),
        ("hishel redis", 200, {}, 9, True),
    ],
)
def test_fields_tell_hits(
    name: str, status: int, fields: dict[str, str], length: int, good: bool
) -> None:
    if good:
        check_fields(BY_NAME[name], [(status, fields, length)])
        return
    with pytest.raises(NotAHitError, match=name):
        check_fields(BY_NAME[name], [(status, fields, length)])


@pytest.mark.parametrize(
    ("claims", "app", "said"),
    [
        ("litestar memory", "bare", "was to be cached, but the app was called"),
        ("near", "redis", "was to be answered without Redis"),
    ],
)
def test_a_server_that_is_not_what_is_claimed_fails_the_proof(
    claims: str, app: str, said: str, redis_url: str
) -> None:
    of = BY_NAME[claims]
    target = Target(claims, "", app, of.expects, of.asks_redis, of.field)
    requests = target.requests(1024, "", 0)
    how = ("builtin", 0.2, 4)
    with (
        rounds.serving([target], Cell(), redis_url, None) as served,
        closing(Redis.from_url(redis_url)) as redis,
    ):
        with pytest.raises(NotAHitError, match=said):
            measure(target, served[claims], redis, requests, how, None)
        assert calls_in(served[claims].calls) >= 64


# ---------------------------------------------------------------------- rounds


def take(
    monkeypatch: pytest.MonkeyPatch, rates: list[float], counts: tuple[int, int]
) -> list[rounds.Round]:
    """Rounds in which the bare app has the throughputs *rates*."""
    left = iter(rates)
    monkeypatch.setattr(rounds, "measure", lambda *_: measured(next(left)))
    monkeypatch.setattr(Look, "now", lambda: None)
    served = {BARE: Served(0, "", 0)}
    with closing(Redis()) as redis:
        return rounds.take_rounds(
            [BY_NAME[BARE]], served, Cell(), redis, ("wrk", 1), counts, None, lambda _: None
        )


def test_a_disturbed_round_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take(monkeypatch, [100, 50, 100, 99], (3, 3))
    assert [bool(one.reason) for one in taken] == [False, True, False, False]
    counted = rounds.counted(taken, 3)
    assert [one.measured[BARE].sample.per_second for one in counted] == [100, 100, 99]


def test_no_more_often_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take(monkeypatch, [100, 10, 100, 10, 100, 10], (3, 1))
    assert len(taken) == 4
    assert [one.reason for one in rounds.counted(taken, 3)][::2] == ["", ""]
    assert len(take(monkeypatch, [1.0] * 9, (3, 6))) == 3


def test_stolen_time_disturbs(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(Look(float(n), 2, 0.0, n * 0.5, 0.0) for n in range(9))
    monkeypatch.setattr(rounds, "measure", lambda *_: measured())
    monkeypatch.setattr(Look, "now", lambda: next(looks))
    with closing(Redis()) as redis:
        taken = rounds.take_rounds(
            [BY_NAME[BARE]],
            {BARE: Served(0, "", 0)},
            Cell(),
            redis,
            ("wrk", 1),
            (1, 1),
            None,
            lambda _: None,
        )
    assert [one.disturbance for one in taken] == [Disturbance(0.25, 0.0)] * 2
    assert taken[0].reason == "25% of the time was stolen"


# ---------------------------------------------------------------------- the command


def test_the_matrix_has_each_cell_once_and_the_main_one_first() -> None:
    assert cells(Cell(), matrix=False) == [Cell()]
    found = cells(Cell(), matrix=True)
    assert found[0] == Cell()
    assert len(found) == len(set(found)) == 24


def test_each_miss_is_a_new_url() -> None:
    target = BY_NAME["stored miss"]
    requests = [*target.requests(1024, "1", 500), *target.requests(1024, "2", 500)]
    assert len({request.path for request in requests}) == 1000
    assert requests[0] == Request(
        "/misses/1024/1-0", (("Cookie", "session=5f2b7c1d9e; theme=dark"),)
    )


@pytest.mark.parametrize("size", [1024, 65536])
def test_bodies_are_json_of_their_size(size: int) -> None:
    assert len(body_of(size)) == size
    assert json.loads(body_of(size))["text"].strip("x") == ""


def test_calls_are_counted_across_processes(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes((41).to_bytes(8, "little"))
    Calls(str(tmp_path)).add()
    assert calls_in(str(tmp_path)) == 42


def without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    def python_of(peer: str) -> str:
        if peer:
            raise MissingError(f"{peer} is not installed")
        return environments.python_of(peer)

    def program(proxy: str) -> str:
        raise MissingError(f"{proxy} is not installed")

    monkeypatch.setattr(rounds, "python_of", python_of)
    monkeypatch.setattr(rounds, "program", program)


def test_a_missing_peer_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    without_peers(monkeypatch)
    found, missing = rounds.present(TARGETS, [])
    assert [target.name for target in found] == [
        *(BARE, "bare app, lines of a hit", "memory", "near", "redis"),
        *("plain GET", "pass-through", "stored miss"),
    ]
    assert missing["nginx"] == "nginx is not installed"
    assert missing["starlette-caches redis"] == "starlette-caches is not installed"
    assert len(found) + len(missing) == len(TARGETS)


@pytest.mark.parametrize("name", ["litestar redis", "varnish"])
def test_a_missing_peer_that_is_asked_for_is_status_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_peers(monkeypatch)
    assert command.main(["--only", name, "--load", "builtin"]) == 2
    assert capsys.readouterr().err.startswith("missing: ")


def test_an_environment_that_was_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"benchmarks\.peers --install"):
        environments.python_of("fastapi-cache2", tmp_path)


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a Redis that nobody else asks."""
    names = ["memory", "redis", "stored miss", "litestar memory"]
    only = [part for name in names for part in ("--only", name)]
    quick = ["--quick", "--rounds", "1", "--seconds", "1", "--connections", "4"]
    options = ["--load", "builtin", "--out", str(tmp_path)]
    status = command.main([*only, *quick, *options])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    written = json.loads((tmp_path / "peers.json").read_text())
    rows = {row["name"]: row for row in written["rows"]}
    assert list(rows) == [BARE, *names]
    assert rows["memory"]["app_calls"] == 0
    assert rows["redis"]["redis_commands_a_request"] > 0.25
    assert rows[BARE]["share"]["median"] == 1
    assert len(written["goals"]) == 6
    assert written["versions"]["asgi-cache"].startswith("asgi-cache ")
    assert (tmp_path / "peers.png").read_bytes()[:4] == b"\x89PNG"
    assert "memory: at least 0.82 x bare app: " in printed.out
    assert printed.out.count(", reached") + printed.out.count(", NOT REACHED") == 6


def test_what_every_benchmark_takes() -> None:
    options: Any = command.arguments().parse_args(["--quick", "--without", "near"])
    assert (options.connections, options.out, options.without) == (32, report.RESULTS, ["near"])
