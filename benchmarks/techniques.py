"""``python -m benchmarks.techniques``: what each classic step buys on the same catalogue.

Each row is two handlers that differ in one step, asked in turn in the same run. Some steps cost
more than they buy on one machine; the table says so.
"""

from __future__ import annotations

import contextlib
import random
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from benchmarks.load import Sample, choose, generate, put_load
from benchmarks.processes import NotAHitError, Server, redis_at, require
from benchmarks.report import Spread, arguments, describe, in_words, ratios, write
from benchmarks.running import filled_database, finish, progress_bar
from benchmarks.traffic import PRODUCTS, Request, searches, zipf_weights

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SIDES: Final = ("without", "with")
FEW: Final = 4
"""Connections where a step buys time for one user, and no capacity of a machine that is full."""
VISIT: Final = 50
"""Pages that a visitor of the caching client's row asks for."""


@dataclass(frozen=True)
class Technique:
    """One row: a name, and of each side a name and where it is asked."""

    name: str
    label: str
    """The name as the chart has it: with line breaks."""
    sides: tuple[str, str]
    """Without, with."""
    paths: tuple[Sequence[str], Sequence[str]]
    cached: bool = False
    """The side with the technique is answered by the middleware, in front of the same app."""
    connections: int = 0
    """Where not 0, so many instead of those of the command line."""
    visit: int = 0
    """As for the generator's Job: the clients have caches of their own."""


def techniques() -> list[Technique]:
    """Every row."""
    ids = random.Random(7).sample(range(1, PRODUCTS + 1), 64)
    weights = zipf_weights(PRODUCTS, 1.0)
    views = random.Random(8).choices(range(1, PRODUCTS + 1), weights, k=20_000)

    def both(pattern: str, values: Sequence[Any]) -> tuple[list[str], list[str]]:
        without, with_ = ([pattern.format(side, value) for value in values] for side in SIDES)
        return without, with_

    words = [path.partition("=")[2] for path in searches()[:16]]
    return [
        Technique(
            "connection pool",
            "connection pool\n(read by primary key)",
            ("a connection a request", "a pool"),
            both("/pool/{}/{}", ids),
        ),
        Technique(
            "async driver, short query",
            "async driver\n(read by primary key)",
            ("a blocking driver in an async handler", "an async driver"),
            both("/driver-key/{}/{}", ids),
        ),
        Technique(
            "async driver, long query",
            "async driver\n(search)",
            ("a blocking driver in an async handler", "an async driver"),
            both("/driver-search/{}?q={}", words),
        ),
        Technique(
            "eager loading",
            "eager loading\n(20 users with posts)",
            ("N+1: 21 statements", "selectinload: 2 statements"),
            both("/users/{}?page={}", range(1, 17)),
        ),
        Technique(
            "asyncio.gather",
            f"asyncio.gather\n(three upstreams, {FEW} connections)",
            ("one after the other", "at the same time"),
            both("/gather/{}", [None]),
            connections=FEW,
        ),
        Technique(
            "async Redis client, near",
            "async Redis client\n(Redis on this machine)",
            ("a blocking client in an async handler", "an async client"),
            both("/redis/{}/{}", ids),
        ),
        Technique(
            "async Redis client, 1 ms away",
            "async Redis client\n(Redis 1 ms away)",
            ("a blocking client in an async handler", "an async client"),
            both("/distant-redis/{}/{}", ids),
        ),
        Technique(
            "this middleware",
            "this middleware on Redis\n(a product)",
            ("cache-aside decorator on Redis", "asgi_cache on Redis"),
            ([f"/aside/{id_}" for id_ in ids], [f"/products/{id_}" for id_ in ids]),
            cached=True,
        ),
        Technique(
            "Cache-Control alone",
            f"Cache-Control alone, {FEW} caching clients\n({VISIT} Zipf page views a visitor)",
            ("no Cache-Control", "max-age=60"),
            both("/client/{}/{}", views),
            connections=FEW,
            visit=VISIT,
        ),
    ]


@dataclass(frozen=True)
class Measured:
    """One load on one side, and what the app did meanwhile."""

    sample: Sample
    app_calls: int
    statements: int
    longest_stall_ms: float
    """For how long at most the event loop let a due task wait."""


