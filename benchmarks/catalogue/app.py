"""The application: the endpoints, a database pool and an HTTP client that lives as long as it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import httpx
from fastapi import Cookie, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import joinedload, selectinload

from benchmarks.catalogue.database import Counts, open_engine
from benchmarks.catalogue.models import Post, Product, Review, User
from benchmarks.catalogue.pages import (
    ABOUT,
    Account,
    PostView,
    ProductList,
    ProductPage,
    ProductView,
    Stock,
    Summary,
    UserView,
)
from benchmarks.traffic import USERS_A_PAGE

PRODUCTS_A_PAGE: Final = 24
UPSTREAM_CONNECTIONS: Final = 12
"""Where the dashboard was fastest without a cache: httpx slows down with open connections."""
UPSTREAMS: Final = ("sales", "stock", "reviews")


def make_app(database: str, upstreams: str, counts: Counts) -> FastAPI:
    """The catalogue over the *database* of this URL; the dashboard asks *upstreams*."""
    engine = open_engine(database, counts)
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        limits = httpx.Limits(
            max_connections=UPSTREAM_CONNECTIONS, max_keepalive_connections=UPSTREAM_CONNECTIONS
        )
        async with httpx.AsyncClient(base_url=upstreams, limits=limits, timeout=60) as client:
            yield {"client": client}
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    app = FastAPI(lifespan=lifespan)
    Database = Annotated[AsyncSession, Depends(session)]  # noqa: N806 - a type

    @app.get("/products")
    async def products(
        database: Database, category: int, page: Annotated[int, Query(ge=1, le=1000)] = 1
    ) -> ProductList:
        total = await database.scalar(
            select(func.count()).select_from(Product).where(Product.category_id == category)
        )
        rows = await database.scalars(
            select(Product)
            .where(Product.category_id == category)
            .order_by(Product.price_cents, Product.id)
            .limit(PRODUCTS_A_PAGE)
            .offset((page - 1) * PRODUCTS_A_PAGE)
        )
        return ProductList(total=total or 0, products=[Summary.model_validate(row) for row in rows])

    @app.get("/products/{id}")
    async def product(database: Database, id: int) -> ProductPage:  # noqa: A002 - the URL's name
        row = await database.get(Product, id, options=[joinedload(Product.category)])
        if row is None:
            raise HTTPException(404)
        reviews, rating = (
            await database.execute(
                select(func.count(), func.avg(Review.rating)).where(Review.product_id == id)
            )
        ).one()
        return ProductPage(product=ProductView.model_validate(row), reviews=reviews, rating=rating)

    @app.get("/products/{id}/stock")
    async def stock(database: Database, id: int) -> Stock:  # noqa: A002 - the URL's name
        row = await database.get(Product, id)
        if row is None:
            raise HTTPException(404)
        return Stock(id=row.id, stock=row.stock)

    @app.get("/search")
    async def search(
        database: Database, q: Annotated[str, Query(min_length=2, max_length=40)]
    ) -> ProductList:
        found = Product.search_text.contains(q.lower(), autoescape=True)
        rows = (
            await database.execute(
                select(Product, func.count().over().label("total"))
                .where(found)
                .order_by(Product.price_cents, Product.id)
                .limit(PRODUCTS_A_PAGE)
            )
        ).all()
        return ProductList(
            total=rows[0].total if rows else 0,
            products=[Summary.model_validate(row.Product) for row in rows],
        )

    @app.get("/users")
    async def users(
        database: Database, page: Annotated[int, Query(ge=1, le=1000)] = 1
    ) -> list[UserView]:
        rows = await database.scalars(
            select(User)
            .order_by(User.id)
            .limit(USERS_A_PAGE)
            .offset((page - 1) * USERS_A_PAGE)
            .options(selectinload(User.posts))
        )
        return [UserView.model_validate(row) for row in rows]

    @app.get("/dashboard")
    async def dashboard(request: Request) -> dict[str, Any]:
        client: httpx.AsyncClient = request.state.client
        answers = await asyncio.gather(*(client.get(f"/{name}") for name in UPSTREAMS))
        return {
            name: answer.raise_for_status().json()
            for name, answer in zip(UPSTREAMS, answers, strict=True)
        }

    @app.get("/about")
    async def about() -> HTMLResponse:
        return HTMLResponse(ABOUT, headers={"Cache-Control": "public, max-age=3600"})

    @app.get("/me")
    async def me(
        database: Database, response: Response, user: Annotated[int | None, Cookie()] = None
    ) -> Account:
        row = None if user is None else await database.get(User, user)
        if row is None:
            raise HTTPException(401)
        newest = await database.scalars(
            select(Post).where(Post.user_id == row.id).order_by(Post.id.desc()).limit(5)
        )
        response.headers["Cache-Control"] = "private"
        return Account(
            id=row.id,
            name=row.name,
            email=row.email,
            newest=[PostView.model_validate(post) for post in newest],
        )

    return app
