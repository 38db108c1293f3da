"""The three services that the dashboard asks: each makes a real query and then waits.

The wait, :data:`DELAY` for each request, is artificial. It stands for a network and for a
service that does more than one query.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sqlalchemy import func, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.catalogue.database import Counts, open_engine
from benchmarks.catalogue.models import Product, Review

DELAY: Final = 0.015
"""Seconds."""

QUERIES: Final[dict[str, Any]] = {
    "sales": select(func.count(), func.sum(Product.price_cents)).where(Product.category_id == 7),
    "stock": select(Product.id, Product.name, Product.stock).where(Product.stock < 5).limit(20),
    "reviews": select(Review.id, Review.rating, Review.text).order_by(Review.id.desc()).limit(20),
}


def make_upstreams(database: str, counts: Counts) -> Starlette:
    """The services, a path each, over the *database* of this URL."""
    engine = open_engine(database, counts)

    def service(query: Any) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def handler(_: Request) -> JSONResponse:
            async with engine.connect() as connection:
                rows = [dict(row) for row in (await connection.execute(query)).mappings()]
            await asyncio.sleep(DELAY)
            return JSONResponse(rows)

        return handler

    return Starlette(routes=[Route(f"/{name}", service(query)) for name, query in QUERIES.items()])
