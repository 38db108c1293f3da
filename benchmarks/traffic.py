"""What is asked: requests to each endpoint, and a mixed load with Zipf-distributed products."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRODUCTS: Final = 30_000
CATEGORIES: Final = 100
USERS: Final = 2_000
USERS_A_PAGE: Final = 20

_TEXT: Final = (
    "amber anvil apron arrow autumn badge balcony bamboo barrel basket beacon birch blanket bottle "
    "brass bridge bronze bucket button cabin camera candle canvas carbon cedar chalk cherry clay "
    "cobalt compass copper coral cotton cradle crystal curtain dagger denim desk dial drum eagle "
    "ember enamel fabric feather fern flannel flask fountain garnet ginger glass glove granite "
    "hammer hammock harbor hazel helmet hinge ivory jacket jasmine kettle ladder lantern lavender "
    "leather lemon linen locket magnet maple marble meadow mirror mosaic needle nickel oak ocean "
    "olive opal orchid paddle paper pearl pebble pepper pillow pine plum pocket quartz quilt "
    "ribbon river saddle saffron satin shelf silk silver slate spruce stone sugar table tartan "
    "teak thread timber tulip velvet violet walnut willow window winter wool zinc"
)
WORDS: Final = tuple(_TEXT.split())

BROWSER: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "application/json, text/html;q=0.9, */*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
}


@dataclass(frozen=True)
class Request:
    """A GET of *path*, with these fields besides a browser's usual ones."""

    path: str
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """One row of the report: what is asked, in turn, and what to expect of a cache."""

    name: str
    what: str
    requests: Sequence[Request] = field(repr=False)
    database: bool = False
    """Its cost is the database's: it counts for the median over the database endpoints."""
    cacheable: bool = True


def endpoints() -> list[Endpoint]:
    """Every endpoint of the catalogue, each with several URLs or users."""
    draw = random.Random(7)
    ids = draw.sample(range(1, PRODUCTS + 1), 64)
    pages = itertools.product(draw.sample(range(1, CATEGORIES + 1), 8), (1, 2, 3, 4))
    return [
        Endpoint(
            "products",
            "24 of a category by price, a page of it, and their number",
            [Request(f"/products?category={category}&page={page}") for category, page in pages],
            database=True,
        ),
        Endpoint(
            "product",
            "a product with its category and its reviews in numbers",
            [Request(f"/products/{id_}") for id_ in ids],
            database=True,
        ),
        Endpoint(
            "primary key",
            "one row by its primary key, nothing else",
            [Request(f"/products/{id_}/stock") for id_ in ids],
            database=True,
        ),
        Endpoint(
            "search",
            f"LIKE over {PRODUCTS:,} names and descriptions",
            [Request(path) for path in searches()[:16]],
            database=True,
        ),
        Endpoint(
            "users",
            "20 users with their posts (selectinload)",
            [Request(f"/users?page={page}") for page in range(1, 17)],
            database=True,
        ),
        Endpoint(
            "dashboard",
            "asks three upstreams over HTTP, at the same time",
            [Request("/dashboard")],
        ),
        Endpoint("static page", "8 KB, its own Cache-Control", [Request("/about")]),
        Endpoint(
            "per-user page",
            "Cache-Control: private; never cached",
            [cookie_request(user) for user in range(1, 65)],
            cacheable=False,
        ),
    ]


def cookie_request(user: int) -> Request:
    return Request("/me", (("Cookie", f"user={user}"),))


def searches() -> list[str]:
    """Searches for two words that stand side by side, each found in some fifty products."""
    return [f"/search?q={first}+{second}" for first, second in itertools.pairwise(WORDS)]


def zipf_weights(count: int, exponent: float) -> list[float]:
    """The weight of each rank from 1 to *count*: one over the rank to the power *exponent*."""
    return [rank**-exponent for rank in range(1, count + 1)]


ZIPF_EXPONENT: Final = 1.0
MIX: Final[Mapping[str, float]] = {
    "product": 0.63,
    "products": 0.15,
    "search": 0.05,
    "users": 0.05,
    "static page": 0.05,
    "per-user page": 0.05,
    "dashboard": 0.02,
}


def mixed(count: int, seed: int) -> list[Request]:
    """*count* requests as a shop might see them: :data:`MIX`, each kind Zipf-distributed."""
    draw = random.Random(seed)
    kinds = draw.choices(list(MIX), list(MIX.values()), k=count)
    products = list(range(1, PRODUCTS + 1))
    # Which products are popular does not follow from their number.
    random.Random(1).shuffle(products)
    drawn = {
        "product": [f"/products/{id_}" for id_ in products],
        "products": [
            f"/products?category={category}&page={page}"
            for page in range(1, 4)
            for category in range(1, CATEGORIES + 1)
        ],
        "search": searches(),
        "users": [f"/users?page={page}" for page in range(1, USERS // USERS_A_PAGE + 1)],
        "static page": ["/about"],
        "dashboard": ["/dashboard"],
    }
    sequences = {
        kind: iter(draw.choices(paths, zipf_weights(len(paths), ZIPF_EXPONENT), k=count))
        for kind, paths in drawn.items()
    }
    return [
        cookie_request(draw.randint(1, USERS))
        if kind == "per-user page"
        else Request(next(sequences[kind]))
        for kind in kinds
    ]