def main(argv: Sequence[str] | None = None) -> int:
    names = [technique.name for technique in techniques()]
    options = arguments("techniques", str(__doc__), names).parse_args(argv)
    return finish(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write."""
    tool = choose(options.load)
    rounds = options.rounds or (3 if options.quick else 5)
    seconds = options.seconds or (1 if options.quick else 3)
    if options.database.startswith("postgresql"):
        require(["psycopg"])
    wanted = [t for t in techniques() if not options.only or t.name in options.only]
    about = describe(options, tool, rounds, seconds)
    measured: dict[str, dict[str, list[Measured]]] = {}
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(filled_database(options.database))
        redis = stack.enter_context(redis_at(options.redis))
        upstreams = stack.enter_context(Server("upstreams", "--database", database))
        distance = stack.enter_context(Server("distance", "--redis", redis))
        distant = urlsplit(redis)._replace(netloc=_moved(redis, distance.port)).geturl()
        steps = ["steps", "--database", database, "--upstreams", upstreams.url]
        steps += ["--redis", redis, "--distant-redis", distant]
        bare = stack.enter_context(Server(*steps))
        cached = stack.enter_context(Server(*steps, "--store", redis))
        bar = stack.enter_context(progress_bar())
        task = bar.add_task("", total=rounds * len(wanted) * 2)
        for number in range(rounds):
            for technique in wanted:
                for side in SIDES:
                    bar.update(task, description=f"round {number + 1}: {technique.name}, {side}")
                    server = cached if technique.cached and side == "with" else bare
                    got = measure(server, technique, side, tool, seconds, options.connections)
                    measured.setdefault(technique.name, {}).setdefault(side, []).append(got)
                    bar.advance(task)
    content = {"benchmark": "techniques", **about, "rows": summarize(measured)}
    show(content)
    from benchmarks.charts import techniques_chart

    print("written:", write(options.out, "techniques", content))
    print("written:", techniques_chart(options.out, content, in_words(about)))


def _moved(url: str, port: int) -> str:
    """The authority of *url*, user and password included, at another loopback *port*."""
    user = urlsplit(url).netloc.rpartition("@")
    return f"{user[0]}{user[1]}127.0.0.1:{port}"


def measure(
    server: Server, technique: Technique, side: str, tool: str, seconds: float, connections: int
) -> Measured:
    """One load on one side of a row."""
    requests = [Request(path) for path in technique.paths[SIDES.index(side)]]
    hit = technique.cached and side == "with"
    for status, cache_status in server.answers(requests[:64], hit=hit):
        if status != 200 or ("; hit" in cache_status) != hit:
            raise NotAHitError(
                f"{technique.name}, {side}: {status} with Cache-Status {cache_status!r}"
            )
    connections = technique.connections or connections
    before = server.counts()
    if technique.visit:
        sample = generate(server.port, requests, seconds, connections, technique.visit)
    else:
        sample = put_load(tool, server.port, requests, seconds, connections)
    after = server.counts()
    got = Measured(
        sample,
        int(after["app_calls"] - before["app_calls"]),
        int(after["statements"] - before["statements"]),
        after["longest_stall_ms"],
    )
    cached = technique.name == "this middleware"
    if hit and got.app_calls > sample.requests / 100:
        raise NotAHitError(f"{technique.name}: the app was called {got.app_calls} times")
    if cached and got.statements > sample.requests / 100:
        raise NotAHitError(f"{technique.name}, {side}: {got.statements} statements went through")
    return got


def summarize(measured: dict[str, dict[str, list[Measured]]]) -> list[dict[str, Any]]:
    """Rows of medians with spread, and all samples."""
    described = {technique.name: technique for technique in techniques()}
    rows = []
    for name, sides in measured.items():
        technique = described[name]
        row: dict[str, Any] = {
            "name": name,
            "label": technique.label,
            "connections": technique.connections or "as the others",
            "load": "always the built-in generator" if technique.visit else "as the others",
        }
        for side, of_side in zip(SIDES, technique.sides, strict=True):
            rounds = sides[side]
            requests = sum(m.sample.requests for m in rounds)
            calls = sum(m.app_calls for m in rounds)
            row[side] = {
                "name": of_side,
                "per_second": asdict(Spread.of([m.sample.per_second for m in rounds])),
                "p50_ms": asdict(Spread.of([m.sample.p50_ms for m in rounds])),
                "p99_ms": asdict(Spread.of([m.sample.p99_ms for m in rounds])),
                "longest_stall_ms": asdict(Spread.of([m.longest_stall_ms for m in rounds])),
                "app_calls_per_request": calls / requests,
                "statements_per_app_call": sum(m.statements for m in rounds) / (calls or 1),
                "rounds": [asdict(m) for m in rounds],
            }
        rates = ([m.sample.per_second for m in sides[side]] for side in ("with", "without"))
        row["times"] = asdict(ratios(*rates))
        rows.append(row)
    return rows


def show(content: dict[str, Any]) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"What each step buys\n{in_words(content)}", title_justify="left")
    for column in ("technique", "side"):
        table.add_column(column)
    for column in ("requests/s", "times", "p50 ms", "p99 ms", "longest loop\nstall, ms"):
        table.add_column(column, justify="right")
    table.add_column("app calls a request /\ndatabase calls an app call", justify="right")
    for row in content["rows"]:
        for side in SIDES:
            got = row[side]
            table.add_row(
                row["name"] if side == "without" else "",
                got["name"],
                f"{Spread(**got['per_second']):,.0f}",
                f"{Spread(**row['times']):.2f}" if side == "with" else "",
                f"{got['p50_ms']['median']:.2f}",
                f"{got['p99_ms']['median']:.1f}",
                f"{got['longest_stall_ms']['median']:.0f}",
                f"{got['app_calls_per_request']:.2f} / {got['statements_per_app_call']:.0f}",
                end_section=side == "with",
            )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
