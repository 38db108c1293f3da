"""The classic steps, each as two handlers that differ in that step alone."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import redis
import redis.asyncio
from fastapi import FastAPI, HTTPException, Request, Response
from sqlalchemy import create_engine, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, joinedload, selectinload
from sqlalchemy.pool import NullPool

from benchmarks.catalogue.app import UPSTREAM_CONNECTIONS, UPSTREAMS
from benchmarks.catalogue.database import (
    Counts,
    blocking_url,
    observe,
    open_engine,
    pool_options,
)
from benchmarks.catalogue.models import Product, Review, User
from benchmarks.catalogue.pages import ProductPage, ProductView, Stock, Summary, UserView
from benchmarks.traffic import USERS_A_PAGE

MAX_AGE: Final = 60
_STALL_SAMPLE: Final = 0.005


def make_steps(
    database: str, upstreams: str, redis_url: str, distant_redis_url: str, counts: Counts
) -> FastAPI:
    """The handlers over one *database*, the *upstreams*, and a Redis near and distant."""
    engine = open_engine(database, counts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        limits = httpx.Limits(
            max_connections=UPSTREAM_CONNECTIONS, max_keepalive_connections=UPSTREAM_CONNECTIONS
        )
        watch = asyncio.create_task(watch_stalls(counts))
        async with httpx.AsyncClient(base_url=upstreams, limits=limits, timeout=60) as client:
            yield {"client": client}
        watch.cancel()
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    add_database_steps(app, engine, database, counts)
    add_upstream_steps(app)
    for name, url in (("redis", redis_url), ("distant-redis", distant_redis_url)):
        add_redis_steps(app, name, url)
    add_cache_steps(app, engine, redis_url)
    return app


async def watch_stalls(counts: Counts) -> None:
    """Note for how long at most the event loop let a due task wait."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_STALL_SAMPLE)
        late = time.perf_counter() - before - _STALL_SAMPLE
        counts.longest_stall_ms = max(counts.longest_stall_ms, late * 1000)


def add_database_steps(app: FastAPI, pooled: AsyncEngine, database: str, counts: Counts) -> None:
    unpooled = open_engine(database, counts, poolclass=NullPool)
    blocking = create_engine(blocking_url(database), **pool_options(database))
    observe(blocking, counts)
    by_key = {"with": pooled, "without": unpooled}

    @app.get("/pool/{side}/{id}")
    async def pool(side: str, id: int) -> Stock:  # noqa: A002 - the URL's name
        async with AsyncSession(by_key[side]) as session:
            return stock_of(await session.get(Product, id))

    @app.get("/driver-key/with/{id}")
    async def key_async(id: int) -> Stock:  # noqa: A002 - the URL's name
        async with AsyncSession(pooled) as session:
            return stock_of(await session.get(Product, id))

    @app.get("/driver-key/without/{id}")
    async def key_blocking(id: int) -> Stock:  # noqa: A002 - the URL's name
        with Session(blocking) as session:
            return stock_of(session.get(Product, id))

    @app.get("/driver-search/with")
    async def search_async(q: str) -> list[Summary]:
        async with AsyncSession(pooled) as session:
            rows = await session.scalars(search_for(q))
            return [Summary.model_validate(row) for row in rows]

    @app.get("/driver-search/without")
    async def search_blocking(q: str) -> list[Summary]:
        with Session(blocking) as session:
            return [Summary.model_validate(row) for row in session.scalars(search_for(q))]

    @app.get("/users/with")
    async def users_eager(page: int) -> list[UserView]:
        async with AsyncSession(pooled) as session:
            rows = await session.scalars(users_of(page).options(selectinload(User.posts)))
            return [UserView.model_validate(row) for row in rows]

    @app.get("/users/without")
    async def users_one_by_one(page: int) -> list[UserView]:
        async with AsyncSession(pooled) as session:
            rows = (await session.scalars(users_of(page))).all()
            for row in rows:
                await row.awaitable_attrs.posts
            return [UserView.model_validate(row) for row in rows]


