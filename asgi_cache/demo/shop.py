"""A small shop on SQLite whose pages take real time: the app that ``demo`` puts behind the cache.

An ordinary Starlette app. Nothing in it knows of a cache but the handler that changes a price: it
purges what shows the old one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from contextlib import asynccontextmanager, closing
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from asgi_cache.handle import from_scope
from asgi_cache.settings.rules import Rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import Request

PATHS: Final = MappingProxyType(
    {
        "/products/{id:int}": Rule(ttl=60, groups=["product:{id}"]),
        "/search": Rule(ttl=300, query=["q", "page"], groups=["search"]),
    }
)
"""What the cache is told of the shop."""
CUSTOMERS: Final = MappingProxyType({"ann": 1, "bob": 2})

SEED: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, cents INTEGER);
CREATE TABLE sale (id INTEGER PRIMARY KEY, product INTEGER, customer INTEGER, pieces INTEGER);
CREATE TABLE material (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT);
INSERT INTO material (name) VALUES ('Oak'), ('Pine'), ('Brass'), ('Steel'), ('Linen'), ('Glass');
INSERT INTO kind (name) VALUES ('lamp'), ('chair'), ('table'), ('clock'), ('bowl'), ('bench');
WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 20000)
INSERT INTO product SELECT i, material.name || ' ' || kind.name || ' No. ' || i, kind.id,
    900 + i * 104729 % 29100
  FROM number JOIN kind ON kind.id = 1 + i % 6 JOIN material ON material.id = 1 + i / 6 % 6;
WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 100000)
INSERT INTO sale SELECT i, 1 + i * 7919 % 19997, 1 + i * 104729 % 4999, 1 + i % 3 FROM number;
"""
PRODUCT: Final = "SELECT name, cents FROM product WHERE id = ?"
RANK: Final = """
WITH revenue AS (
  SELECT product.id, sum(pieces) AS pieces, sum(pieces * cents) AS cents
  FROM sale JOIN product ON product.id = sale.product
  WHERE kind = (SELECT kind FROM product WHERE id = ?) GROUP BY product.id)
SELECT pieces, (SELECT count(*) + 1 FROM revenue AS other WHERE other.cents > own.cents)
FROM revenue AS own WHERE id = ?
"""
ALSO_BOUGHT: Final = """
SELECT product.id, product.name, count(*) FROM sale JOIN product ON product.id = sale.product
WHERE product <> ? AND customer IN (SELECT customer FROM sale WHERE product = ?)
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 5
"""
SEARCH: Final = """
SELECT product.id, product.name, cents, coalesce(sum(pieces), 0)
FROM product LEFT JOIN sale ON product.id = sale.product
WHERE product.name LIKE '%' || ? || '%' GROUP BY 1 ORDER BY 4 DESC, 1 LIMIT 10 OFFSET ?
"""
ORDERS: Final = """
SELECT product.id, product.name, pieces FROM sale JOIN product ON product.id = sale.product
WHERE customer = ? ORDER BY sale.id DESC LIMIT 5
"""
REPRICE: Final = "UPDATE product SET cents = ? WHERE id = ?"


