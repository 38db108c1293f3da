"""What the catalogue answers with, and the one page that it does not make from the database."""

from pydantic import BaseModel, ConfigDict

from benchmarks.traffic import WORDS


class FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CategoryView(FromRow):
    id: int
    name: str


class Summary(FromRow):
    id: int
    name: str
    price_cents: int
    stock: int


class Stock(BaseModel):
    id: int
    stock: int


class ProductView(Summary):
    description: str
    category: CategoryView


class ProductPage(BaseModel):
    product: ProductView
    reviews: int
    rating: float | None


class ProductList(BaseModel):
    total: int
    products: list[Summary]


class PostView(FromRow):
    id: int
    title: str
    body: str


class UserView(FromRow):
    id: int
    name: str
    posts: list[PostView]


class Account(BaseModel):
    id: int
    name: str
    email: str
    newest: list[PostView]


ABOUT = (
    "<!doctype html><title>About this shop</title>"
    + "".join(f"<p>{' '.join(WORDS[start : start + 12])}</p>" for start in range(100))
).encode()
