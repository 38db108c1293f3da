"""``python -m benchmarks.throughput``: the catalogue without a cache, in memory, and on a Redis.

The uncached variant is the same application, not wrapped. Each endpoint is asked by itself with
everything cached, then all of them together by a mixed load that finds the cache empty. What is
called cached is proved to be: the app counts its calls, inside the cache, and its statements.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.load import Sample, choose, put_load
from benchmarks.processes import NotAHitError, Server, redis_at
from benchmarks.report import Spread, arguments, describe, in_words, ratios, write
from benchmarks.running import filled_database, finish, progress_bar
from benchmarks.traffic import MIX, PRODUCTS, ZIPF_EXPONENT, Endpoint, endpoints, mixed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

UNCACHED: Final = "uncached"
VARIANTS: Final = (UNCACHED, "memory", "redis")
MIXED: Final = "mixed"
MIXED_REQUESTS: Final = 50_000
GOALS: Final = {"memory": (20, 12), "redis": (8, 4)}
"""Times uncached: the median over the database endpoints, and the read by primary key."""
MIXED_LENGTH: Final = 3
"""How many times as long as the others this load lasts: its cache has to fill."""
LEAST_HIT_RATIO: Final = 0.99
"""Of what is called cached. All of it is the rule and the table says what it was; but a store has
a deadline, and on a machine that is busy with other things it can pass."""


@dataclass(frozen=True)
class Measured:
    """One load on one variant, and what the app did meanwhile."""

    sample: Sample
    app_calls: int
    statements: int

    @property
    def hit_ratio(self) -> float:
        return max(0.0, 1 - self.app_calls / self.sample.requests)


def main(argv: Sequence[str] | None = None) -> int:
    names = [endpoint.name for endpoint in endpoints()]
    options = arguments("throughput", str(__doc__), [*names, MIXED]).parse_args(argv)
    return finish(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write."""
    tool = choose(options.load)
    rounds = options.rounds or (3 if options.quick else 5)
    seconds = options.seconds or (1 if options.quick else 3)
    wanted = [e for e in endpoints() if not options.only or e.name in options.only]
    with_mixed = not options.only or MIXED in options.only
    about = describe(options, tool, rounds, seconds)
    measured: dict[str, dict[str, list[Measured]]] = {}
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(filled_database(options.database))
        redis = stack.enter_context(redis_at(options.redis))
        upstreams = stack.enter_context(Server("upstreams", "--database", database))
        stores = {UNCACHED: "none", "memory": "memory://", "redis": redis}
        shop = ("shop", "--database", database, "--upstreams", upstreams.url, "--store")
        servers = {
            variant: stack.enter_context(Server(*shop, stores[variant])) for variant in VARIANTS
        }
        bar = stack.enter_context(progress_bar())
        task = bar.add_task("", total=rounds * (len(wanted) + with_mixed) * len(VARIANTS))
        for number in range(rounds):
            for endpoint in wanted:
                for variant, server in servers.items():
                    bar.update(task, description=f"round {number + 1}: {endpoint.name}, {variant}")
                    got = measure(
                        server, endpoint, variant != UNCACHED, tool, seconds, options.connections
                    )
                    measured.setdefault(endpoint.name, {}).setdefault(variant, []).append(got)
                    bar.advance(task)
            for variant, server in servers.items() if with_mixed else ():
                bar.update(task, description=f"round {number + 1}: {MIXED}, {variant}")
                got = measure_mixed(
                    server, variant != UNCACHED, number, tool, seconds, options.connections
                )
                measured.setdefault(MIXED, {}).setdefault(variant, []).append(got)
                bar.advance(task)
    content = {"benchmark": "throughput", **about, **summarize(measured)}
    show(content)
    from benchmarks.charts import throughput_chart

    print("written:", write(options.out, "throughput", content))
    print("written:", throughput_chart(options.out, content, in_words(about)))


def measure(
    server: Server, endpoint: Endpoint, cached: bool, tool: str, seconds: float, connections: int
) -> Measured:
    """One load on one endpoint; with everything cached first, where it can be."""
    hit = cached and endpoint.cacheable
    check(endpoint, cached, server.answers(endpoint.requests, hit=hit))
    before = server.counts()
    sample = put_load(tool, server.port, endpoint.requests, seconds, connections)
    after = server.counts()
    check(endpoint, cached, server.answers(endpoint.requests[:3], hit=hit))
    got = difference(sample, before, after)
    if hit and got.hit_ratio < LEAST_HIT_RATIO:
        raise NotAHitError(
            f"{endpoint.name} was to be cached, but the app was called {got.app_calls} times in "
            f"{sample.requests} requests"
        )
    if not hit and got.app_calls < sample.requests:
        raise NotAHitError(
            f"{endpoint.name} was not to be cached, but the app was called {got.app_calls} times "
            f"in {sample.requests} requests"
        )
    return got