async def ask(request: Request, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of *statement*, from a thread."""
    return await asyncio.to_thread(rows_of, request.app.state.database, statement, values)


def rows_of(database: Path, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    """The rows of *statement*, on a connection of its own."""
    with closing(sqlite3.connect(database)) as connection, connection:
        try:
            return connection.execute(statement, values).fetchall()
        except OverflowError:  # a number that no row can have
            return []


def seed(database: Path) -> None:
    """Fill *database* with a shop's products and sales."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(SEED)


def page(title: str, body: str, began: float, **headers: str) -> HTMLResponse:
    """A page that says when it was made and how long that took."""
    made = f"Made at {time.strftime('%H:%M:%S')} in {(time.perf_counter() - began) * 1e3:.0f} ms."
    return HTMLResponse(
        f"<!doctype html><title>{escape(title)}</title><meta name=viewport "
        "content='width=device-width'><style>body{font:1.1em/1.5 sans-serif;max-width:36em;"
        "margin:2em auto}footer{color:#777;border-top:1px solid #ccc;margin-top:2em}</style>"
        f"<h1>{escape(title)}</h1>{body}<footer>{made} <a href=/>The shop</a></footer>",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def links(rows: Sequence[tuple[Any, ...]], unit: str) -> str:
    """A list of products, each with a number."""
    return "".join(
        f"<li><a href=/products/{key}>{escape(name)}</a>, {number} {unit}"
        for key, name, *_, number in rows
    )


async def index(request: Request) -> Response:
    """Where to click."""
    body = (
        "<p>Reload a page: while the time at its foot stays, it comes from the cache. The "
        "browser's developer tools show Cache-Status, Age and X-Response-Time of each answer."
        "<ul><li><a href=/products/7>A product</a><li><a href='/search?q=oak'>A search</a>"
        "<li><a href='/search?q=oak&amp;utm_source=mail'>The same, from a mailing</a>"
        "<li><a href=/about>About us</a><li><a href=/me>My orders</a>, logged in as "
        "<a href='/login?name=ann'>ann</a> or <a href='/login?name=bob'>bob</a></ul>"
    )
    return page("A small shop", body, time.perf_counter())


async def product(request: Request) -> Response:
    """A product, its rank, and what else its buyers bought."""
    began, key = time.perf_counter(), request.path_params["id"]
    found = await ask(request, PRODUCT, key)
    if not found:
        raise HTTPException(404)
    name, cents = found[0]
    sold, rank = (await ask(request, RANK, key, key) or [(0, "last")])[0]
    also = links(await ask(request, ALSO_BOUGHT, key, key), "of the same customers")
    body = (
        f"<p>{cents / 100:.2f} EUR. {sold} sold; rank {rank} of its kind by revenue.<form "
        f"method=post action=/products/{key}/price><input name=price value={cents / 100:.2f}> "
        f"<button>Change the price</button></form><p>Also bought:<ul>{also}</ul>"
    )
    return page(name, body, began)


async def change_price(request: Request) -> Response:
    """Change a price, and end what shows the old one."""
    key = request.path_params["id"]
    given = parse_qs((await request.body()).decode("ascii", "replace")).get("price", [""])[0]
    if not given.replace(".", "", 1).isdecimal() or len(given) > len("100000.00"):
        raise HTTPException(400, "price=12.50 is how a price looks")
    await ask(request, REPRICE, round(float(given) * 100), key)
    cache = from_scope(request.scope)
    await cache.purge(group=f"product:{key}")
    await cache.purge(group="search")
    return RedirectResponse(f"/products/{key}", 303)


async def search(request: Request) -> Response:
    """The best-selling products with a word in their names."""
    began, word = time.perf_counter(), request.query_params.get("q", "")
    number = request.query_params.get("page", "1")
    offset = 10 * (int(number) - 1) if number.isdecimal() and len(number) < len("10000") else 0
    found = await ask(request, SEARCH, word, max(0, offset))
    return page(f"Search: {word}", f"<ol>{links(found, 'sold')}</ol>", began)


async def about(request: Request) -> Response:
    """A page that says by itself how long it holds."""
    body = "<p>20,000 products, 100,000 sales, none of them real."
    return page("About us", body, time.perf_counter(), cache_control="public, max-age=3600")


async def me(request: Request) -> Response:
    """A page that is one user's own."""
    began, name = time.perf_counter(), request.cookies.get("user", "")
    if name not in CUSTOMERS:
        return page("Who are you?", "<p>Log in first.", began, cache_control="private")
    orders = links(await ask(request, ORDERS, CUSTOMERS[name]), "bought")
    return page(f"Orders of {name}", f"<ul>{orders}</ul>", began, cache_control="private")


async def login(request: Request) -> Response:
    """Take somebody's word for it."""
    response, name = RedirectResponse("/me", 303), request.query_params.get("name")
    if name is not None and name in CUSTOMERS:
        response.set_cookie("user", name, samesite="lax")
    return response


@asynccontextmanager
async def with_database(app: Starlette) -> AsyncIterator[None]:
    """The shop's lifespan: its database is made, and goes with it."""
    with tempfile.TemporaryDirectory(prefix="asgi-cache-demo-") as directory:
        app.state.database = Path(directory, "shop.sqlite")
        await asyncio.to_thread(seed, app.state.database)
        yield


def make_shop() -> Starlette:
    """The shop, without a cache."""
    return Starlette(
        routes=[
            Route("/", index),
            Route("/products/{id:int}", product),
            Route("/products/{id:int}/price", change_price, methods=["POST"]),
            Route("/search", search),
            Route("/about", about),
            Route("/me", me),
            Route("/login", login),
        ],
        lifespan=with_database,
    )