def stock_of(row: Product | None) -> Stock:
    if row is None:
        raise HTTPException(404)
    return Stock(id=row.id, stock=row.stock)


def search_for(text: str) -> Any:
    found = Product.search_text.contains(text.lower(), autoescape=True)
    return select(Product).where(found).order_by(Product.price_cents, Product.id).limit(24)


def users_of(page: int) -> Any:
    first = (page - 1) * USERS_A_PAGE
    return select(User).order_by(User.id).limit(USERS_A_PAGE).offset(first)


def add_upstream_steps(app: FastAPI) -> None:
    @app.get("/gather/with")
    async def together(request: Request) -> list[Any]:
        client: httpx.AsyncClient = request.state.client
        answers = await asyncio.gather(*(client.get(f"/{name}") for name in UPSTREAMS))
        return [answer.raise_for_status().json() for answer in answers]

    @app.get("/gather/without")
    async def one_after_the_other(request: Request) -> list[Any]:
        client: httpx.AsyncClient = request.state.client
        answers = [await client.get(f"/{name}") for name in UPSTREAMS]
        return [answer.raise_for_status().json() for answer in answers]


def add_redis_steps(app: FastAPI, name: str, url: str) -> None:
    asynchronous: Any = redis.asyncio.Redis.from_url(url)
    blocking: Any = redis.Redis.from_url(url)

    @app.get(f"/{name}/with/{{id}}")
    async def read_async(id: int) -> Response:  # noqa: A002 - the URL's name
        return json_of(await asynchronous.get(f"benchmark-value:{id}"))

    @app.get(f"/{name}/without/{{id}}")
    async def read_blocking(id: int) -> Response:  # noqa: A002 - the URL's name
        return json_of(blocking.get(f"benchmark-value:{id}"))


def json_of(found: bytes | None) -> Response:
    return Response(b"null" if found is None else found, media_type="application/json")


def add_cache_steps(app: FastAPI, engine: AsyncEngine, redis_url: str) -> None:
    sessions = async_sessionmaker(engine)
    client: Any = redis.asyncio.Redis.from_url(redis_url)

    async def read_product(id: int) -> ProductPage:  # noqa: A002 - the URL's name
        async with sessions() as session:
            row = await session.get(Product, id, options=[joinedload(Product.category)])
            if row is None:
                raise HTTPException(404)
            reviews, rating = (
                await session.execute(
                    select(func.count(), func.avg(Review.rating)).where(Review.product_id == id)
                )
            ).one()
            product = ProductView.model_validate(row)
            return ProductPage(product=product, reviews=reviews, rating=rating)

    app.get("/products/{id}", response_model=ProductPage)(read_product)
    app.get("/aside/{id}", response_model=ProductPage)(cached(client, 3600)(read_product))

    @app.get("/client/without/{id}")
    async def silent(id: int) -> ProductPage:  # noqa: A002 - the URL's name
        return await read_product(id)

    @app.get("/client/with/{id}")
    async def telling(id: int, response: Response) -> ProductPage:  # noqa: A002
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
        return await read_product(id)


def cached(
    client: Any, ttl: int
) -> Callable[[Callable[[int], Awaitable[ProductPage]]], Callable[[int], Awaitable[Any]]]:
    """Cache-aside as it is usually written: look in Redis, else make it and put it there."""

    def decorate(
        handler: Callable[[int], Awaitable[ProductPage]],
    ) -> Callable[[int], Awaitable[Any]]:
        @functools.wraps(handler)
        async def wrapper(id: int) -> Any:  # noqa: A002 - the URL's name
            key = f"benchmark-aside:{handler.__name__}:{id}"
            found = await client.get(key)
            if found is not None:
                return json.loads(found)
            made = await handler(id)
            await client.set(key, made.model_dump_json(), ex=ttl)
            return made

        return wrapper

    return decorate