def check(endpoint: Endpoint, cached: bool, seen: Sequence[tuple[int, str]]) -> None:
    """Each of *seen* says ``hit`` where it should, and only there."""
    hit = cached and endpoint.cacheable
    for status, cache_status in seen:
        if status != 200 or ("; hit" in cache_status) != hit or bool(cache_status) != cached:
            raise NotAHitError(
                f"{endpoint.name} answered {status} with Cache-Status {cache_status!r}, where "
                f"{'a hit' if hit else 'no hit'} was to be measured"
            )


def measure_mixed(
    server: Server, cached: bool, number: int, tool: str, seconds: float, connections: int
) -> Measured:
    """The mixed load: the first round finds the cache empty, later ones what is left of earlier.

    Every variant sees the same requests in a round.
    """
    if cached and number == 0:
        server.purge()
    before = server.counts()
    requests = mixed(MIXED_REQUESTS, number)
    sample = put_load(tool, server.port, requests, MIXED_LENGTH * seconds, connections)
    got = difference(sample, before, server.counts())
    if not cached and got.app_calls < sample.requests:
        raise NotAHitError("the uncached variant did not call the app for each request")
    if cached and not got.app_calls:
        raise NotAHitError(
            "the mixed load has pages that are never cached, but the app was not called"
        )
    return got


def difference(sample: Sample, before: dict[str, float], after: dict[str, float]) -> Measured:
    return Measured(
        sample,
        int(after["app_calls"] - before["app_calls"]),
        int(after["statements"] - before["statements"]),
    )


def summarize(measured: dict[str, dict[str, list[Measured]]]) -> dict[str, Any]:
    """Rows of medians with spread, all samples, and the figures over the database endpoints."""
    described = {endpoint.name: endpoint for endpoint in endpoints()}
    mix = ", ".join(f"{share:.0%} {name}" for name, share in MIX.items())
    rows = []
    for name, variants in measured.items():
        row: dict[str, Any] = {"name": name}
        if name == MIXED:
            row["what"] = (
                f"begins with an empty cache; {mix}; each Zipf-distributed (exponent "
                f"{ZIPF_EXPONENT:g}, {PRODUCTS:,} products); loads {MIXED_LENGTH} times as long"
            )
            row["database"] = False
        else:
            row |= {"what": described[name].what, "database": described[name].database}
        for variant, rounds in variants.items():
            rates = [m.sample.per_second for m in rounds]
            row[variant] = {
                "per_second": asdict(Spread.of(rates)),
                "p50_ms": asdict(Spread.of([m.sample.p50_ms for m in rounds])),
                "p99_ms": asdict(Spread.of([m.sample.p99_ms for m in rounds])),
                "hit_ratio": asdict(Spread.of([m.hit_ratio for m in rounds])),
                "requests": sum(m.sample.requests for m in rounds),
                "app_calls": sum(m.app_calls for m in rounds),
                "statements": sum(m.statements for m in rounds),
                "rounds": [asdict(m) for m in rounds],
            }
            if variant != UNCACHED:
                uncached = [m.sample.per_second for m in variants[UNCACHED]]
                row[variant]["times"] = asdict(ratios(rates, uncached))
        rows.append(row)
    figures = {}
    for variant, (median_goal, key_goal) in GOALS.items():
        times = {row["name"]: row[variant]["times"]["median"] for row in rows if row["database"]}
        if times:
            figures[variant] = {
                "median_over_database_endpoints": statistics.median(times.values()),
                "goal": median_goal,
                "read_by_primary_key": times.get("primary key"),
                "read_by_primary_key_goal": key_goal,
            }
    return {"figures": figures, "rows": rows}


def show(content: dict[str, Any]) -> None:
    """The table, and whether the goals were reached."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Cached against uncached\n{in_words(content)}", title_justify="left")
    for column in ("endpoint", "variant", "requests/s", "times", "p50 ms", "p99 ms", "hits"):
        table.add_column(column, justify="left" if column in ("endpoint", "variant") else "right")
    table.add_column("app / database calls\nper 1000 requests", justify="right")
    for row in content["rows"]:
        for variant in VARIANTS:
            got = row[variant]
            times = got.get("times")
            table.add_row(
                row["name"] if variant == UNCACHED else "",
                variant,
                f"{Spread(**got['per_second']):,.0f}",
                f"{Spread(**times):.1f}" if times else "",
                f"{got['p50_ms']['median']:.2f}",
                f"{got['p99_ms']['median']:.1f}",
                f"{got['hit_ratio']['median']:.2%}"
                if row["name"] != MIXED
                else f"{Spread(**got['hit_ratio']):.0%}",
                " / ".join(
                    f"{1000 * got[kind] / got['requests']:,.0f}"
                    for kind in ("app_calls", "statements")
                ),
                end_section=variant == VARIANTS[-1],
            )
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for variant, got in content["figures"].items():
        key = got["read_by_primary_key"]
        console.print(
            f"{variant}: median over the database endpoints "
            f"{got['median_over_database_endpoints']:.1f} times uncached (goal {got['goal']})"
            + (
                f", a read by primary key {key:.1f} (goal {got['read_by_primary_key_goal']})"
                if key
                else ""
            ),
            highlight=False,
        )


if __name__ == "__main__":
    sys.exit(main())
