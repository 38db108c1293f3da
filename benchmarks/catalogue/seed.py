"""The rows: the same on every machine and in every run."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, select
from sqlalchemy.exc import DBAPIError

from benchmarks.catalogue.models import Base, Category, Post, Product, Review, User
from benchmarks.traffic import CATEGORIES, PRODUCTS, USERS, WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

REVIEWS: Final = 4 * PRODUCTS
POSTS: Final = 6 * USERS
_TABLES: Final = ((Category, CATEGORIES), (Product, PRODUCTS), (Review, REVIEWS), (User, USERS))
_ROWS_AT_ONCE: Final = 5_000


async def seed(engine: AsyncEngine) -> bool:
    """Fill the database; true where it did, false where the rows were there already."""
    if await _is_seeded(engine):
        return False
    draw = random.Random(20_111)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        for model, count in (*_TABLES, (Post, POSTS)):
            rows = _ROWS[model.__tablename__](draw, count)
            while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
                await connection.execute(insert(model), batch)
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql(
            "ANALYZE"
        )
    return True


async def _is_seeded(engine: AsyncEngine) -> bool:
    """Whether the last table to be filled is full; all of it was written in one transaction."""
    try:
        async with engine.connect() as connection:
            return await connection.scalar(select(func.count(Post.id))) == POSTS
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, OSError):
            raise
        return False


def _prose(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words)).capitalize() + "."


def _categories(draw: random.Random, count: int) -> Iterator[dict[str, Any]]:
    for id_ in range(1, count + 1):
        yield {"id": id_, "name": f"{draw.choice(WORDS).capitalize()} {id_}"}


def _products(draw: random.Random, count: int) -> Iterator[dict[str, Any]]:
    for id_ in range(1, count + 1):
        name, description = f"{_prose(draw, 3)[:-1]} {id_}", _prose(draw, 25)
        yield {
            "id": id_,
            "category_id": draw.randint(1, CATEGORIES),
            "name": name,
            "description": description,
            "search_text": f"{name} {description}".lower(),
            "price_cents": draw.randint(99, 99_999),
            "stock": draw.randint(0, 500),
        }


def _reviews(draw: random.Random, count: int) -> Iterator[dict[str, Any]]:
    for id_ in range(1, count + 1):
        yield {
            "id": id_,
            "product_id": draw.randint(1, PRODUCTS),
            "rating": draw.randint(1, 5),
            "text": _prose(draw, 20),
        }


def _users(draw: random.Random, count: int) -> Iterator[dict[str, Any]]:
    for id_ in range(1, count + 1):
        name = draw.choice(WORDS)
        yield {"id": id_, "name": name.capitalize(), "email": f"{name}.{id_}@example.com"}


def _posts(draw: random.Random, count: int) -> Iterator[dict[str, Any]]:
    for id_ in range(1, count + 1):
        yield {
            "id": id_,
            "user_id": draw.randint(1, USERS),
            "title": _prose(draw, 5),
            "body": _prose(draw, 30),
        }


_ROWS: Final = {
    "bench_categories": _categories,
    "bench_products": _products,
    "bench_reviews": _reviews,
    "bench_users": _users,
    "bench_posts": _posts,
}
