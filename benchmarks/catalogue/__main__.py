"""``python -m benchmarks.catalogue``: one process of a benchmark (or: the catalogue, to try)."""

from __future__ import annotations

import argparse
import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.catalogue.app import make_app
from benchmarks.catalogue.database import Counts
from benchmarks.catalogue.distance import serve_distance
from benchmarks.catalogue.seed import seed
from benchmarks.catalogue.serving import PATHS, Observed, behind_cache, serve
from benchmarks.catalogue.steps import make_steps
from benchmarks.catalogue.upstreams import make_upstreams
from benchmarks.processes import NOT_FILLED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogue", description=__doc__)
    parser.add_argument("role", choices=["seed", "shop", "upstreams", "steps", "distance"])
    parser.add_argument("--database", default="", help="an SQLAlchemy URL, asynchronous driver")
    parser.add_argument("--store", default="none", help="none, memory:// or redis://...")
    parser.add_argument("--upstreams", default="", help="the URL of the upstreams")
    parser.add_argument("--redis", default="", help="steps: the Redis that handlers use")
    parser.add_argument("--distant-redis", default="", help="steps: the same, behind a delay")
    options = parser.parse_args()
    counts = Counts()
    if options.role == "seed":
        return fill(options.database)
    if options.role == "upstreams":
        serve(make_upstreams(options.database, counts))
    elif options.role == "shop":
        app = make_app(options.database, options.upstreams, counts)
        serve(behind_cache(Observed(app, counts), options.store, PATHS))
    elif options.role == "steps":
        app = make_steps(
            options.database, options.upstreams, options.redis, options.distant_redis, counts
        )
        serve(behind_cache(Observed(app, counts), options.store, PATHS))
    else:
        serve_distance(options.redis)
    return 0


def fill(url: str) -> int:
    """Seed the database; where that fails, one line on stderr says why."""

    async def run() -> None:
        engine = create_async_engine(url)
        try:
            await seed(engine)
        finally:
            await engine.dispose()

    try:
        asyncio.run(run())
    except (SQLAlchemyError, OSError, ImportError) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        print(f"{NOT_FILLED}: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
